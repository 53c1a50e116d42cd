"""Format results as Markdown for the docs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tools.chaos.trial import Result

HEADER = "| fault | result | recovery s | lost | dropped |\n|---|---|---:|---|---|"


def line(result: Result) -> str:
    """Format a result as a row of the table."""
    if result.skipped:
        return f"| {result.name} | skipped: {result.skipped} | | | |"
    recovery = "" if result.recovery_s is None else f"{result.recovery_s:.1f}"
    verdict = "; ".join((result.verdict, *result.objections)).replace("|", "/")
    return f"| {result.name} | {verdict} | {recovery} | {causes(result.lost)} | {causes(result.dropped)} |"


def causes(by_cause: Mapping[str, int] | None) -> str:
    """Format counts by cause."""
    if by_cause is None:
        return ""
    return ", ".join(f"{count} {cause}" for cause, count in sorted(by_cause.items()) if count) or "0"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that is not below this share of the values."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
