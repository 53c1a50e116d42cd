"""Checks after a run: each is a function of the evidence that yields objections, descriptions of what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tools.chaos.evidence import Evidence, Files


@dataclass(frozen=True)
class Expect:
    """Promised outcome of a fault.

    Attributes:
        exit_code: exit code of the run.
        drained: value in ``run.json``; None if the run could not write its end (full disk, kill -9).
        complete: every source was read to its end, so all of its frames must be in the account.
        lost: largest accepted number of lost frames by cause; no losses of other causes are accepted.
        restarted: exactly the stages that must have been restarted; None to skip this check.
        named: text that standard error must contain.
    """

    exit_code: int = 0
    drained: bool | None = True
    complete: bool = True
    lost: Mapping[str, int] = field(default_factory=dict)
    restarted: frozenset[str] | None = frozenset()
    named: str = ""


def objections(seen: Evidence, expect: Expect, limit_s: float) -> list[str]:
    """Run all checks and return what is wrong; empty if all is well.

    Args:
        seen: evidence of the run.
        expect: promised outcome.
        limit_s: longest recovery time that the configuration allows, s.
    """
    return [objection for check in CHECKS for objection in check(seen, expect)] + list(_recovery(seen, limit_s))


def _end(seen: Evidence, expect: Expect) -> Iterator[str]:
    if seen.exit_code != expect.exit_code:
        yield f"exit code {seen.exit_code}, expected {expect.exit_code}"
    if expect.named not in seen.errors:
        yield f"standard error does not contain {expect.named!r}"
    if "Traceback" in seen.errors:
        yield "a traceback on standard error"
    if not seen.record:
        yield "run.json is missing or broken"


def _drained(seen: Evidence, expect: Expect) -> Iterator[str]:
    if expect.drained is None:
        return
    if seen.record.get("drained") is not expect.drained:
        yield f"drained is {seen.record.get('drained')}, expected {expect.drained}"
    again = {name.partition(".")[0] for name in seen.record.get("restarts", {})}
    if expect.restarted is not None and again != expect.restarted:
        yield f"restarted: {_names(again)}; expected: {_names(expect.restarted)}"


def _account(seen: Evidence, expect: Expect) -> Iterator[str]:
    """Check that captured = delivered + dropped + lost, and that the files hold what was delivered."""
    if expect.drained is None:
        return
    for id_, source in seen.record.get("sources", {}).items():
        account: Mapping[str, Any] = source.get("account", {})
        captured, delivered = account.get("captured", -1), account.get("delivered", -1)
        dropped, lost = sum(account.get("dropped", {}).values()), sum(account.get("lost", {}).values())
        if captured != delivered + dropped + lost or account.get("in_flight") or not account.get("closes"):
            yield f"{id_}: captured {captured} is not delivered {delivered} + dropped {dropped} + lost {lost}"
        if expect.complete and captured != seen.lengths.get(id_, captured):
            yield f"{id_}: captured {captured} of {seen.lengths[id_]} frames"
        lines = len(seen.files[id_].tracks)
        if lines != delivered:
            yield f"{id_}: {lines} lines of tracks for {delivered} frames delivered"


def _losses(seen: Evidence, expect: Expect) -> Iterator[str]:
    if expect.drained is None:
        return
    for cause, count in seen.causes("lost").items():
        if count > expect.lost.get(cause, 0):
            yield f"{count} frames lost ({cause}), at most {expect.lost.get(cause, 0)} allowed"


def _lines(seen: Evidence, _: Expect) -> Iterator[str]:
    for id_, files in seen.files.items():
        yield from (f"{id_}: {name} holds a torn line" for name in files.torn)
        if any(b <= a for a, b in pairwise(files.tracks)):
            yield f"{id_}: {duplicates(files)} duplicate frames in tracks.jsonl, or frames out of order"
        # Two files cannot be written atomically: after a kill the last line may be in only one of them.
        if abs(len(files.tracks) - len(files.detections)) > 1 or any(
            a != b for a, b in zip(files.tracks, files.detections, strict=False)
        ):
            yield f"{id_}: tracks and detections have different frames"


def _videos(seen: Evidence, expect: Expect) -> Iterator[str]:
    whole = expect.drained is not None and "sinks" not in seen.record.get("restarts", {}) and seen.exit_code != 5
    for id_, files in seen.files.items():
        yield from (f"{id_}: {name} cannot be played" for name, frames in files.videos.items() if not frames)
        if whole and files.videos and sum(files.videos.values()) != len(files.tracks):
            yield f"{id_}: {sum(files.videos.values())} frames of video for {len(files.tracks)} delivered"


def _leftovers(seen: Evidence, _: Expect) -> Iterator[str]:
    yield from (f"still running: {process}" for process in seen.survivors)
    if seen.leftovers:
        yield f"left behind: {', '.join(seen.leftovers)}"


def _recovery(seen: Evidence, limit_s: float) -> Iterator[str]:
    for taken in seen.recoveries:
        if taken > limit_s:
            yield f"recovery took {taken:.1f} s, the limit is {limit_s:g} s"


def _names(stages: Iterable[str]) -> str:
    return ", ".join(sorted(stages)) or "none"


def duplicates(files: Files) -> int:
    """Count the lines whose frame already has a line."""
    return len(files.tracks) - len(set(files.tracks))


CHECKS: tuple[Callable[[Evidence, Expect], Iterator[str]], ...] = (
    _end, _drained, _account, _losses, _lines, _videos, _leftovers,
)  # fmt: skip
