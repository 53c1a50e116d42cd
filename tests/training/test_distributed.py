"""Two training processes: averaged gradients and clean shutdown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def run_two(tmp_path, body):
    """Run a script in two processes and return what each wrote into its own file, by rank."""
    script = tmp_path / "script.py"
    script.write_text(body)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OUT": str(tmp_path)}
    done = subprocess.run([*TWO, str(script)], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are listed on Linux alone")
def test_two_processes_average_their_gradients_and_end_their_threads(tmp_path):
    """A thread that outlives the group and releases a tensor during interpreter shutdown would abort the process."""
    first, second = run_two(
        tmp_path,
        """
import json, os
from pathlib import Path
import torch
from torch import nn
from training.distributed import join

def threads():
    return sum("gloo" in (task / "comm").read_text() for task in Path("/proc/self/task").iterdir())

with join("cpu") as world:
    network = nn.Conv2d(2, 2, 1, bias=False).to(memory_format=torch.channels_last)
    network.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
    nn.init.constant_(network.weight, 0)
    picture = torch.tensor([1.0, 10.0]).view(1, 2, 1, 1) * (1 + 2 * world.rank)
    (network(picture) * torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).sum().backward()
    world.average_gradients(network)
    result = {"gradient": network.weight.grad.flatten().tolist(), "agreed": world.broadcast(5.0 + world.rank)}
    torch.optim.AdamW(network.parameters()).step()
    result["during"] = threads()
result["after"] = threads()
Path(os.environ["OUT"], f"{world.rank}.json").write_text(json.dumps(result))
""",
    )
    assert first["gradient"] == second["gradient"] == [2.0, 20.0, 6.0, 60.0]
    assert first["agreed"] == second["agreed"] == 5.0
    assert first["during"] > 0 and second["during"] > 0
    assert first["after"] == second["after"] == 0
