"""One training in two processes, started as ``torchrun`` and as Slurm start them, stopped and resumed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmark.results.jsonl import read_lines
from benchmark.training import checkpoints
from tests.conftest import TINY
from zoo.weights import read_checkpoint

ROOT = Path(__file__).parent.parent
RECIPE = """
model: tiny_net
dataset: tiny
epochs: 4
batch_size: 1
crop: 16
crops_per_image: 2
lr: 1e-2
checkpoint_every: 3
log_every: 3
"""  # 8 windows an epoch: 4 steps with two processes of one window each, 16 in all

Start = Callable[..., tuple[int, str]]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process, without the variables of another launcher."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def arguments(recipe: Path, folder: Path, *flags: str) -> list[str]:
    return ["-m", "benchmark.cli", "--plugin", str(TINY), "train", str(recipe), "-o", str(folder), *flags]


def with_torchrun(recipe: Path, folder: Path, *flags: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, *arguments(recipe, folder, *flags)], env=environment(), capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def as_slurm_does(recipe: Path, folder: Path, *flags: str) -> tuple[int, str]:
    """Start two processes with the variables that `srun` sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}
    common |= {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "MASTER_ADDR": "127.0.0.1"}
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments(recipe, folder, *flags)],
            env=environment(**common, MASTER_PORT=port, SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    texts = [process.communicate(timeout=300)[0] for process in processes]
    return max(process.returncode for process in processes), "\n".join(texts)


@pytest.mark.slow
@pytest.mark.parametrize("start", [with_torchrun, as_slurm_does])
def test_two_processes_train_one_network_and_resume(tmp_path, start: Start) -> None:
    recipe = tmp_path / "short.yaml"
    recipe.write_text(RECIPE)
    code, text = start(recipe, tmp_path / "whole")
    assert code == 0, text
    # Stopped in the middle of an epoch, then continued by the same number of processes.
    for steps in ("6", "16"):
        code, text = start(recipe, tmp_path / "parts", "--resume", "--set", f"max_steps={steps}")
        assert code == 0, text
    state = checkpoints.read_state(tmp_path / "parts")
    assert (state.step, state.processes, state.samples) == (16, 2, 32)
    whole, parts = (read_checkpoint(tmp_path / name / "weights.safetensors").state for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    # One log: only the first process writes it.
    steps = [line["step"] for line in read_lines(tmp_path / "whole" / "log.jsonl") if line["kind"] == "train"]
    assert steps == [3, 6, 9, 12, 15, 16]
    # Another number of processes would train something else, and is refused.
    alone = [sys.executable, *arguments(recipe, tmp_path / "parts", "--resume")]
    refused = subprocess.run(alone, env=environment(), capture_output=True, text=True)
    assert refused.returncode == 2
    assert "was trained by 2 process(es) up to step 16 (32 samples seen)" in refused.stderr
    assert "Traceback" not in refused.stderr
