"""The errors a user meets: one line each, with the exit code of the front door."""

from __future__ import annotations


class PipelineError(Exception):
    """Base of all errors that end a run; the message is one line that names the thing at fault."""

    exit_code = 5

    def __str__(self) -> str:
        # What is at fault may itself hold line ends: a file name, a key, a server's words.
        return " ".join(super().__str__().split())


class ConfigError(PipelineError):
    """Wrong usage, configuration or output folder."""

    exit_code = 2


class SourceError(PipelineError):
    """A source cannot be opened or read."""

    exit_code = 3


class BackendError(PipelineError):
    """Weights or inference backend cannot be loaded."""

    exit_code = 4


class StageError(PipelineError):
    """A stage failed while running."""

    exit_code = 5


INTERRUPTED = 130


def one_line(error: BaseException) -> str:
    """The error as a single line, for people and for the wire."""
    text = " ".join(str(error).split())
    return text if isinstance(error, PipelineError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
