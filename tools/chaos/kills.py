"""Random kills of stages under load: recovery times, and the frames lost or duplicated."""

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
"""Share of a run's frames after which no more kills are made in it, so that its sources do not end meanwhile."""


@dataclass
class Campaign:
    """Result of a series of random kills.

    Attributes:
        recoveries: recovery times in s by stage, one for every kill.
        delivered, lost, duplicates: numbers of frames over all runs.
        runs: number of runs that the kills were spread over.
        repeated: kills of a stage while frames that were in flight at its previous kill were still in flight. Such
            frames may be given up as lost.
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
    """Kill random stages one after another, in as few runs as the length of the sources allows.

    Args:
        kills: number of kills.
        seed: seed of the random choice of stages and times.
        source: video file, used as three parallel sources; anything else selects three rendered scenes.
    """
    done, rng = Campaign(), random.Random(seed)
    addresses = [source] * 3 if Path(source).is_file() else SCENES
    while (left := kills - sum(map(len, done.recoveries.values()))) and not done.objections:
        done.runs += 1
        with tempfile.TemporaryDirectory(prefix="chaos") as scratch:
            run = Run(addresses, Path(scratch), SETTINGS)
            try:
                most = MAX_SHARE * sum(run.lengths().values())
                met: dict[str, int] = {}  # frames captured when a stage was last killed
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
    """Format recovery times by stage and the cost of the kills as Markdown."""
    lines = ["| stage | kills | recovery p50 s | p95 s | worst s |", "|---|---:|---:|---:|---:|"]
    rows = [*sorted(done.recoveries.items()), ("all", [taken for each in done.recoveries.values() for taken in each])]
    for name, taken in rows:
        numbers = [f"{percentile(taken, share):.1f}" for share in (0.5, 0.95, 1.0)] if taken else ["-"] * 3
        lines.append(f"| {name} | {len(taken)} | {' | '.join(numbers)} |")
    lines += [
        "",
        f"Runs: {done.runs}. Frames delivered: {done.delivered}, lost: {causes(done.lost)}, "
        f"duplicates: {done.duplicates}. Kills that hit frames a second time: {done.repeated}. "
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
