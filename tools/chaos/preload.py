"""Compile C code that is preloaded into a run to change the results of system calls."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMPILER = shutil.which("cc")


def preloaded(code: Path, folder: Path) -> dict[str, str]:
    """Compile C code into a folder and return the environment variables that load it into a process."""
    library = folder / f"{code.stem}.so"
    subprocess.run([str(COMPILER), "-O2", "-shared", "-fPIC", "-o", str(library), str(code), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library)}
