"""int8 for ExecuTorch: which layers, from which ranges, files that other sizes are made from, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.test_executorch import Small, noise

pytest.importorskip("executorch")

from benchmark.backends.compiled import Quantized
from benchmark.backends.executorch import lower, to_pte
from benchmark.backends.placement import placement_of
from benchmark.backends.pt2e import Observed, ranges_text, stated_ranges


class Residual(nn.Module):
    """Three convolutions, the second one with channels of very different weights, and the input added at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
        with torch.no_grad():
            self.layers[1].weight[0] *= 1000

    def forward(self, x):
        return x + self.layers(x)


@pytest.fixture(scope="module")
def residual() -> tuple[nn.Module, Observed]:
    torch.manual_seed(0)
    network = Residual().eval()
    observed = Observed(network, noise(1, 3, 8, 12))
    for scale in (1, 3, 2):
        observed(scale * noise(1, 3, 8, 12))
    return network, observed


def test_ranges_are_the_extremes_of_all_images_and_weights_have_a_scale_for_each_channel(residual) -> None:
    network, observed = residual
    planes = noise(1, 3, 8, 12)
    seen = [network.layers[0](scale * planes) for scale in (1, 2, 3)]
    extremes = [min(map(torch.min, seen)).item(), max(map(torch.max, seen)).item()]
    assert any(found == pytest.approx(extremes) for found in observed.ranges.values())
    # The last layer and what follows it are in float32.
    assert observed.left_in_float() == {"conv2d": 1, "add": 1}
    assert observed.operations() == ["conv2d"]
    program = observed.quantised()
    channels = [node for node in program.graph.nodes if "dequantize_per_channel" in str(node.target)]
    assert len(channels) == 2
    placement = placement_of(lower(program))
    assert placement["portable_operators"] == []
    # The observed network is as it was.
    assert len(observed.ranges) == len({*observed.ranges})


def test_a_file_runs_at_its_size_and_others_are_made_from_its_ranges(residual, tmp_path) -> None:
    network, observed = residual
    file = tmp_path / "net.pte"
    file.write_bytes(to_pte(lower(observed.quantised(), ranges_text(observed.ranges, []))))
    ranges, in_float = stated_ranges(file)
    assert {name: tuple(ends) for name, ends in ranges.items()} == observed.ranges
    assert in_float == []
    quantized = Quantized(network, "executorch", file, threads=1)
    for planes in (noise(1, 3, 8, 12), noise(1, 3, 16, 8)):
        output, expected = quantized(planes), network(planes)
        step = (expected.max() - expected.min()) / 255
        assert 0 < (output - expected).abs().max() < 4 * step


def test_what_predicts_filters_stays_in_float() -> None:
    torch.manual_seed(0)
    network, planes = Small().eval(), noise(1, 3, 8, 12)
    observed = Observed(network, planes)
    observed(planes)
    left = observed.left_in_float()
    assert (left["conv2d"], left["linear"]) == (1, 3)
    assert "linear" not in observed.operations()
    assert "conv2d" not in Observed(network, planes, ["conv2d"]).operations()


def test_percentiles_are_refused(zoo_bench, tmp_path) -> None:
    usual = ["--weights", "shipped", "--calibrate", "zrr", "-o", tmp_path / "net.pte"]
    outcome = zoo_bench("quantize", "plainunet_8", *usual, "--method", "percentile=99.9")
    assert outcome.code == 2
    assert "--method percentile=99.9: ExecuTorch has only min-max here" in outcome.err.splitlines()[-1]


@pytest.mark.slow
def test_quantize_writes_a_program_and_says_where_its_layers_run(zoo_bench, tmp_path) -> None:
    file = tmp_path / "net.pte"
    usual = ["--weights", "shipped", "--calibrate", "zrr", "--images", "2"]
    outcome = zoo_bench("quantize", "plainunet_8", *usual, "-o", file, "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["bytes"] < document["float_bytes"]
    assert document["placement"]["delegated_share"] == 1
    assert document["left_in_float"]["conv2d"] == 1
    assert document["examined"]["psnr_to_fp32"] > 35
    assert -0.1 < document["examined"]["loss_db"] < 1
    assert "the file takes images of one size only" in document["notes"]
    assert Path(document["file"]).stat().st_size >= document["bytes"]


@pytest.mark.slow
def test_a_run_in_int8_by_executorch_has_its_own_key(tmp_path) -> None:
    from benchmark import run
    from benchmark.conditions import Calibration, Conditions

    conditions = Conditions(precision="int8", backend="executorch", threads=1, calibrate="zrr,min-max,2")
    (record,) = run("zrr", conditions=conditions, models="plainunet_8", limit=2, sizes=["none"], out=tmp_path)
    assert record.status == "ok"
    assert record.spec.conditions.backend == "executorch"
    assert len(Calibration.of(record.spec.conditions.calibrate).digest) == 16
    assert any(note.startswith("int8: a file of") for note in record.notes)
