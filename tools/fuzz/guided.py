"""Coverage-guided fuzzing of the targets with atheris, which keeps and mutates inputs that reach new lines.

    python -m tools.fuzz --engine atheris

runs this module in one process per target, because only modules imported under instrumentation report coverage.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["pipeline", "nets", "training", "tools.evaluate_video"]):
    from tools.fuzz import engine, targets


def main(argv: Sequence[str]) -> None:
    """Fuzz until the limit of runs or seconds or the first finding is reached; does not return.

    Args:
        argv: target, runs, seconds, seed, and folder for findings. -1 runs and 0 seconds mean no limit.
    """
    name, runs, seconds, seed, findings = argv
    target = targets.TARGETS[name]
    pool = targets.corpus(target)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-corpus-"))
    for number, data in enumerate(pool):
        (folder / str(number)).write_bytes(data)
    Path(findings).mkdir(parents=True, exist_ok=True)

    def run(data: bytes) -> None:
        engine.attempt(target, data)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        rng = Random(seed)
        changed = target.mutate(rng, data, pool) if rng.random() < 0.5 else atheris.Mutate(data, size)
        return bytes(changed[:size])

    options = [f"-runs={runs}", f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={engine.HANG_S:.0f}"]
    options += ["-rss_limit_mb=4096", "-max_len=65536", f"-artifact_prefix={findings}/{name}-", str(folder)]
    atheris.Setup([sys.argv[0], *options], run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
