"""LPIPS and DISTS with packages made up for the tests: what they are given, and what is said without them."""

from __future__ import annotations

import hashlib
import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmark.metrics import METRICS, chosen_ids, perceptual
from benchmark.running.run import run
from zoo.errors import UserError

IDS = {"lpips[alex]": "alexnet", "dists": "vgg16"}


class Network(nn.Module):
    """A distance that remembers what it was given."""

    def __init__(self, **given):
        super().__init__()
        self.given = given

    def forward(self, output, target, **more):
        assert output.dtype == torch.float32
        assert not self.training
        self.given |= more
        return (output - target).abs().mean().reshape(1, 1, 1, 1)


def wrapped(**given):
    """Return an object that holds the network, as torchmetrics' class does."""
    return SimpleNamespace(net=Network(**given))


def module(monkeypatch, name, **content):
    made = ModuleType(name)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """Install the made-up packages; return a function that writes the weights of a network."""
    weights = {}

    def write(model, content=b"weights"):
        name = f"{model}-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth"
        weights[model] = tmp_path / "hub" / "checkpoints" / name
        weights[model].parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            weights[model].write_bytes(content)
        return weights[model]

    def weights_of(model):
        return {"DEFAULT": SimpleNamespace(url=f"https://example.org/models/{write(model, None).name}")}

    for name in ("torchmetrics", "torchmetrics.functional", "torchmetrics.functional.image", "torchmetrics.image"):
        module(monkeypatch, name)
    module(monkeypatch, "torchmetrics.functional.image.dists", DISTSNetwork=Network)
    module(monkeypatch, "torchmetrics.image.lpip", LearnedPerceptualImagePatchSimilarity=wrapped)
    module(monkeypatch, "torchvision")
    module(monkeypatch, "torchvision.models", get_model_weights=weights_of)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    for made in (perceptual._lpips, perceptual._dists, perceptual._digest):
        made.cache_clear()
    yield write
    for made in (perceptual._lpips, perceptual._dists):
        made.cache_clear()


@pytest.mark.parametrize("id", IDS)
def test_a_pair_is_given_as_the_network_wants_it(packages, id):
    packages(IDS[id])
    target = np.zeros((32, 40, 3))
    target[3, 5] = 0.5
    card = METRICS.get(id)
    card.check()
    assert card.function(target + 0.25, target) == 0.25
    assert not card.higher_is_better
    if id == "lpips[alex]":  # values in [0, 1] are mapped to [-1, 1]
        assert perceptual._lpips().func.given == {"net_type": "alex", "normalize": True}
    with pytest.raises(UserError, match="at least 32 pixels a side"):
        card.function(target[1:], target[1:])


@pytest.mark.parametrize("id", IDS)
def test_missing_weights_are_named_and_never_downloaded(packages, id):
    place = packages(IDS[id], None)
    with pytest.raises(UserError) as caught:
        METRICS.get(id).check()
    assert str(caught.value) == (
        f"{id} needs the weights of {IDS[id]}, and there is no file {place}. Download"
        f" https://example.org/models/{place.name} to that place, or copy the file from a machine that has it."
    )


@pytest.mark.parametrize("id", IDS)
def test_damaged_weights_are_named(packages, id):
    place = packages(IDS[id], b"weigh")
    with pytest.raises(UserError, match=rf"{place} is damaged.*Download"):
        METRICS.get(id).check()
    packages(IDS[id])
    METRICS.get(id).check()


@pytest.mark.parametrize("id", IDS)
def test_a_missing_package_is_named_before_anything_is_measured(monkeypatch, id, zoo_bench, tmp_path):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(UserError, match=r"pip install 'zoo-bench\[perceptual\]'"):
        chosen_ids([id], ())
    with pytest.raises(UserError, match="needs torchmetrics"):
        run("zrr", models=["bilinear"], metrics=["protocol", id], out=tmp_path / "out")
    assert not (tmp_path / "out" / "results.jsonl").exists()
    for folder in ("outputs", "targets"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 40)).save(tmp_path / folder / "1.png")
    named = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets", "--metrics", id)
    assert (named.code, named.err.count("\n"), "Traceback" in named.err) == (2, 1, False)
    everything = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets", "--all", "--json")
    assert everything.code == 0
    assert json.loads(everything.out)["scores"][id] is None
    assert f"left out: {id} needs torchmetrics" in everything.err
