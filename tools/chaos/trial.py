"""Trial of one fault of the table."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.chaos.camera import Camera
from tools.chaos.checks import objections
from tools.chaos.faults import Fault
from tools.chaos.run import Run, Stuck

SMALL_DISK = "1m"
SMALL_MEMORY = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=16k tmpfs /dev/shm && exec "$@"', "sh")


@dataclass(frozen=True)
class Result:
    """Result of a trial.

    Attributes:
        name: name of the fault.
        skipped: why the fault was not tried; empty if it was.
        objections: what was not as promised.
        recovery_s: longest time from an injection to recovery; None if the run was meant to end.
        lost, dropped: frames by cause; None if the run could not record them at its end.
        seconds: duration of the trial.
    """

    name: str
    skipped: str = ""
    objections: tuple[str, ...] = ()
    recovery_s: float | None = None
    lost: Mapping[str, int] | None = None
    dropped: Mapping[str, int] | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The result in one word: skipped, FAILED or passed."""
        return "skipped" if self.skipped else "FAILED" if self.objections else "passed"


def attempt(fault: Fault, source: str) -> Result:
    """Try a fault on a separate run and clean up afterwards.

    Args:
        fault: the fault.
        source: address used for faults with source ``file``; a camera plays it if it is a file.
    """
    obstacle, start = fault.obstacle(), time.monotonic()
    if obstacle:
        return Result(fault.name, skipped=obstacle)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos")))
        camera = None
        if fault.source == "camera":
            camera = stack.enter_context(Camera(source if Path(source).is_file() else None))
        address = source if fault.source == "file" else camera.address if camera is not None else fault.source
        out = stack.enter_context(_small_disk(scratch / "disk")) / "out" if fault.small_disk else None
        tool = fault.tool(scratch) if fault.tool else None
        run = Run([address], scratch, fault.settings, tool, camera, out, SMALL_MEMORY if fault.small_memory else ())
        stack.callback(run.clear)
        try:
            run.under_way()
            fault.inject(run)
            if not run.lossless and fault.expect.exit_code == 130:
                run.stop()
            seen = run.finish()
        except Stuck as stuck:
            return Result(fault.name, objections=(str(stuck),), seconds=time.monotonic() - start)
        return Result(
            fault.name,
            objections=tuple(objections(seen, fault.expect, fault.within(run.config))),
            recovery_s=max(seen.recoveries, default=None),
            lost=seen.causes("lost") if seen.ended else None,
            dropped=seen.causes("dropped") if seen.ended else None,
            seconds=time.monotonic() - start,
        )


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
