"""Tiles give what the whole image gives: every model of the registry, any size, any tile."""

from __future__ import annotations

import errno
import os
import random
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.conditions import Conditions, TileSize
from benchmark.fullres.bands.plan import BandSizes
from benchmark.fullres.bf16 import filters_in_bf16
from benchmark.fullres.deciding import decide
from benchmark.fullres.execution import Tiles
from benchmark.fullres.files import new_array
from benchmark.fullres.hyper import dissect, hyper_layers, release_filters
from benchmark.fullres.memory import Memory, Thresholds
from benchmark.fullres.network import FullNetwork
from benchmark.fullres.subject import Subject
from benchmark.fullres.tiles.plan import plan_tiles
from benchmark.fullres.tiles.receptive import Reception
from benchmark.fullres.tiles.run import Workers, run_tiled
from benchmark.fullres.tiles.spans import Span
from benchmark.host import machine
from benchmark.reporting import Reporter
from benchmark.running.inference import infer
from zoo import create_model, get_card, list_models
from zoo.errors import UserError
from zoo.writing import partial_of

# Narrow versions: what a network sees does not depend on its width.
NARROW = {
    "unet": {"width": 4},
    "spade": {"width": 2},
    "plainunet_96": {"width": 12},
    "vdn": {"width": 4, "noise_width": 4},
    "dncnn_17": {"width": 8},
    "dncnn_17:training": {"width": 8, "form": "training"},
    "dncnn_20": {"width": 8},
    "dncnn_20_color": {"width": 8},
    "ffdnet_color": {"width": 2},
    "ffdnet_gray": {"width": 2},
    "nafnet_32_local": {"width": 4, "train_size": 16},
    "nafnet_64_local": {"width": 4, "train_size": 16},
    "hyperunet_64_32_2048": {"width": 16, "embedding_width": 4, "hidden": 16},
    "hyperunet_32_32_2048": {"width": 5, "embedding_width": 4, "hidden": 16},
    "hyperunet_32_16_2048": {"width": 6, "embedding_width": 4, "hidden": 16},
    "hyperunet_8_32_4000": {"width": 4, "embedding_width": 4, "hidden": 16},
    "hypervdn_21": {"width": 3, "embedding_channels": (4, 8), "hidden": 5},
    "hypervdn_32": {"width": 4, "embedding_channels": (4, 4, 8), "pool": 3, "hidden": 5},
}
GLOBAL = {
    "awnet_4ch", "bilinear", "bilinear_colour", "dped", "dped_rgb", "liteisp", "microisp", "mobileie", "nafnet_32",
    "nafnet_64", "pynet", "pynet_ca", "rmfa_tiny", "syenet",
}  # fmt: skip
# Wider or deeper members of families whose smallest goes through the same rules.
LARGE = {"hypervdn_21", "hypervdn_32", "hyperunet_64_32_2048", "hyperunet_32_32_2048", "hyperunet_8_32_4000"}
# Several seconds each.
HEAVY = {"hypervdn_8", "nafnet_32_local", "nafnet_64_local", "spade"}
EXACT = [
    pytest.param(name, marks=pytest.mark.slow if name in LARGE else pytest.mark.thorough if name in HEAVY else ())
    for name in ["dncnn_17:training", *sorted(set(list_models()) - GLOBAL)]
]
STATISTICS = sorted(GLOBAL)


def model_of(name: str) -> str:
    """The model of a name that may end with the form."""
    return name.partition(":")[0]


def build(name: str) -> nn.Module:
    """A network with weights and statistics at random, in evaluation mode."""
    torch.manual_seed(3)
    network = create_model(model_of(name), **NARROW.get(name, {})).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def reception_of(network: nn.Module, channels: int, size: tuple[int, int]) -> Reception:
    return dissect(network, channels, size).forward


def assert_same(tiled: Tensor, whole: Tensor) -> None:
    assert tiled.shape == whole.shape
    largest = max(1.0, whole.abs().max().item())
    assert (tiled - whole).abs().max().item() <= 1e-6 * largest


@pytest.mark.parametrize("name", EXACT)
def test_tiles_equal_the_whole_image(name: str) -> None:
    spec, draw = get_card(model_of(name)).input, random.Random(name)
    network = build(name)
    for _ in range(2):
        low, high = max(1, -(-spec.min_size // spec.multiple)), max(2, 260 // spec.multiple)
        size = (spec.multiple * draw.randint(low, high), spec.multiple * draw.randint(low, high))
        tile = (draw.randint(size[0] // 3, size[0]), draw.randint(size[1] // 3, size[1]))
        planes = torch.rand(1, spec.channels, *size)
        with torch.inference_mode():
            whole = network(planes)
        subject = Subject(network, spec.channels, spec.multiple, spec.min_size, trusted=True)
        how = decide(subject, planes, tile=tile)
        assert isinstance(how, Tiles)
        assert_same(how.run(planes), whole)


@pytest.mark.parametrize("name", STATISTICS)
def test_networks_that_see_the_whole_image_are_refused_by_name(name: str) -> None:
    card = get_card(name)
    side = max(card.input.min_size, 32)
    planes = torch.rand(1, card.input.channels, side, side)
    with torch.device("meta"):
        network = card.build().eval()
    subject = Subject(network, card.input.channels, card.input.multiple, card.input.min_size, card.global_ops)
    with pytest.raises(UserError, match="see the whole image"):
        decide(subject, planes, tile=(16, 16))


@pytest.mark.parametrize(("name", "side"), [("plainunet_8", 96), ("vdn_w8", 160), ("unet_w8", 320)])
def test_gradients_stay_within_the_receptive_field_and_reach_its_ends(name: str, side: int) -> None:
    spec, network = get_card(name).input, build(name)
    reception = reception_of(network, spec.channels, (side, side))
    network.double()
    assert reception.reach is not None
    span = reception.reach[0]
    planes = torch.rand(1, spec.channels, side, side, requires_grad=True, dtype=torch.float64)
    output = network(planes)
    before, after = [], []
    middle = span.element(side // 2 // reception.multiple[0] * reception.multiple[0])
    # One output row of each phase of the strides, or of some of them.
    for row in range(middle, middle + span.element(reception.multiple[0]), 4 if name == "unet_w8" else 1):
        (gradient,) = torch.autograd.grad(output[0, :, row].sum(), planes, retain_graph=True)
        rows = gradient.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist()
        before.append(rows[0] - row * span.stride)
        after.append(rows[-1] - row * span.stride)
    assert min(before) >= span.low
    assert max(after) <= span.high
    if name != "unet_w8":
        # Not wider than needed, by more than what bilinear doubling and phases round up.
        assert min(before) <= span.low + 6
        assert max(after) >= span.high - 6


def test_spans_of_a_convolution_behind_a_pooling() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 5, padding=2))
    reception = reception_of(network, 1, (64, 64))
    # Element i of the output: pooled elements i-2 .. i+2, rows 2i-4 .. 2i+5, one more on both sides.
    assert reception.reach == (Span(Fraction(2), Fraction(-5), Fraction(6)),) * 2
    assert reception.multiple == (2, 2)


class Padded(nn.Module):
    """Reflection at the borders, rows and columns treated differently, a shuffle back and forth."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, (5, 3))
        self.second = nn.Conv2d(8, 12, (1, 3), stride=1, padding=(0, 2), dilation=(1, 2), padding_mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(F.pad(x, (1, 1, 2, 2), mode="reflect"))
        x = F.pixel_unshuffle(F.pixel_shuffle(self.second(torch.relu(x)), 2), 2)
        return F.interpolate(x[:, 1:4] + x[:, :3].mean(dim=1, keepdim=True), scale_factor=2, mode="nearest")


def test_other_paddings_and_shapes_are_exact_too() -> None:
    torch.manual_seed(0)
    network, planes = Padded().eval(), torch.rand(2, 3, 67, 45)
    with torch.inference_mode():
        whole = network(planes)
    assert_same(decide(Subject(network, 3), planes, tile=(20, 9)).run(planes), whole)


@pytest.mark.parametrize(
    "workers", [Workers(1, channels_last=False), Workers(1), Workers(2), Workers(3, channels_last=False)]
)
def test_any_number_of_workers_gives_the_same_output(workers: Workers) -> None:
    network, planes = build("plainunet_8"), torch.rand(1, 4, 128, 96)
    plan = plan_tiles(Subject(network, 4), reception_of(network, 4, (128, 96)), (32, 48))
    threads, seen = torch.get_num_threads(), []
    with torch.inference_mode():
        whole = network(planes)
    assert_same(run_tiled(network, planes, plan, workers=workers, advance=lambda: seen.append(1)), whole)
    assert len(seen) == len(plan) == 8
    assert torch.get_num_threads() == threads


def test_an_interruption_ends_after_the_tiles_under_way() -> None:
    network, planes = build("plainunet_8"), torch.rand(1, 4, 128, 128)
    plan = plan_tiles(Subject(network, 4), reception_of(network, 4, (128, 128)), (16, 16))
    done: list[int] = []

    def forward(crop: Tensor) -> Tensor:
        done.append(1)
        return network(crop)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tiled(forward, planes, plan, workers=Workers(2), advance=interrupt)
    assert len(done) < len(plan)


def test_the_embeddings_of_a_hyperunet_take_one_pass_and_those_of_a_hypervdn_one_per_layer() -> None:
    hyperunet, hypervdn = build("hyperunet_8_8_64"), build("hypervdn_8")
    assert [len(one) for one in dissect(hyperunet, 4, (64, 64)).passes] == [3]
    assert [len(one) for one in dissect(hypervdn, 3, (64, 64)).passes] == [1] * 13
    assert all(layer.fixed_filters is None for layer in hyper_layers(hyperunet) + hyper_layers(hypervdn))


def test_filters_are_released_after_a_failure() -> None:
    network, planes = build("hyperunet_8_8_64"), torch.rand(1, 4, 64, 64)

    def fail(crop: Tensor) -> Tensor:
        raise RuntimeError("broken engine")

    how = decide(Subject(network, 4, 4, 32, trusted=True, engine=fail), planes, tile=(32, 32))
    with pytest.raises(RuntimeError, match="broken engine"):
        how.run(planes)
    assert all(layer.fixed_filters is None for layer in hyper_layers(network))


@pytest.mark.parametrize("tile", ["off", (16, 16)])
@pytest.mark.parametrize("name", ["hyperunet_8_8_64", "hypervdn_21"])
def test_frozen_filters_are_those_of_the_first_image(name: str, tile: TileSize) -> None:
    """HyperVDN has hyper-convolutions that only training uses: they never get filters."""
    network, channels = build(name), 3 if name == "hypervdn_21" else 4
    first, second = torch.rand(1, channels, 64, 48), 0.3 * torch.rand(1, channels, 48, 64)
    subject = Subject(network, channels, 4, 32, trusted=True)
    runner = FullNetwork(subject, Conditions(tile=tile), freeze_filters=True)
    output = runner(first), runner(second)
    filters = {layer: layer.fixed_filters for layer in hyper_layers(network)}
    release_filters(network)
    with torch.inference_mode():
        assert_same(output[0], network(first))
        assert (output[1] - network(second)).abs().max() > 1e-3
        for layer, fixed in filters.items():
            layer.fixed_filters = fixed
        assert_same(output[1], network(second))


class Sorted(nn.Module):
    """Looks local to its operations' names, and is not: a product with the coordinates of the crop."""

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[-2], dtype=x.dtype).reshape(1, 1, -1, 1)
        return x * (rows / x.shape[-2])


class Cumulated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.cumsum(dim=-1)


class Sized(nn.Module):
    """A global operation in Python: the side of the image decides a number."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float(x.shape[-1])


class Shrinking(nn.Module):
    """An output size that does not follow the input's."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :40, :40] if x.shape[-1] >= 40 else x


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Sorted(), "cannot be followed through mul"),
        (Cumulated(), "cannot be followed through cumsum"),
        (nn.GLU(), "cannot be followed through glu"),
        (Sized(), "runs mul.Tensor in another way"),
        (Shrinking(), "runs slice.Tensor in another way"),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Upsample(scale_factor=8)),
            "see the whole image: _adaptive_avg_pool2d",
        ),
    ],
)
def test_networks_whose_tiles_would_differ_are_refused(network: nn.Module, message: str) -> None:
    planes = torch.rand(1, 3, 64, 64)
    with pytest.raises(UserError, match=message):
        decide(Subject(network, 3), planes, tile=(16, 16))
    # Nobody asked for tiles: the whole image is run.
    assert decide(Subject(network, 3), planes).run(planes).shape[1] == 3


def test_approximate_tiles_measure_their_seams() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.Conv2d(4, 3, 3, padding=1)).eval()
    planes = torch.rand(1, 3, 96, 320) * torch.linspace(0, 1, 320)
    notes: list[str] = []
    reporter = Reporter()
    reporter.note = notes.append  # type: ignore[method-assign]
    runner = FullNetwork(Subject(network, 3), Conditions(tile=(32, 32), approximate=True), reporter=reporter)
    output = runner(planes)
    (tiling,) = runner.tilings("scores")
    seams = tiling.seams
    with torch.inference_mode():
        largest = (output - network(planes)).abs().max().item()
    assert seams is not None
    assert seams.largest > 0.01
    assert largest == pytest.approx(seams.largest, rel=1e-3)
    assert "differ from whole-image statistics" in notes[0]


def test_a_limit_below_the_smallest_tile_says_what_is_needed() -> None:
    network = build("plainunet_8")
    with pytest.raises(UserError, match=r"needs at least \d+MiB here"):
        decide(Subject(network, 4, multiple=4, least=32), torch.rand(1, 4, 256, 256), memory_limit=1 << 20)


def test_infer_writes_arrays_tile_by_tile(zoo_bench, tmp_path) -> None:
    planes = np.random.RandomState(0).rand(2, 4, 96, 80).astype(np.float32)
    np.save(tmp_path / "x.npy", planes)
    arguments = ("infer", "hyperunet_8_8_64", tmp_path / "x.npy", "--random-weights", "-o")
    assert zoo_bench(*arguments, tmp_path / "whole", "--tile", "off").code == 0
    outcome = zoo_bench(*arguments, tmp_path / "tiles", "--tile", "32x48")
    assert outcome.code == 0
    whole, tiled = (np.load(tmp_path / name / "x.npy") for name in ("whole", "tiles"))
    assert tiled.dtype == np.float32
    assert_same(torch.from_numpy(tiled), torch.from_numpy(whole))
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("dped_rgb", ("--tile", "32x32"), "instance norm: statistics of the whole image"),
        ("identity", ("--tile", "32"), "expected auto, off or HxW"),
        ("identity", ("--freeze-filters",), "predicts no filters"),
        ("identity", ("--mlp-precision", "bf16"), "predicts no filters"),
        ("vdn_w8", ("--memory-limit", "1MiB"), "needs at least"),
    ],
)
def test_infer_says_what_cannot_be(zoo_bench, tmp_path, model, flags, message) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 64, 64), np.float32))
    outcome = zoo_bench("infer", model, tmp_path / "x.npy", "-o", tmp_path / "o", *flags, "--random-weights")
    assert outcome.code == 2
    assert message in outcome.err


def test_filters_predicted_in_bf16_say_what_they_cost(zoo_bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("benchmark.host.machine.instruction_sets", lambda: ["avx512_bf16"])
    planes = np.random.RandomState(0).rand(1, 4, 64, 64).astype(np.float32)
    np.save(tmp_path / "x.npy", planes)
    call = ("infer", "hyperunet_8_8_64", tmp_path / "x.npy", "--random-weights", "-o")
    assert zoo_bench(*call, tmp_path / "fp32").code == 0
    outcome = zoo_bench(*call, tmp_path / "bf16", "--mlp-precision", "bf16")
    assert outcome.code == 0
    found = re.search(r"differ by at most (\S+) % RMS, the output by (\S+) % RMS \(on an image of noise\)", outcome.err)
    assert found
    filters, output = map(float, found.groups())
    # Eight bits of mantissa round by up to 0.4 %; one layer after the other adds some.
    assert 0.05 < filters < 5
    exact, rounded = (np.load(tmp_path / name / "x.npy") for name in ("fp32", "bf16"))
    difference = 100 * np.sqrt(np.square(rounded - exact).mean() / np.square(exact).mean())
    assert output / 5 < difference < 5 * output


def test_bf16_is_refused_where_it_makes_no_sense(zoo_bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("benchmark.host.machine.instruction_sets", lambda: ["avx2"])
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 64, 64), np.float32))
    call = (
        "infer",
        "hyperunet_8_8_64",
        tmp_path / "x.npy",
        "-o",
        tmp_path / "o",
        "--mlp-precision",
        "bf16",
        "--random-weights",
    )
    outcome = zoo_bench(*call)
    assert outcome.code == 2
    assert "--mlp-precision bf16: this processor has no bf16 instructions" in outcome.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    outcome = zoo_bench(*call, "--backend", "onnxruntime")
    assert outcome.code == 2
    assert "--mlp-precision bf16: only torch has this" in outcome.err


def test_the_error_in_bf16_is_that_of_the_layers_that_are_used(monkeypatch) -> None:
    monkeypatch.setattr("benchmark.host.machine.instruction_sets", lambda: ["avx512_bf16"])
    # HyperVDN has layers that its forward pass does not run.
    network = build("hypervdn_8")
    planes = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = network(planes)
        error = filters_in_bf16(Subject(network, 3, 8, 8))
        after = network(planes)
    assert all(weights.dtype == torch.bfloat16 for layer in hyper_layers(network) for weights in layer.mlp.parameters())
    assert 0 < error.filters < 0.05
    # The image is the one that the error was measured on.
    assert error.output == pytest.approx(float((after - before).square().mean().sqrt() / before.square().mean().sqrt()))


def test_a_full_disk_is_said_before_the_work(zoo_bench, tmp_path, monkeypatch) -> None:
    def no_room(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_room)
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 64, 64), np.float32))
    outcome = zoo_bench(
        "infer", "vdn_w8", tmp_path / "x.npy", "-o", tmp_path / "o", "--tile", "32x32", "--random-weights"
    )
    assert outcome.code == 2
    assert "there is no room for it" in outcome.err
    assert not list((tmp_path / "o").iterdir())


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, None])
def test_room_is_taken_on_file_systems_that_cannot_reserve_it(tmp_path, monkeypatch, code: int | None) -> None:
    if code is None:
        monkeypatch.delattr("os.posix_fallocate")
    else:
        monkeypatch.setattr("os.posix_fallocate", raising(code))
    monkeypatch.setattr("benchmark.fullres.files._ZEROS", 1 << 16)
    path = tmp_path / "x.npy"
    with new_array(path, (1, 3, 100, 200)) as array:
        # All of it lies on the disk, before anything is written into the mapping.
        taken = partial_of(path).stat()
        assert taken.st_blocks * 512 >= taken.st_size > 240_000
        array.tensor.fill_(7)
    written = np.load(path)
    assert written.shape == (1, 3, 100, 200)
    assert (written == 7).all()


def test_a_disk_that_is_full_only_at_the_end_is_said_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("os.posix_fallocate", raising(errno.EOPNOTSUPP))
    monkeypatch.setattr("os.fsync", raising(errno.ENOSPC))
    with (
        pytest.raises(UserError, match=r"x\.npy: the output takes 0\.2 MiB and there is no room"),
        new_array(tmp_path / "x.npy", (1, 3, 100, 200)),
    ):
        pytest.fail("nothing may be written without room")
    assert not list(tmp_path.iterdir())


def test_no_room_for_a_picture_is_one_line(zoo_bench, tmp_path, monkeypatch) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "x.png")
    monkeypatch.setattr("os.replace", raising(errno.ENOSPC))
    outcome = zoo_bench("infer", "vdn_w8", tmp_path / "x.png", "-o", tmp_path / "o", "--random-weights")
    assert outcome.code == 2
    assert "there is no room for it" in outcome.err
    assert not list((tmp_path / "o").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not machine.has_process_memory(), reason="the system does not tell what a process takes")
@pytest.mark.parametrize(
    ("model", "size", "flags", "least_of"),
    [
        ("unet_w8", (1152, 1152), ["--tile", "384x384"], r"needs at least (\d+)MiB here"),
        ("unet_w8", (1152, 1152), ["--tile", "256x256"], r"needs at least (\d+)MiB here"),
        ("pynet", (384, 512), [], r"(\d+)MiB in bands"),
        ("pynet", (384, 512), ["--exact-kernels"], r"(\d+)MiB in bands"),
    ],
)
def test_infer_keeps_within_the_least_memory_that_it_asks_for(
    model: str, size: tuple[int, int], flags: list[str], least_of: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 4, *size), np.float32))
    call = [
        sys.executable,
        "-m",
        "benchmark.cli",
        "infer",
        model,
        tmp_path / "x.npy",
        "-o",
        tmp_path / "o",
        "--random-weights",
    ]
    call += [*flags, "--memory-limit"]
    refused = subprocess.run([*call, "1MiB"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    least = int(re.search(least_of, refused.stderr).group(1))
    with subprocess.Popen([*call, f"{least + 16}MiB"], stderr=subprocess.PIPE) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0, child.stderr.read()
    assert used.ru_maxrss <= (least + 16) * 1024


def raising(code: int):
    def fail(*arguments: object, **more: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_large_images_go_in_bands_through_networks_that_see_the_whole_image() -> None:
    network = create_model("dped").eval()
    planes = torch.rand(1, 4, 256, 256, generator=torch.Generator().manual_seed(0))
    subject, small = Subject(network, 4, trusted=True, global_ops=get_card("dped").global_ops), Thresholds(0)
    assert decide(subject, planes).mode == "whole, kernels joined"
    assert decide(replace(subject, engine=network), planes, thresholds=small).mode == "whole"
    # Bands of all rows at once take as much as the whole image.
    tall = Thresholds(0, band_sizes=BandSizes(strip_bytes=1 << 50))
    assert decide(subject, planes, thresholds=tall).mode == "whole"
    how = decide(subject, planes, thresholds=small)
    assert how.mode == "bands"
    assert "in bands" in how.text
    with torch.inference_mode():
        torch.testing.assert_close(how.run(planes), network(planes), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match=r"needs .*MiB in bands, and .*--approximate"):
        decide(subject, planes, memory_limit=1 << 20)


def test_tiles_of_an_engine_are_small_but_compute_little_twice() -> None:
    layers = [nn.Conv2d(4, 4, 3, padding=1) for _ in range(8)]
    network, planes = nn.Sequential(*layers), torch.rand(1, 4, 512, 512)
    subject = Subject(network, 4, trusted=True, engine=network)
    ample, little = (decide(subject, planes, thresholds=Thresholds(0, usual_bytes=most)) for most in (1 << 40, 1 << 10))
    # There is memory for the whole image at once, and a quarter of it computes 6 % twice.
    assert isinstance(ample, Tiles)
    assert len(ample.plan) >= 4
    assert ample.plan.crop_pixels <= 1.15 * 512**2
    # With little memory the tiles may still take a fifth of what the whole image takes.
    whole = Memory(subject=subject, planes=planes).whole_bytes
    assert isinstance(little, Tiles)
    assert 0.05 * whole < little.need_bytes <= 0.2 * whole
    with torch.inference_mode():
        torch.testing.assert_close(ample.run(planes), network(planes), rtol=0, atol=1e-6)


def test_bands_say_how_far_they_are() -> None:
    network, planes = (
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 3)),
        torch.rand(2, 4, 64, 64),
    )
    thresholds = Thresholds(0, band_sizes=BandSizes(strip_bytes=10_000, small_bytes=0))
    how = decide(Subject(network, 4, trusted=True, global_ops=("norm",)), planes, thresholds=thresholds)
    assert how.mode == "bands"
    advance = Mock()
    how.run(planes, advance=advance)
    # One step for each operator and image.
    assert advance.call_count == how.steps >= 4


def test_large_images_go_whole_where_there_is_no_plan_for_bands() -> None:
    class Branching(nn.InstanceNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if bool((x > 0).any()) else x

    subject = Subject(Branching(4), 4, trusted=True, global_ops=("instance norm",))
    assert decide(subject, torch.rand(1, 4, 64, 64), thresholds=Thresholds(0)).mode == "whole"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, []),
        ({"memory_limit": 1 << 33}, ["use_one_heap", "give_large_blocks_back"]),
        ({"memory_limit": 1 << 33, "own_process": True}, ["use_one_heap", "give_large_blocks_back"]),
        ({"own_process": True}, ["use_one_heap", "keep_free_memory"]),
    ],
)
def test_infer_keeps_freed_memory_only_in_a_process_of_its_own_and_without_a_limit(
    tmp_path, monkeypatch, given: dict, told: list[str]
) -> None:
    found: list[str] = []
    for name in ("use_one_heap", "keep_free_memory", "give_large_blocks_back", "give_memory_back"):
        monkeypatch.setattr(machine, name, lambda name=name: found.append(name))
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 32, 32), np.float32))
    infer("identity", [tmp_path / "x.npy"], tmp_path / "o", **given)
    assert found == told
