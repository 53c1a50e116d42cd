"""Runs targets in child processes, so that a crash of native code or a hang ends the child and not the run.

The child stores every input in memory shared with its parent before trying it. A kernel timer of CPU time kills a child
that hangs. A limit on the address space makes excessive allocations fail.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import multiprocessing
import os
import resource
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NamedTuple

from tools.fuzz.mutate import Mutation

HANG_S = 2.0  # CPU time
MEMORY_BYTES = 1 << 30  # that a child may allocate
MAX_DEATHS = 10  # children per job
_HEAD = struct.Struct("<QQdI")
_SHARED_BYTES = 1 << 20
_ROOT = Path(__file__).resolve().parents[2]


class Target(NamedTuple):
    """A reader of untrusted bytes.

    Attributes:
        name: name on the command line and of the corpus folder.
        check: reads an input and returns if it is accepted. Asserts what must hold for the accepted content.
        refuses: the only exceptions that it may raise to reject an input.
        seeds: creates valid inputs with the real encoders.
        mutate: creates new inputs from existing ones.
    """

    name: str
    check: Callable[[bytes], None]
    refuses: type[Exception] | tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]
    mutate: Mutation


class Finding(NamedTuple):
    """An input that a target did not handle correctly.

    Attributes:
        signature: what happened and where; findings with the same signature count as one.
        details: traceback, or the standard error of a child that died.
        data: the input.
    """

    signature: str
    details: str
    data: bytes


class Result(NamedTuple):
    """Result of fuzzing one target."""

    target: str
    runs: int
    accepted: int
    seconds: float
    findings: dict[str, Finding]


def attempt(target: Target, data: bytes) -> bool:
    """Try one input and return whether it was accepted.

    Raises:
        Exception: a finding, that is an undeclared exception, or a rejection whose message is not exactly one line.
    """
    try:
        target.check(data)
    except target.refuses as error:
        line = str(error)
        assert line.strip(), f"{type(error).__name__} says nothing"
        assert len(line.splitlines()) == 1, f"{type(error).__name__} says more than one line"
        return False
    return True


def inputs(target: Target, corpus: Sequence[bytes], seed: int) -> Callable[[], bytes]:
    """Return a function that draws inputs: first the corpus unchanged, then mutations of it without end."""
    rng = Random(f"{target.name} {seed}")
    fresh = iter(corpus)

    def draw() -> bytes:
        first = next(fresh, None)
        return target.mutate(rng, rng.choice(corpus), corpus) if first is None else first

    return draw


def fuzz(target: Target, corpus: Sequence[bytes], *, runs: int, seconds: float, seed: int, jobs: int) -> Result:
    """Fuzz one target until ``runs`` inputs have been tried or ``seconds`` have passed, whichever comes first."""
    shares = [runs // jobs + (job < runs % jobs) for job in range(jobs)]
    with ThreadPoolExecutor(jobs) as pool:
        drive = [
            pool.submit(_drive, target, corpus, share, seconds, seed * 1_000_003 + job)
            for job, share in enumerate(shares)
        ]
        parts = [future.result() for future in drive]
    findings: dict[str, Finding] = {}
    for part in parts:
        _keep(findings, *part.findings.values())
    total, accepted = sum(part.runs for part in parts), sum(part.accepted for part in parts)
    return Result(target.name, total, accepted, max(part.seconds for part in parts), findings)


def save(result: Result, folder: Path) -> list[Path]:
    """Write input and details of each finding below ``folder``; return the paths of the inputs."""
    paths = []
    for finding in result.findings.values():
        path = folder / result.target / hashlib.sha256(finding.data).hexdigest()[:16]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(finding.data)
        path.with_suffix(".txt").write_text(
            f"{finding.signature}\n\n{finding.details}", encoding="utf-8", errors="backslashreplace"
        )
        paths.append(path)
    return paths


def _drive(target: Target, corpus: Sequence[bytes], runs: int, seconds: float, seed: int) -> Result:
    """Run one job: a child process, replaced each time it dies."""
    findings: dict[str, Finding] = {}
    done, accepted, elapsed, deaths = 0, 0, 0.0, 0
    context = multiprocessing.get_context("spawn")
    while done < runs and elapsed < seconds and deaths < MAX_DEATHS:
        with tempfile.NamedTemporaryFile() as file, tempfile.NamedTemporaryFile() as chatter:
            file.truncate(_SHARED_BYTES)
            ours, theirs = context.Pipe(duplex=False)
            # After a crash the corpus is skipped; otherwise the same input would kill every child.
            share = (
                file.name,
                chatter.name,
                theirs,
                corpus,
                runs - done,
                seconds - elapsed,
                seed + 7919 * deaths,
                deaths == 0,
            )
            child = context.Process(target=_child, args=(target, *share))
            child.start()
            theirs.close()
            while (finding := _receive(ours)) is not None:
                _keep(findings, finding)
            child.join()
            part_done, part_accepted, part_elapsed, length = _HEAD.unpack(file.read(_HEAD.size))
            last = file.read(length)
            last_words = chatter.read()[-4000:].decode("utf-8", "replace")
        done, accepted, elapsed = done + part_done, accepted + part_accepted, elapsed + part_elapsed
        if child.exitcode:
            deaths += 1
            _keep(findings, Finding(_cause(child.exitcode), last_words, last))
    return Result(target.name, done, accepted, elapsed, findings)


def _child(
    target: Target,
    shared: str,
    chatter: str,
    pipe: Connection,
    corpus: Sequence[bytes],
    runs: int,
    seconds: float,
    seed: int,
    first: bool,
) -> None:
    with Path(chatter).open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 2)  # image libraries print warnings for damaged data
    with Path(shared).open("r+b") as file:
        memory = mmap.mmap(file.fileno(), _SHARED_BYTES)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    draw = inputs(target, corpus, seed)
    if not first:
        for _ in corpus:
            draw()
    known: set[str] = set()
    accepted, run_count, start = 0, runs, time.monotonic()
    for run in range(1, runs + 1):
        data = draw()
        elapsed = time.monotonic() - start
        if elapsed > seconds:
            run_count = run - 1
            break
        memory[: _HEAD.size + len(data)] = _HEAD.pack(run, accepted, elapsed, len(data)) + data
        signal.setitimer(signal.ITIMER_PROF, HANG_S)
        try:
            accepted += attempt(target, data)
        except Exception as error:
            finding = Finding(_signature(error), "".join(traceback.format_exception(error)), data)
            if finding.signature not in known:
                known.add(finding.signature)
                pipe.send(finding)
        signal.setitimer(signal.ITIMER_PROF, 0)
    memory[: _HEAD.size] = _HEAD.pack(run_count, accepted, time.monotonic() - start, 0)


def _receive(pipe: Connection) -> Finding | None:
    try:
        finding: Finding = pipe.recv()
    except EOFError:
        return None
    return finding


def _cause(exitcode: int) -> str:
    if exitcode == -signal.SIGPROF:
        return f"hangs for more than {HANG_S:g} s"
    return f"dies of {signal.Signals(-exitcode).name}" if exitcode < 0 else f"leaves with exit code {exitcode}"


def _signature(error: BaseException) -> str:
    """Return the type of the exception and the innermost source line of this project in its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(_ROOT)]
    place = f"{Path(frames[-1].filename).relative_to(_ROOT)}:{frames[-1].lineno}" if frames else "?"
    said = f": {error}" if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} at {place}{said}"


def _keep(findings: dict[str, Finding], *more: Finding) -> None:
    """Keep the finding with the shortest input for each signature."""
    for finding in more:
        known = findings.get(finding.signature)
        if len(finding.data) < (math.inf if known is None else len(known.data)):
            findings[finding.signature] = finding
