"""Data is never executed: checks the imports and calls of every reachable module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

EXECUTES = {"pickle", "cPickle", "shelve", "dill", "cloudpickle", "joblib", "marshal", "multiprocessing", "runpy"}


CALLS = {"eval", "exec", "__import__", "torch.load", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load"}


CALLS |= {"yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}


OWN = ("pipeline", "nets", "training", "tools", "run_stream")


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield the full names of everything that a module imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def unsafe_names(tree: ast.AST, package: str = "") -> list[str]:
    """Return the imports and calls of a module that could execute data."""
    names = list(imports(tree, package))
    found = [name for name in names if name.split(".")[0] in EXECUTES or name in CALLS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            unsafe = any(word.arg == "shell" or word.arg == "allow_pickle" for word in node.keywords)
            found += [name] if name in CALLS or unsafe else []
    return found


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def reachable() -> dict[str, Path]:
    """Return the modules of pipeline, nets and run_stream.py and all modules of this project that they import."""
    starts = [p for part in ("pipeline", "nets") for p in (ROOT / part).rglob("*.py")] + [ROOT / "run_stream.py"]
    todo = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in starts]
    seen: dict[str, Path] = {}
    while todo:
        module = todo.pop()
        path = file_of(module)
        if path is None or module in seen:
            continue
        seen[module] = path
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name in imports(ast.parse(path.read_text()), package):
            if name.split(".")[0] in OWN:
                todo += [name, name.rpartition(".")[0]]
    return seen


def test_no_reachable_module_can_execute_data() -> None:
    modules = reachable()
    assert {"run_stream", "pipeline.wire", "pipeline.serve", "nets.manifest", "nets"} <= modules.keys()
    assert len(modules) > 80
    found = {name: unsafe_names(ast.parse(path.read_text())) for name, path in modules.items()}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "def f():\n    from pickle import loads as harmless",
        "import marshal as m",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import numpy as np\nnp.load('x')",
        "open_it(path, allow_pickle=True)",
        "exec('x')",
        "subprocess.run('x', shell=True)",
        "import multiprocessing.pool",
    ],
)
def test_unsafe_code_is_found(code: str) -> None:
    assert unsafe_names(ast.parse(code))


def test_relative_imports_are_followed() -> None:
    tree = ast.parse("from . import a\nfrom .b import c\nfrom ..d import e")
    assert list(imports(tree, "p.q")) == ["p.q.a", "p.q.b.c", "p.d.e"]
