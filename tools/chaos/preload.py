"""C code that is preloaded into a run and changes what the system tells it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc")


def preloaded(code: Path, folder: Path) -> dict[str, str]:
    """The variables that load C code into a process; it is compiled into a folder."""
    library = folder / f"{code.stem}.so"
    subprocess.run([str(COMPILER), "-O2", "-shared", "-fPIC", "-o", str(library), str(code), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}
