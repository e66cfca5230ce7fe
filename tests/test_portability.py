"""The report of what engines and phones refuse or emulate: found in the graph, tried here or read, with its source."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from benchmark.running import portability
from zoo.hyper import HyperConv2d
from zoo.registry import Registry


class Mixed(nn.Module):
    """One of each kind of operation that targets treat differently."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.PixelShuffle(2)
        self.norm = nn.InstanceNorm2d(3)
        self.act = nn.PReLU(3)
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.hyper = HyperConv2d(3, 3, embedding_channels=3, hidden=5)

    def forward(self, x):
        y = self.act(self.norm(self.up(self.first(x))))
        y = nn.functional.interpolate(y, scale_factor=0.5, mode="bicubic")
        return self.hyper(y, x)


@pytest.fixture
def mixed(monkeypatch) -> str:
    from zoo import list_models, register_model
    from zoo.card import MODELS

    list_models()
    assert isinstance(MODELS, Registry)
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))

    @register_model(task="denoise_rgb")
    def mixed() -> nn.Module:
        return Mixed()

    return "mixed"


def report(zoo_bench, *more: object) -> dict:
    outcome = zoo_bench("export", "mixed", "--report", "--size", "16x16", "--json", *more)
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_a_report_names_kinds_layers_and_pages_without_any_engine(zoo_bench, mixed, monkeypatch) -> None:
    monkeypatch.setattr(portability, "is_installed", lambda name: False)
    document = report(zoo_bench)
    assert document["operations"] == {
        "PixelShuffle": ["up"],
        "InstanceNorm": ["norm"],
        "PReLU": ["act"],
        "resize: bicubic": [""],
        "maxima over an axis": ["hyper"],
        "GELU": ["hyper.mlp.1", "hyper.mlp.3"],
        "tensors of rank over 4": ["hyper"],
        "computed filters": ["hyper"],
    }
    targets = {one["target"]: one for one in document["targets"]}
    assert list(targets) == list(portability.TARGETS)
    assert all(one["tried"] is None and one["why"] for one in targets.values())
    nnapi = {one["operation"]: one for one in targets["nnapi"]["findings"]}
    assert "PReLU" not in nnapi
    assert nnapi["computed filters"]["effect"] == "refused"
    assert nnapi["computed filters"]["source"]["address"].startswith("https://onnxruntime.ai/")
    # What no page was read about is not called supported.
    litert = targets["litert-gpu"]["findings"]
    assert [one["operation"] for one in litert] == list(document["operations"])
    assert {(one["effect"], one["source"]) for one in litert} == {("not checked", None)}


def test_every_rule_is_of_a_target_and_a_kind_and_has_a_page() -> None:
    kinds = {*portability.KINDS, "computed filters", "dynamic sizes"}
    for (target, kind), (effect, reason, source) in portability.RULES.items():
        assert target in portability.TARGETS
        assert kind in kinds
        assert effect in ("refused", "emulated")
        assert reason
        assert source.address.startswith("https://")


@pytest.mark.slow
@pytest.mark.skipif(not portability.is_installed("executorch"), reason="executorch is not installed")
def test_what_was_tried_is_said_apart_from_what_was_read(zoo_bench, mixed, monkeypatch) -> None:
    monkeypatch.setattr(portability, "is_installed", lambda name: name == "executorch")
    (target, *_) = report(zoo_bench)["targets"]
    assert target["tried"]["runs"]
    assert target["tried"]["relative_error"] <= 1e-4
    found = {(one["operation"], one["tried"]): one for one in target["findings"]}
    assert found["aten.convolution", True]["layers"] == ["hyper"]
    assert "Expected weight to be a static param" in found["aten.convolution", True]["reason"]
    assert found["computed filters", False]["source"]["title"].startswith("ExecuTorch")


def test_open_sizes_are_a_kind(mixed) -> None:
    from torch.export import Dim

    from benchmark.backends.capture import capture

    network, planes = nn.Conv2d(3, 3, 3), torch.rand(1, 3, 16, 16)
    program = capture(network, [planes], dynamic_shapes=[{2: Dim("rows", min=8, max=32)}])
    assert portability.kinds_of(program) == {"dynamic sizes": [""]}


def test_a_report_writes_no_file_and_a_file_needs_a_name(zoo_bench, tmp_path) -> None:
    outcome = zoo_bench("export", "plainunet_8", "--report", "-o", tmp_path / "m.onnx")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "--report writes no file" in outcome.err
    outcome = zoo_bench("export", "plainunet_8")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "expected -o FILE" in outcome.err
