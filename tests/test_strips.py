"""Strips give what the whole image gives: every model of the registry that goes in tiles, any size, any strip."""

from __future__ import annotations

import random
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.fullres import execution
from benchmark.fullres.bands.plan import BandSizes
from benchmark.fullres.deciding import decide
from benchmark.fullres.execution import Execution, Tiles
from benchmark.fullres.hyper import hyper_layers
from benchmark.fullres.memory import Thresholds
from benchmark.fullres.strips.plan import USUAL_PART, choose_strips, graph_of, plan_strips
from benchmark.fullres.subject import Subject, subject_of
from benchmark.selection import entry_of
from tests.test_fullres import EXACT, assert_same, build, model_of
from zoo import create_model, get_card
from zoo.errors import UserError

# Small images go in pieces too, and so does a hyper-network whose filters take many passes.
SMALL = Thresholds(small_pixels=0, most_passes=99)


def plan(subject: Subject, planes: Tensor, rows: int | None = None) -> Execution:
    return decide(subject, planes, thresholds=replace(SMALL, strip_rows=(rows,)) if rows else SMALL)


@pytest.mark.parametrize("name", EXACT)
def test_strips_equal_the_whole_image(name: str) -> None:
    spec, draw = get_card(model_of(name)).input, random.Random(name)
    network = build(name)
    low, high = max(1, -(-spec.min_size // spec.multiple)), max(2, 200 // spec.multiple)
    subject = Subject(network, spec.channels, spec.multiple, spec.min_size, trusted=True)
    for rows in (draw.randint(1, 9), 24):
        size = (spec.multiple * draw.randint(low, high), spec.multiple * draw.randint(low, high))
        planes = torch.rand(1, spec.channels, *size)
        with torch.inference_mode():
            whole = network(planes)
        how = plan(subject, planes, rows)
        assert "strips" in how.mode or name.startswith("identity")
        advance = Mock()
        assert_same(how.run(planes, advance=advance), whole)
        assert advance.call_count == how.steps
        assert all(layer.fixed_filters is None for layer in hyper_layers(network))


@pytest.mark.parametrize(
    "activation", [nn.ELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.Mish, nn.Softplus]
)
def test_activations_that_torch_tags_late_or_never_go_in_strips(activation: type[nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), activation(), nn.Conv2d(4, 3, 3, padding=1)).eval()
    planes = torch.rand(1, 3, 40, 32)
    how = plan(Subject(network, 3, 1, 1, trusted=True), planes, 8)
    assert how.mode == "strips"
    with torch.inference_mode():
        assert_same(how.run(planes), network(planes))


class Padded(nn.Module):
    """Reflection at the borders, rows and columns treated differently, a shuffle back and forth."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, (5, 3))
        self.second = nn.Conv2d(8, 12, (1, 3), stride=1, padding=(0, 2), dilation=(1, 2), padding_mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(F.pad(x, (1, 1, 2, 2), mode="reflect"))
        x = F.pixel_unshuffle(F.pixel_shuffle(self.second(torch.relu(x)), 2), 2)
        return F.interpolate(x[:, 1:4] + x[:, :3], scale_factor=2, mode="nearest")


def test_other_paddings_and_shapes_are_exact_too() -> None:
    torch.manual_seed(0)
    network, planes = Padded().eval(), torch.rand(2, 3, 67, 45)
    with torch.inference_mode():
        whole = network(planes)
    how = plan(Subject(network, 3), planes)
    assert how.mode == "strips"
    assert_same(how.run(planes), whole)


def assert_strips_equal(network: nn.Module, rows: int, *, multiple: int) -> None:
    planes = torch.randn(1, 3, 48, 40)
    how = plan(Subject(network.eval(), 3, multiple=multiple), planes, rows)
    assert how.mode == "strips"
    with torch.inference_mode():
        assert_same(how.run(planes), network(planes))


class Resized(nn.Module):
    """Maxima of 3x3 and 2x2, all factors that are enlarged slice by slice and one that is not, shuffles by 2 and 3."""

    def __init__(self, width: int, last: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.shuffled = nn.Conv2d(width, 3 * last**2, 1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        full = self.first(x)
        half = F.max_pool2d(full, 3, 2, 1)
        small = self.second(F.max_pool2d(F.max_pool2d(half, 2), 2))
        total = full
        for factor, source in ((8, small), (4, F.max_pool2d(half, (2, 2))), (2, half)):
            wide = F.interpolate(source, scale_factor=factor, mode="bilinear", align_corners=False)
            # Read twice: a window is kept.
            total = total + wide * wide.sigmoid()
        total = total + F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=True)
        return F.pixel_shuffle(self.shuffled(total), self.last)


@pytest.mark.parametrize(("width", "last"), [(12, 2), (4, 2), (12, 3)])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 16])
def test_resizing_pooling_and_shuffling_are_exact_strip_by_strip(width: int, last: int, rows: int) -> None:
    torch.manual_seed(0)
    assert_strips_equal(Resized(width, last), rows, multiple=8)


@pytest.mark.parametrize("name", ["hyperunet_8_8_64", pytest.param("hypervdn_8", marks=pytest.mark.thorough), "vdn_w8"])
def test_registered_networks_go_in_strips_although_their_filters_see_the_whole_image(name: str) -> None:
    entry = entry_of(name, None, {})
    subject = subject_of(entry, entry.build())
    how = plan(subject, torch.rand(1, subject.channels, 64, 64))
    assert how.mode == ("strips" if name == "vdn_w8" else "filters, then strips")


def test_values_that_are_no_number_stay_where_the_whole_image_has_them() -> None:
    planes = torch.rand(1, 3, 48, 40)
    planes[0, 1, 20, 11] = float("nan")
    network = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 8, 1), nn.Upsample(scale_factor=2, mode="nearest"))
    with torch.inference_mode():
        whole = network(planes)
    how = plan(Subject(network, 3, multiple=2), planes)
    assert how.mode == "strips"
    found = how.run(planes)
    assert torch.equal(found.isnan(), whole.isnan())


class Thinned(nn.Module):
    """Every other pixel of what is read again, then changed; maxima of rows and columns alone; one channel out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        total = F.relu(F.max_pool2d(x, 1, 2) - 0.1) + F.relu(-F.max_pool2d(x, (1, 3), 2, (0, 1)))
        total = (
            total + F.relu(F.max_pool2d(x, (3, 1), 2, (1, 0))) + F.max_pool2d(F.relu(F.max_pool2d(x, 1, 1)), 5, 2, 2)
        )
        return self.last(total + F.avg_pool2d(x, 2))


@pytest.mark.parametrize("rows", [2, 4, 6, 16])
def test_pooling_of_other_shapes_is_exact_and_leaves_what_it_reads_alone(rows: int) -> None:
    torch.manual_seed(0)
    assert_strips_equal(Thinned(), rows, multiple=2)


def test_windows_hold_a_few_rows_and_not_the_image() -> None:
    network = build("vdn")
    graph = graph_of(network, (1, 3, 512, 64))
    small, large = (plan_strips(graph, rows) for rows in (8, 64))
    whole = max(node.nbytes for node in graph.nodes)
    assert small.peak_bytes < large.peak_bytes
    assert max(node.nbytes // node.size(2) * rows for node, rows in small.rows.items()) < whole / 4


def test_a_budget_below_the_thinnest_strips_leaves_tiles() -> None:
    for budget, fits in ((1 << 10, False), (1 << 30, True)):
        assert (choose_strips(build("vdn"), (1, 3, 128, 128), budget, 1 << 30).peak_bytes <= budget) is fits


def test_strips_have_more_rows_where_the_whole_image_would_take_more() -> None:
    network = create_model("plainunet_64").eval()
    few, some = (choose_strips(network, (1, 4, 512, 2000), 1 << 40, whole) for whole in (0.0, 3 << 30))
    assert few.strips > some.strips
    assert few.peak_bytes < some.peak_bytes <= USUAL_PART * (3 << 30)


def test_an_engine_gets_tiles_of_one_size_and_filters_found_in_strips() -> None:
    network, planes = build("hyperunet_8_8_64"), torch.rand(1, 4, 512, 128)
    subject = Subject(network, 4, 4, 32, trusted=True, engine=network)
    how = decide(subject, planes, thresholds=replace(SMALL, usual_bytes=2 << 20))
    assert isinstance(how, Tiles)
    assert how.mode == "filters, then tiles"
    assert how.filters is not None
    assert len(how.plan.rows.pieces) > 2
    assert len({tile.crop_size for tile in how.plan}) == 1
    with torch.inference_mode():
        assert_same(how.run(planes), network(planes))


def test_strips_of_a_network_that_nobody_tested_are_compared_with_the_whole(monkeypatch) -> None:
    network, planes, run = build("plainunet_8"), torch.rand(1, 4, 192, 128), execution.run_strips

    def run_wrongly(module, x, plan, take, out) -> None:
        run(module, x, plan, take, out)
        out[:, :, -1] += 1e-4 * out.abs().max()

    for trusted, runs, mode in ((False, run, "strips"), (False, run_wrongly, "whole"), (True, run_wrongly, "strips")):
        monkeypatch.setattr(execution, "run_strips", runs)
        assert plan(Subject(network, 4, 4, 32, trusted=trusted), planes).mode == mode


class Rolled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x.cumsum(dim=2))


def test_an_operator_that_sees_all_rows_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="cumsum needs the whole image"):
        graph_of(Rolled(), (1, 3, 16, 16))


class WideMeans(nn.Module):
    """Means over 61 rows: strips keep most of a small image, with several tensors at once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        for _ in range(3):
            y = y * F.pad(F.avg_pool2d(y, (61, 1), 1), (0, 0, 30, 30), mode="replicate")
        return self.last(y)


def test_where_strips_take_more_than_usual_bands_run_or_strips_all_the_same() -> None:
    network, planes = WideMeans().eval(), torch.rand(1, 3, 128, 96)
    subject = Subject(network, 3, trusted=True)
    with torch.inference_mode():
        whole = network(planes)
    little = replace(SMALL, usual_bytes=1 << 10, band_sizes=BandSizes(strip_bytes=10_000, small_bytes=0))
    how = decide(subject, planes, thresholds=little)
    assert how.mode == "bands"
    assert "even thin strips would take" in how.text
    assert_same(how.run(planes), whole)
    # Bands of all rows at once take more.
    how = decide(subject, planes, thresholds=replace(little, band_sizes=BandSizes(strip_bytes=1 << 50)))
    assert how.mode == "strips"
    assert_same(how.run(planes), whole)
