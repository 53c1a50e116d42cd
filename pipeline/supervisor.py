"""Starts the stages, monitors them, restarts those that die or hang, and stops them in order."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq
from msgspec.structs import replace

from pipeline import graph, run_folder
from pipeline.accounting import CRASH, Account, Ledger, total
from pipeline.child import Child, ProcessChild, ThreadChild, UnstartedChild
from pipeline.config import Config
from pipeline.control_link import SourceReport, StageState, Stop, Switchboard
from pipeline.errors import INTERRUPTED
from pipeline.journal import Journal
from pipeline.outcome import Outcome
from pipeline.pace import Pace, PaceMonitor
from pipeline.sinks.counters import Counters
from pipeline.watchdog import EXIT_GRACE_S, Watchdog

POLL_S = 0.1


class Supervisor:
    """Runs one graph from start to end in the main thread; a context manager that cleans up all processes and files.

    Args:
        config: configuration of the run.
        sources: (id, address) of every source.
        out: output folder, if any.
        warn: called with one line for every restart of a stage, and whenever a stage deviates from its configuration.
        report_error: called with every error, in one line, as soon as it is known. With several sources, the end of the
            run may be days away.

    Attributes:
        source_ids: ids of all sources.
        folder: private folder of the run, deleted at its end.
        born_ns: start time in monotonic ns.

    Raises:
        ConfigError: the folder for the sockets cannot be used, or there are too many sources. Nothing is left behind.
    """

    def __init__(
        self,
        config: Config,
        sources: Sequence[tuple[str, str]],
        out: Path | None,
        warn: Callable[[str], None] = lambda line: None,
        report_error: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._config, self._warn, self._report_error = config, warn, report_error
        self.source_ids = [id_ for id_, _ in sources]
        self.born_ns = time.monotonic_ns()
        session = uuid.uuid4().hex
        with ExitStack() as end:
            self.folder = end.enter_context(run_folder.folder())
            self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            self._context.linger = 0
            self._context.set(zmq.MAX_SOCKETS, self._context.get(zmq.SOCKET_LIMIT))  # default: enough for 110 sources
            end.callback(self._context.destroy)
            outer = f"ipc://{self.folder}/control"
            if config.queue.transport == "tcp":
                outer = f"tcp://127.0.0.1:{graph.free_ports(1)[0]}"
            inner = f"inproc://{session}.control"
            self._switchboard = Switchboard(self._context, [inner, outer])
            control = {"thread": inner, "process": outer}
            plans = graph.plan(config, sources, out, session, self.folder, control)  # type: ignore[arg-type]
            self._watches = {plan.name: Watchdog(plan, config.supervisor) for plan in plans}
            self._journals = {plan.name: Journal(Path(plan.journal), plan.sources) for plan in plans}
            self._end = end.pop_all()
        self._errors: dict[str, str] = {}
        self._noticed: set[str] = set()
        self._earlier_reports: dict[str, SourceReport] = {}
        live = [plan.sources[0] for plan in plans if plan.role == "capture" and not plan.waits]
        self._paces = PaceMonitor(config.supervisor, live)
        self._checked_at = time.monotonic()
        self._stop_at: float | None = None
        self._interrupted = False
        self._abort_at: float | None = None

    @property
    def watches(self) -> Mapping[str, Watchdog]:
        """Watchdogs of all stages, by name."""
        return self._watches

    @property
    def paces(self) -> Mapping[str, Pace]:
        """Measured and expected rates of all stages, by name."""
        return self._paces.now

    @property
    def stopping(self) -> bool:
        """Whether the run is ending, on request or because of a failure."""
        return self._stop_at is not None

    @property
    def states(self) -> Mapping[str, StageState]:
        """Last state received from every stage, by name."""
        return {name: watch.state for name, watch in self._watches.items() if watch.state is not None}

    def run(self, watchers: Sequence[Callable[[Supervisor], None]] = ()) -> Outcome:
        """Start all stages and wait for the end of the run.

        Args:
            watchers: called about ten times a second, to display the progress or to call ``stop``.
        """
        while not self._ended():
            self._start_due_stages()
            self._receive_states()
            self._restart_dead_stages()
            self._paces.update(self._watches, judge=not self.stopping)
            self._send_stop_orders()
            self._stop_orphaned_stages()
            for watcher in watchers:
                watcher(self)
        self._receive_states()
        return self._outcome()

    def stop(self) -> None:
        """End all sources and drain. A second call ends the run at once."""
        if self._interrupted:
            self._abort()
        self._interrupted = True
        self._begin_stop()

    def account(self, source: str) -> Account:
        """Return the frame account of a source over the whole graph.

        Counts of captured, dropped and delivered frames are read from the journals, which survive the death of a stage.
        Frames that queues count as lost are not included, because a queue cannot know whether a dead receiver had
        passed them on. They count as in flight until the run has drained.
        """
        delivered = Counters(self._journals["sinks"].row(source)).delivered
        captured = Ledger(self._journals[f"capture.{source}"].row(source)).account()
        lost: Counter[str] = Counter()
        for state in self.states.values():
            lost.update(state.lost.get(source, {}))
        rest = captured.entered - delivered - total(captured.dropped) - total(lost)
        return replace(captured, delivered=delivered, lost=dict(lost), in_flight=rest)

    def reports(self) -> Mapping[str, SourceReport]:
        """Return the latest reports of the sinks. The end of a source is kept when the sinks are restarted."""
        sinks = self._watches["sinks"].state
        reports = dict(sinks.reports) if sinks is not None else {}
        for source, earlier in self._earlier_reports.items():
            now = reports.get(source, earlier)
            reports[source] = now if now.end else replace(now, end=earlier.end, error=earlier.error)
        return reports

    def facts(self) -> Mapping[str, Mapping[str, str]]:
        """Return the facts of each capture by its name, and of the other stages by role, as those of the first lane.

        What only a later lane has to tell, such as a notice, is included.
        """
        facts: dict[str, Mapping[str, str]] = {}
        for name, watch in self._watches.items():  # from the last lane to the first
            if watch.state is not None:
                key = name if watch.plan.role == "capture" else watch.plan.role
                facts[key] = {**facts.get(key, {}), **watch.state.facts}
        return facts

    def _start_due_stages(self) -> None:
        # A live source that starts before the other stages only produces stale frames.
        ready = self.stopping or all(watch.opened for watch in self._watches.values() if watch.plan.role != "capture")
        for watch in self._watches.values():
            may = ready or watch.plan.role != "capture" or watch.plan.waits
            if may and watch.due and self._abort_at is None:
                watch.start(self._launch)

    def _launch(self, plan: graph.StagePlan) -> Child:
        if plan.where == "thread":
            return ThreadChild(plan, self._context)
        try:
            return ProcessChild(plan)
        except OSError as error:  # no memory, processes or open files left, which may pass
            return UnstartedChild(error)

    def _receive_states(self) -> None:
        for state in self._switchboard.receive_states(POLL_S):
            if state.stage not in self._watches:
                continue
            self._watches[state.stage].record_state(state)
            if (notice := state.facts.get("notice", "")) and notice not in self._noticed:
                self._noticed.add(notice)
                self._warn(f"stage {state.stage}: {notice}")
            if state.error:
                self._record_error(state.stage, state.error)
            if state.state == "failed" or state.wants_stop:
                self._begin_stop()

    def _record_error(self, stage: str, error: str) -> None:
        """Keep the first error of a stage, and print it unless another stage has reported the same."""
        if error not in self._errors.values() and stage not in self._errors:
            self._report_error(error)
        self._errors.setdefault(stage, error)

    def _restart_dead_stages(self) -> None:
        """Restart dead stages within their budget. Otherwise end the run, since the other stages would wait forever."""
        now = time.monotonic()
        away_s, self._checked_at = now - self._checked_at - POLL_S, now
        for name, watch in self._watches.items():
            if away_s > 1.0:
                watch.extend_deadlines(away_s)  # this process was paused or starved and may have missed states
            self._record_progress(watch)
            cause = watch.check()
            if not cause:
                continue
            if self._abort_at is None and watch.schedule_restart(cause):
                table = self._config.supervisor
                self._earlier_reports.update(self.reports() if name == "sinks" else {})
                self._warn(
                    f"stage {name} died ({cause}) and is restarted, "
                    f"{watch.recent} of {table.restarts} times within {table.window_s:g} s"
                )
                continue
            tries = f", {len(watch.causes)} restarts did not help" if watch.causes else ""
            watch.end(f"stage {name} died ({cause}){tries}")
            self._record_error(name, f"stage {name} died ({cause}){tries}")
            self._abort()

    def _record_progress(self, watch: Watchdog) -> None:
        """Update a watchdog with the frames before its stage (from upstream states) and behind it (from its own)."""
        before = [other for other in self._watches.values() if other.plan.output in watch.plan.inputs]
        states = [other.state for other in before if other.running]  # the state of a dead stage is out of date
        inputs = [
            account for state in states if state and state.state == "running" for account in state.queues.values()
        ]
        outputs = watch.state.queues.values() if watch.state is not None else ()
        watch.record_progress(
            waiting=sum(account.in_flight for account in inputs),
            done=sum(account.delivered + total(account.lost) for account in inputs),
            held_up=any(account.in_flight for account in outputs),
        )

    def _stop_orphaned_stages(self) -> None:
        """After restarts, stop stages whose neighbours have finished.

        The end of a source may have been lost with several stages, or have been passed on before a restart. Once all
        upstream stages have finished cleanly, a stage gets no more input; once all downstream stages have, its output
        is no longer needed.
        """
        watches = self._watches.values()
        if not any(watch.causes for watch in watches):
            return
        for watch in watches:
            if watch.final or not watch.running:
                continue
            before = [other for other in watches if other.plan.output in watch.plan.inputs]
            after = [other for other in watches if watch.plan.output in other.plan.inputs]
            if after and all(map(_has_exited, after)):
                self._switchboard.order(watch.plan.name, Stop(gentle=False))
            elif before and all(map(_has_exited, before)):
                self._switchboard.order(watch.plan.name, Stop(gentle=True))

    def _begin_stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic()

    def _send_stop_orders(self) -> None:
        if self._stop_at is None:
            return
        if time.monotonic() - self._stop_at > self._config.queue.drain_s:
            self._abort()
        for name, watch in self._watches.items():
            if not watch.final and (self._abort_at or watch.plan.role == "capture"):
                self._switchboard.order(name, Stop(gentle=self._abort_at is None))

    def _abort(self) -> None:
        if self._abort_at is None:
            self._begin_stop()
            self._abort_at = time.monotonic()
            for watch in self._watches.values():
                watch.terminate()

    def _ended(self) -> bool:
        if self._abort_at is not None and time.monotonic() - self._abort_at > self._config.supervisor.term_s:
            return True
        # A failed stage keeps emptying its queue, and its final state counts those frames.
        return all(watch.final and not (watch.failed and watch.running) for watch in self._watches.values())

    def _outcome(self) -> Outcome:
        states = list(self.states.values())
        accounts = {id_: self.account(id_) for id_ in self.source_ids}
        restarts = {name: watch.causes for name, watch in self._watches.items() if watch.causes}
        whole = len(states) == len(self._watches) and self._abort_at is None
        least = min((account.in_flight for account in accounts.values()), default=0)
        most = max((account.in_flight for account in accounts.values()), default=0)
        drained = whole and least >= 0 and (most == 0 or bool(restarts))
        for id_, account in accounts.items():
            if account.in_flight > 0:
                # All stages have ended: frames that did not arrive were lost with stages that were restarted.
                lost = {**account.lost, CRASH if drained else "not drained": account.in_flight}
                accounts[id_] = replace(account, lost=lost, in_flight=0)
        codes = [state.exit_code for state in states if state.exit_code and not state.stage.startswith("capture.")]
        codes += [5] if self._abort_at and not self._interrupted else []
        codes += [INTERRUPTED] if self._interrupted else []
        codes += [state.exit_code for state in states if state.exit_code]
        return Outcome(
            exit_code=codes[0] if codes else 0,
            drained=drained,
            interrupted=self._interrupted,
            errors=list(dict.fromkeys(self._errors.values())),
            accounts=accounts,
            reports=self.reports(),
            facts=self.facts(),
            restarts=restarts,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clean up all processes, sockets and folders."""
        for watch in self._watches.values():
            watch.terminate()
        deadline = time.monotonic() + self._config.supervisor.term_s
        for watch in self._watches.values():
            watch.clear(deadline)
        self._switchboard.close()
        if not any(watch.running for watch in self._watches.values()):
            self._end.close()  # otherwise the context would wait for the sockets of a thread that hangs in a driver


def _has_exited(watch: Watchdog) -> bool:
    """Whether a stage has ended, long enough ago for its neighbours to have had time to do the same."""
    return watch.final and watch.exited_for_s() >= EXIT_GRACE_S
