"""Format rows of figures as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct


def markdown(rows: Sequence[Struct]) -> str:
    """Format a table with one line per row and one column per field. Needs at least one row; all must have one type."""
    fields = rows[0].__struct_fields__
    numbers = [all(isinstance(getattr(row, name), int | float | None) for row in rows) for name in fields]
    lines = [
        f"| {' | '.join(name.replace('_', ' ') for name in fields)} |",
        f"|{'|'.join('---:' if number else '---' for number in numbers)}|",
    ]
    lines += [f"| {' | '.join(cell(getattr(row, name)) for name in fields)} |" for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """Format a figure for people: three significant digits, thousands separated."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(0, digits)}f}"
