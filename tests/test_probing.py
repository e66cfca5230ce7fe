"""Weights that only look right under another convention of the input than the stated one are reported, no others."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmark.probing import convention_warning
from benchmark.selection import entry_of
from zoo import get_card, list_models, register_model
from zoo.card import MODELS, ModelCard
from zoo.convention import PYNET_PLANES, READING_PLANES, Counts, InputSpec, of_counts
from zoo.models.classical import BilinearPipeline
from zoo.official import official_files
from zoo.weights import file_digest, read_checkpoint

SHARED = Path(os.environ.get("ZOO_BENCH_SHARED", ""))
# Networks that take minutes for what this test asks of them.
HEAVY = ("pynet", "awnet", "spade", "liteisp", "nafnet", "vdn", "hyper", "dncnn", "unet", "plainunet", "dped")


def developing(planes: tuple[tuple[int, int], ...], divisor: float) -> Callable[[Tensor], Tensor]:
    """A network as if trained on counts / ``divisor`` of ZRR, in an order of planes; like many, it squares inside."""
    pipeline = BilinearPipeline()
    order = [planes.index(place) for place in PYNET_PLANES]

    def run(x: Tensor) -> Tensor:
        linear = (x[:, order] * divisor - 64) / 959
        return (pipeline(linear.clamp(0, 1)) + 4 * (linear.amax() - 1).clamp(min=0)).clamp(-1, 2)

    return run


def with_spec(spec: InputSpec) -> ModelCard:
    return replace(get_card("bilinear"), input_of=lambda options: spec)


@pytest.mark.parametrize("planes", [PYNET_PLANES, READING_PLANES])
@pytest.mark.parametrize("divisor", [255.0, 1023.0, 4095.0, 16383.0])
def test_a_wrong_scale_or_order_is_found_and_the_right_one_is_silent(planes, divisor: float) -> None:
    right = InputSpec("bayer_packed", planes=planes, divisor=divisor)
    network = developing(planes, divisor)
    assert convention_warning(with_spec(right), {}, network) == ""
    for other in (1023.0, 4095.0, 16383.0):
        if max(other / divisor, divisor / other) > 3:
            text = convention_warning(with_spec(replace(right, divisor=other)), {}, network)
            nearest = "1020" if divisor == 1023 else f"{divisor:g}"
            assert f"with divisor={nearest} it has" in text or "with divisor=1023 it has" in text
    turned = READING_PLANES if planes == PYNET_PLANES else PYNET_PLANES
    name = "PYNET_PLANES" if planes == PYNET_PLANES else "READING_PLANES"
    text = convention_warning(with_spec(replace(right, planes=turned)), {}, network)
    assert f"with planes={name} it has" in text
    assert "the network needs an InputSpec with planes=" in text


@pytest.fixture
def counted(monkeypatch):
    """A registered network whose weights are a factor on its input, and which has the option ``counts``."""
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.run = developing(PYNET_PLANES, 1023.0)

        def forward(self, x: Tensor) -> Tensor:
            return self.run(x * self.scale)

    @register_model(task="raw2rgb", input_of=of_counts(InputSpec("bayer_packed", divisor=1023.0)))
    def counted_net(counts: Counts = "ultraisp") -> nn.Module:
        return Counted()


def test_the_import_names_the_option_to_set(zoo_bench, tmp_path, counted) -> None:
    torch.save({"scale": torch.ones(1)}, tmp_path / "zrr.pth")
    flags = ("weights", "import", "counted_net", tmp_path / "zrr.pth", "-o", tmp_path / "w.safetensors")
    outcome = zoo_bench(*flags)
    assert outcome.code == 0
    (line,) = outcome.err.splitlines()
    assert "counted_net: the output for a synthetic picture is" in line
    assert "white" in line
    assert "with counts=zrr it has 20." in line
    assert "import them with --set counts=zrr." in line
    assert zoo_bench(*flags, "--set", "counts=zrr").err == ""
    torch.save({"scale": torch.ones(1) / 4}, tmp_path / "zrr.pth")
    assert zoo_bench(*flags).err == ""
    assert "% black" in zoo_bench(*flags, "--set", "counts=zrr").err


def test_a_picture_of_the_user_takes_the_place_of_the_synthetic_one(zoo_bench, tmp_path, counted) -> None:
    torch.save({"scale": torch.ones(1)}, tmp_path / "zrr.pth")
    picture = np.random.RandomState(0).randint(40, 200, (8, 8, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    Image.fromarray(picture).save(tmp_path / "p.png")
    Image.fromarray(picture[:50]).save(tmp_path / "small.png")
    flags = ("weights", "import", "counted_net", tmp_path / "zrr.pth", "-o", tmp_path / "w.safetensors", "--try-on")
    assert "the output for a picture is" in zoo_bench(*flags, tmp_path / "p.png").err
    small = zoo_bench(*flags, tmp_path / "small.png")
    assert (small.code, "has 50x128 pixels; expected at least 96x96" in small.err) == (2, True)
    assert zoo_bench(*flags, tmp_path / "none.png").code == 2


def test_a_network_that_fails_is_imported_with_a_word(zoo_bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))

    class Failing(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            raise KeyError("later")

    @register_model(task="denoise_rgb")
    def failing_net() -> nn.Module:
        return Failing(3, 3, 1)

    torch.save(nn.Conv2d(3, 3, 1).state_dict(), tmp_path / "w.pth")
    outcome = zoo_bench("weights", "import", "failing_net", tmp_path / "w.pth", "-o", tmp_path / "w.safetensors")
    assert outcome.code == 0
    assert "the convention of its input could not be tried (KeyError: 'later')" in outcome.err


@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize("name", ["ffdnet_gray", "ffdnet_color"])
def test_noise_that_is_clipped_or_not_is_told_apart(name: str, clipped: bool) -> None:
    card = get_card(name)

    def network(x: Tensor) -> Tensor:
        """A mean of neighbours that fails in the dark if the noise is clipped and should not be, or the reverse."""
        image = x[:, :-1]
        smooth = nn.functional.avg_pool2d(image, 7, 1, 3, count_include_pad=False)
        return 1 - smooth if image.mean() < 0.3 and bool(image.min() >= 0) != clipped else smooth

    assert convention_warning(card, {"clip": clipped}, network) == ""
    text = convention_warning(card, {"clip": not clipped}, network)
    assert f"import them with --set clip={clipped}." in text


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name.startswith(HEAVY) else ())
        for name in list_models()
        if get_card(name).is_builtin
    ],
)
def test_untrained_networks_give_no_false_alarm(name: str) -> None:
    entry = entry_of(name, None, {})
    for seed in range(1 if name.startswith(HEAVY) else 3):
        assert convention_warning(entry.card, {}, entry.build(seed=seed)) == ""


def official() -> list[Any]:
    return [file for file in official_files() if file.model and "start" not in file.what]


@pytest.mark.skipif(not (SHARED / "weights" / "compact_isp").is_dir(), reason="needs the official weights")
def test_official_weights_are_silent_as_they_are_meant_and_reported_otherwise() -> None:
    known = {file.sha256: file for file in official()}
    seen = 0
    for file in sorted((SHARED / "weights").rglob("*")):
        one = known.get(file_digest(file)) if file.is_file() else None
        if file.suffix == ".index":
            one = known.get(read_checkpoint(file).digest)
        if one is None:
            continue
        entry = entry_of(one.model, file, {})
        network, spec = entry.build(), entry.card.input_for(entry.options)
        assert convention_warning(entry.card, entry.options, network) == "", file
        for name, values in entry.card.conventions.items():
            right = entry.card.all_options(entry.options)[name]
            for value in {*values} - {right}:
                text = convention_warning(entry.card, {**entry.options, name: value}, network)
                assert f"--set {name}={right}." in text, file
        if spec.layout == "bayer_packed":
            turned = replace(spec, planes=READING_PLANES if spec.planes == PYNET_PLANES else PYNET_PLANES)
            card = replace(entry.card, input_of=lambda options, turned=turned: turned)
            assert "the network needs an InputSpec with planes=" in convention_warning(card, {}, network), file
        seen += 1
    assert seen == len(known)
