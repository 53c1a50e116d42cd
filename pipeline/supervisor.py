"""Starts the stages, listens to them, stops them in order, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import zmq
from msgspec import Struct

from pipeline import graph
from pipeline.account import Account, total
from pipeline.config import Config
from pipeline.errors import INTERRUPTED
from pipeline.link import SourceReport, StageState, Stop, Switchboard

POLL_S = 0.1
KILL_S = 2.0
LAST_WORD_S = 1.0
FINAL = ("drained", "failed", "aborted")


class Outcome(Struct, frozen=True, kw_only=True):
    """How a run ended.

    Attributes:
        exit_code: for the front door.
        drained: every captured frame was delivered, dropped by policy or counted as lost, and every stage
            came to its end by itself.
        interrupted: a stop was asked for.
        errors: one line each, none twice.
        accounts: loss account of every source.
        reports: what the sinks know of every source.
        facts: by stage.
    """

    exit_code: int
    drained: bool
    interrupted: bool
    errors: Sequence[str]
    accounts: Mapping[str, Account]
    reports: Mapping[str, SourceReport]
    facts: Mapping[str, Mapping[str, str]]


class Supervisor:
    """Runs one graph from start to end, in the main thread.

    Args:
        config: of the run.
        sources: (id, address) of every source.
        out: output folder, if any.

    Attributes:
        states: the last state heard of every stage, by name.
    """

    def __init__(self, config: Config, sources: Sequence[tuple[str, str]], out: Path | None) -> None:
        self._config = config
        self._ids = [id_ for id_, _ in sources]
        self._session = uuid.uuid4().hex
        self._folder = _private_folder()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.linger = 0
        outer = f"ipc://{self._folder}/control"
        if config.queue.transport == "tcp":
            outer = f"tcp://127.0.0.1:{graph.free_port()}"
        inner = f"inproc://{self._session}.control"
        self._switchboard = Switchboard(self._context, [inner, outer])
        control = {"thread": inner, "process": outer}
        self._plans = graph.plan(config, sources, out, self._session, self._folder, control)  # type: ignore[arg-type]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._errors: dict[str, str] = {}
        self._gone_since: dict[str, float] = {}
        self._stop_at: float | None = None
        self._interrupted = False
        self._abort_at: float | None = None
        self.states: dict[str, StageState] = {}

    def run(self, watch: Callable[[Supervisor], None]) -> Outcome:
        """Start everything and wait for the end.

        Args:
            watch: called about ten times a second, to show progress or to call ``stop``.
        """
        try:
            for plan in self._plans:
                self._start(plan)
            while not self._ended():
                self._listen()
                self._look_for_the_dead()
                self._carry_out_stop()
                watch(self)
            self._listen()
            return self._outcome()
        finally:
            self._clean_up()

    def stop(self) -> None:
        """End all sources and drain; asked a second time, leave at once."""
        if self._interrupted:
            self._abort()
        self._interrupted = True
        self._begin_stop()

    def account(self, source: str) -> Account:
        """The loss account of a source over the whole graph, as far as heard."""
        capture = self.states.get(f"capture.{source}")
        door = capture.queues.get(source, Account()) if capture is not None else Account()
        lost: Counter[str] = Counter()
        for state in self.states.values():
            lost.update(state.lost.get(source, {}))
            lost.update(state.queues.get(source, Account()).lost)
        report = self.reports().get(source, SourceReport())
        rest = door.entered - report.delivered - total(door.dropped) - total(lost)
        return Account(
            entered=door.entered, delivered=report.delivered, dropped=door.dropped, lost=dict(lost), in_flight=rest
        )

    def reports(self) -> Mapping[str, SourceReport]:
        """What the sinks have said last."""
        sinks = self.states.get("sinks")
        return sinks.reports if sinks is not None else {}

    def _start(self, plan: graph.StagePlan) -> None:
        if plan.where == "thread":
            thread = threading.Thread(target=graph.run, args=(plan, self._context), name=plan.name, daemon=True)
            self._threads[plan.name] = thread
            thread.start()
            return
        root = Path(__file__).resolve().parent.parent
        path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            process_group=0,
        )
        self._processes[plan.name] = process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(plan))
            process.stdin.close()

    def _listen(self) -> None:
        for state in self._switchboard.hear(POLL_S):
            self.states[state.stage] = state
            if state.error and state.stage not in self._errors:
                self._errors[state.stage] = state.error
            if state.state == "failed" or state.wants_stop:
                self._begin_stop()

    def _look_for_the_dead(self) -> None:
        """A stage that ended without a word takes the run with it: its neighbours wait for it in vain."""
        for name in [plan.name for plan in self._plans]:
            if self._running(name) or self._final(name):
                continue
            if time.monotonic() - self._gone_since.setdefault(name, time.monotonic()) < LAST_WORD_S:
                continue  # its last word may still be on its way
            process = self._processes.get(name)
            how = f"exit status {process.returncode}" if process is not None else "thread ended"
            self.states[name] = StageState(stage=name, state="failed", error=f"stage {name} died ({how})", exit_code=5)
            self._errors[name] = self.states[name].error
            self._abort()

    def _begin_stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()

    def _carry_out_stop(self) -> None:
        if self._stop_at is None:
            return
        if time.monotonic() - self._stop_at > self._config.queue.drain_s:
            self._abort()
        for plan in self._plans:
            if not self._final(plan.name) and (self._abort_at or plan.role == "capture"):
                self._switchboard.order(plan.name, Stop(gentle=self._abort_at is None))

    def _abort(self) -> None:
        if self._abort_at is None:
            self._begin_stop()
            self._abort_at = time.monotonic()

    def _ended(self) -> bool:
        if self._abort_at is not None and time.monotonic() - self._abort_at > KILL_S:
            return True
        return all(self._final(plan.name) for plan in self._plans)

    def _final(self, name: str) -> bool:
        state = self.states.get(name)
        return state is not None and state.state in FINAL

    def _running(self, name: str) -> bool:
        if name in self._threads:
            return self._threads[name].is_alive()
        return self._processes[name].poll() is None

    def _outcome(self) -> Outcome:
        stages = [self.states[plan.name] for plan in self._plans if plan.name in self.states]
        accounts = {id_: self.account(id_) for id_ in self._ids}
        whole = len(stages) == len(self._plans) and self._abort_at is None
        drained = whole and not any(account.in_flight for account in accounts.values())
        for id_, account in accounts.items():
            if account.in_flight > 0:
                lost = {**account.lost, "not drained": account.in_flight}
                accounts[id_] = msgspec.structs.replace(account, lost=lost, in_flight=0)
        codes = [state.exit_code for state in stages if state.exit_code and not state.stage.startswith("capture.")]
        codes += [5] if self._abort_at and not self._interrupted else []
        codes += [INTERRUPTED] if self._interrupted else []
        codes += [state.exit_code for state in stages if state.exit_code]
        return Outcome(
            exit_code=codes[0] if codes else 0,
            drained=drained,
            interrupted=self._interrupted,
            errors=list(dict.fromkeys(self._errors.values())),
            accounts=accounts,
            reports=self.reports(),
            facts={state.stage: state.facts for state in stages},
        )

    def _clean_up(self) -> None:
        """No survivors: no process, no socket, no folder."""
        deadline = time.monotonic() + KILL_S
        for process in self._processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            if process.poll() is None:
                process.kill()
            process.wait()
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        self._switchboard.close()
        if any(thread.is_alive() for thread in self._threads.values()):
            return  # a thread that hangs in a driver holds sockets: terminating the context would wait for it
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)


def _private_folder() -> Path:
    """A folder for Unix sockets that only this user can enter; those of dead runs are swept."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    if not base.is_dir() or not os.access(base, os.W_OK):
        base = Path(tempfile.gettempdir())
    for old in base.glob("irst-*-*"):
        pid = old.name.split("-")[1]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"irst-{os.getpid()}-", dir=base))
