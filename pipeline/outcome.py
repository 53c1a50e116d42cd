"""How a run ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from pipeline.accounting import Account
from pipeline.control_link import SourceReport


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended.

    Attributes:
        exit_code: for the front door.
        drained: every captured frame was delivered, dropped by policy or counted as lost, and every stage
            came to its end by itself, if in more than one life.
        interrupted: a stop was asked for.
        errors: one line each, none twice.
        accounts: loss account of every source.
        reports: what the sinks know of every source.
        facts: by stage.
        restarts: why each earlier life ended, by stage; stages that lived once are left out.
    """

    exit_code: int
    drained: bool
    interrupted: bool
    errors: Sequence[str]
    accounts: Mapping[str, Account]
    reports: Mapping[str, SourceReport]
    facts: Mapping[str, Mapping[str, str]]
    restarts: Mapping[str, Sequence[str]] = {}
