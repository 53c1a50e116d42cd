"""Log of a training run: one line of JSON per event, and TensorBoard scalars and pictures if it is installed."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError

Record = dict[str, Any]
LOG, BOARD, OVERLAYS = "log.jsonl", "tensorboard", "overlays"
EVENTS = ("training", "validation", "end")
"""Events in the order in which they are written at one step; "end" means that the recipe was completed."""


class Journal:
    """Appends to the log files of a run. An incomplete last line, left by a power failure, is terminated first.

    Args:
        out: Existing folder of the run.

    Raises:
        ConfigError: A file of the run cannot be written; all methods raise it as well.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        with _writing(out / BOARD):
            self.board = _open_board(out / BOARD)
        with _writing(out / LOG), (out / LOG).open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    file.write(b"\n")

    def write(self, step: int, seconds: float, event: str, **facts: Any) -> None:
        """Append an event of ``EVENTS`` to ``log.jsonl``; its numbers, also nested ones, become TensorBoard scalars."""
        line = {"step": step, "seconds": round(seconds, 3), "event": event, **facts}
        with _writing(self.out / LOG), (self.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board:
            with _writing(self.out / BOARD):
                for key, value in _scalars(facts, event):
                    self.board.add_scalar(key, value, step)
                self.board.flush()

    def overlay(self, step: int, name: str, picture: NDArray[np.uint8]) -> None:
        """Write a BGR picture (H, W, 3) of the current predictions to ``overlays/NAME.png``, replacing the last one."""
        path = self.out / OVERLAYS / f"{name}.png"
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)  # a set name may contain folders
            path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        if self.board:
            with _writing(self.out / BOARD):
                self.board.add_image(name, picture[..., ::-1].copy(), step, dataformats="HWC")


def read_log(run: Path) -> list[Record]:
    """Read the events of a run in the order of their steps.

    The run may still be writing, so an unterminated last line is skipped, as are lines damaged by a power failure.
    A resumed run repeats the steps since its checkpoint; the later line replaces the earlier one.

    Raises:
        ConfigError: The log is missing, is not a log of a training run, or contains neither a loss nor a validation.
    """
    path = run / LOG
    records: list[Record] = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
        for line in lines:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            place = _sort_key(record)
            while records and _sort_key(records[-1]) >= place:
                records.pop()
            records.append(record)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{path}: not a log of a training run") from None
    if lines and not records:
        raise ConfigError(f"{path}: not a log of a training run")
    if not any(record["event"] in ("training", "validation") for record in records):
        raise ConfigError(f"{path}: no losses or validations yet")
    return records


def _sort_key(record: Record) -> tuple[int, int]:
    return operator.index(record["step"]), EVENTS.index(record["event"])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None


def _open_board(folder: Path) -> Any:
    """Return a TensorBoard writer, or None without the optional extra "train"."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def _scalars(tree: dict[str, Any], prefix: str) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += _scalars(value, f"{prefix}/{key}")
        elif isinstance(value, (int, float)):
            found.append((f"{prefix}/{key}", value))
    return found
