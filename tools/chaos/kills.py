"""Random kills of stages under load: how long runs take to recover, and what it costs."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tools.chaos.checks import Expect, duplicates, objections
from tools.chaos.evidence import Evidence
from tools.chaos.faults import after_death
from tools.chaos.report import causes, percentile
from tools.chaos.run import Run, Stuck

SCENES = tuple(f"test://{name}?width=64&height=64&frames=20000" for name in ("demo", "sky", "sea"))
SETTINGS = ("supervisor.restarts=1000", "supervisor.backoff_max_s=0.5", "sinks.overlay=false")
MAX_PAUSE_S = 1.0
MAX_SHARE = 0.6
"""Of the frames of a run, so that its sources do not end under it."""


@dataclass
class Campaign:
    """What came of it.

    Attributes:
        recoveries: seconds by stage, one for every kill.
        delivered, lost, duplicates: frames over all runs.
        runs: that the kills were spread over.
        repeated: kills of a stage whose neighbours still had frames that its last death had met. Such frames may be
            given up on.
        objections: what was not as promised.
    """

    recoveries: dict[str, list[float]] = field(default_factory=dict)
    delivered: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    runs: int = 0
    repeated: int = 0
    objections: list[str] = field(default_factory=list)


def campaign(kills: int, seed: int, source: str) -> Campaign:
    """Kill random stages, one after another, in as few runs as the length of the sources allows.

    Args:
        kills: how many.
        seed: of the choice of stages and moments.
        source: video file, read three times over at once; anything else stands for three rendered scenes.
    """
    done, rng = Campaign(), random.Random(seed)
    addresses = [source] * 3 if Path(source).is_file() else SCENES
    while (left := kills - sum(map(len, done.recoveries.values()))) and not done.objections:
        done.runs += 1
        with tempfile.TemporaryDirectory(prefix="chaos") as scratch:
            run = Run(addresses, Path(scratch), SETTINGS)
            try:
                most = MAX_SHARE * sum(run.lengths().values())
                met: dict[str, int] = {}  # frames captured by the last death of a stage
                run.under_way()
                for _ in range(left):
                    if run.written() > most:
                        break
                    time.sleep(rng.uniform(0, MAX_PAUSE_S))
                    name, pid = rng.choice(sorted(run.pids().items()))
                    done.repeated += run.written() < met.get(name, 0)
                    met[name] = sum(account.captured for account in run.status().sources.values())
                    since = time.monotonic()
                    os.kill(pid, signal.SIGKILL)
                    taken = run.recovered(since, {name: pid})
                    done.recoveries.setdefault(name.partition(".")[0], []).append(taken)
                run.stop()
                _add(
                    done,
                    run.finish(),
                    after_death(run.config),
                    len(addresses) * run.config.queue.granted(lossless=True),
                )
            except Stuck as stuck:
                done.objections.append(str(stuck))
            finally:
                run.clear()
    return done


def table(done: Campaign) -> str:
    """Markdown: recovery by stage, then what it cost."""
    lines = ["| stage | kills | recovery p50 s | p95 s | worst s |", "|---|---:|---:|---:|---:|"]
    rows = [*sorted(done.recoveries.items()), ("all", [taken for each in done.recoveries.values() for taken in each])]
    for name, taken in rows:
        numbers = [f"{percentile(taken, share):.1f}" for share in (0.5, 0.95, 1.0)] if taken else ["-"] * 3
        lines.append(f"| {name} | {len(taken)} | {' | '.join(numbers)} |")
    lines += [
        "",
        f"Runs: {done.runs}. Frames delivered: {done.delivered}, lost: {causes(done.lost)}, "
        f"duplicates: {done.duplicates}. Kills that met frames a second time: {done.repeated}. "
        f"Objections: {'; '.join(done.objections) or 'none'}.",
    ]
    return "\n".join(lines)


def _add(done: Campaign, seen: Evidence, limit_s: float, under_way: int) -> None:
    lost = {"crash": under_way * done.repeated}
    expect = Expect(exit_code=130, complete=False, lost=lost, restarted=None)
    done.objections += objections(seen, expect, limit_s)
    done.delivered += sum(len(files.tracks) for files in seen.files.values())
    done.duplicates += sum(map(duplicates, seen.files.values()))
    done.lost.update(seen.causes("lost"))
