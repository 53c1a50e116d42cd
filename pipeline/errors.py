"""Errors reported to the user, each as one line and with an exit code for the command line."""

from __future__ import annotations


class PipelineError(Exception):
    """Base of all errors that end a run. The message is one line that names the file, setting or source at fault."""

    exit_code = 5

    def __str__(self) -> str:
        # Quoted text (a file name, a key, the reply of a server) may contain line breaks, and bytes that are no UTF-8.
        return _printable(super().__str__())


class ConfigError(PipelineError):
    """Wrong usage, or an invalid configuration or output folder."""

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
    """Return the error as a single line, for users and for messages between stages."""
    text = _printable(str(error))
    return text if isinstance(error, PipelineError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def is_utf8(name: str) -> bool:
    """Whether a file name from the command line is valid UTF-8, as it has to be in messages and JSON."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    return " ".join(text.split()).encode(errors="backslashreplace").decode()
