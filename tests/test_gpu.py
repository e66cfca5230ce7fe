"""What differs on a CUDA device; skipped where there is none (`pytest -m gpu`)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmark import run
from benchmark.conditions import Conditions
from benchmark.costs.prediction import predict
from benchmark.timing.child import stopwatch
from benchmark.timing.session import measure
from benchmark.training.loop import train
from zoo import create_model, get_card

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_gpu_is_timed_by_events() -> None:
    planes = torch.rand(256, 256, device="cuda")
    assert stopwatch("cuda")(lambda: planes @ planes) > 0


@pytest.mark.parametrize("name", ["plainunet_8", "hyperunet_8_8_64", "unet_w8", "vdn_w8", "hypervdn_8", "awnet_4ch"])
def test_networks_compute_there_what_they_compute_on_the_processor(name: str) -> None:
    network = create_model(name).eval()
    planes = torch.rand(2, get_card(name).input.channels, 64, 64)
    with torch.inference_mode():
        expected = network(planes)
        found = network.to("cuda")(planes.to("cuda")).cpu()
    assert float((found - expected).abs().max() / expected.abs().max()) < 2e-3  # convolutions may use TF32


def test_scores_are_those_of_the_processor(tmp_path: Path) -> None:
    scores = []
    for device in ("cpu", "cuda"):
        conditions = Conditions(device=device)
        (record,) = run("zrr", models="unet_w8", weights={"unet_w8": "shipped"}, limit=2, sizes=["none"],
                        conditions=conditions, out=tmp_path / device)  # fmt: skip
        assert record.status == "ok"
        scores.append(record.measurements["psnr[rgb]"].value)
    assert scores[1] == pytest.approx(scores[0], abs=0.01)


def test_time_and_allocated_memory_are_measured() -> None:
    predicted = predict("unet_w8", (224, 224), {})
    measured = measure("unet_w8", {"": predicted}, conditions=Conditions(device="cuda"))[""]
    assert measured.timing is not None
    assert measured.memory is not None
    assert measured.timing.latency_ms.median > 0
    # The allocator rounds up, and a convolution may take a workspace.
    assert measured.memory.cuda_peak_bytes > 0.5 * predicted.peak_activation_bytes


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_a_training_there_is_stopped_and_resumed(tmp_path: Path, precision: str) -> None:
    usual = {"device": "cuda", "precision": precision, "checkpoint_every": 2, "log_every": 1,
             "validation.every": 100, "validation.limit": 1, "schedule.cosine": False}  # fmt: skip
    train("standin_raw2rgb", tmp_path / "run", overrides=usual | {"max_steps": 2})
    done = train("standin_raw2rgb", tmp_path / "run", overrides=usual | {"max_steps": 4}, resume=True)
    assert done["steps"] == 4
    lines = [json.loads(line) for line in Path(done["log"]).read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
