"""Progress bar of a run on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType

from tqdm import tqdm

from pipeline.accounting import total
from pipeline.supervisor import Supervisor


class Progress:
    """One progress bar over all sources that also shows dropped frames. Hidden if standard error is not a terminal.

    Args:
        sources: ids of the sources.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources
        self._bar = tqdm(unit=" frames", disable=not sys.stderr.isatty(), dynamic_ncols=True, smoothing=0.1)

    def update(self, supervisor: Supervisor) -> None:
        """Update the bar from the state of the supervisor."""
        accounts = [supervisor.account(source) for source in self._sources]
        captures = [supervisor.states.get(f"capture.{source}") for source in self._sources]
        lengths = [capture.length for capture in captures if capture is not None and capture.length is not None]
        if len(lengths) == len(self._sources):
            self._bar.total = sum(lengths)
        dropped = sum(total(account.dropped) for account in accounts)
        away = [capture.facts["state"] for capture in captures if capture is not None and capture.facts.get("state")]
        troubled = sum(state == "reconnecting" for state in away)
        self._bar.set_postfix({"dropped": dropped} | ({"reconnecting": troubled} if troubled else {}), refresh=False)
        self._bar.n = sum(account.delivered for account in accounts)
        self._bar.refresh()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
