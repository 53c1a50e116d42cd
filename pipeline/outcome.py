"""The result of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from pipeline.accounting import Account
from pipeline.control_link import SourceReport


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended.

    Attributes:
        exit_code: exit code of the program.
        drained: every captured frame was delivered, dropped by policy or counted as lost, and every stage finished by
            itself, if necessary after restarts.
        interrupted: the run was asked to stop.
        errors: error messages of one line each, without duplicates.
        accounts: frame account of every source.
        reports: report of the sinks on every source.
        facts: facts of every stage, such as backend and device; see ``Supervisor.facts``.
        restarts: causes of death that led to restarts, by stage. Stages that were never restarted are left out.
    """

    exit_code: int
    drained: bool
    interrupted: bool
    errors: Sequence[str]
    accounts: Mapping[str, Account]
    reports: Mapping[str, SourceReport]
    facts: Mapping[str, Mapping[str, str]]
    restarts: Mapping[str, Sequence[str]] = {}
