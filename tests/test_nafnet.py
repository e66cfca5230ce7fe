"""NAFNet: parity in both forms, keys, counts, the box means, what lies beyond the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import load_into, make_input
from zoo import UserError, create_model
from zoo.models.nafnet import BoxMean, LayerNorm2d, NAFNet, running_mean

DATA = Path(__file__).parent / "data" / "networks"
# golden family, its key list, model, options, largest and mean error
GOLDEN = [
    ("nafnet32", "nafnet32", "nafnet_32", {}, 3e-5, 5e-6),
    ("nafnet64", "nafnet64", "nafnet_64", {}, 3e-5, 5e-6),
    ("nafnet32_local", "nafnet32", "nafnet_32_local", {"train_size": 64}, 6e-5, 6e-6),
]


def small(name: str, **options: int) -> NAFNet:
    """A narrow network by the golden rule: freshly built, its blocks would do nothing (beta and gamma are 0)."""
    return load_into(create_model(name, width=4, **options), 0.8)


def image(*size: int) -> Tensor:
    return torch.from_numpy(make_input(4, (1, 3, *size)))


@pytest.mark.parametrize(("family", "keys", "name", "options", "largest", "mean"), GOLDEN)
def test_outputs_and_keys_equal_the_official_ones(family, keys, name, options, largest, mean) -> None:
    golden = np.load(DATA / f"{family}_golden.npz")
    with torch.device("meta"):
        network = create_model(name, **options)
    network = load_into(network.to_empty(device="cpu"), float(golden["gain"]))
    official = json.loads((DATA / f"{keys}_keys.json").read_text())["keys"]
    assert [[key, list(value.shape)] for key, value in network.state_dict().items()] == [key[:2] for key in official]
    with torch.no_grad():
        error = np.abs(network(torch.from_numpy(make_input(golden["seed"], golden["shape"]))).numpy() - golden["out"])
    assert error.max() < largest
    assert error.mean() < mean


# In large images the local form costs c x c more for each pixel and block of c channels.
@pytest.mark.parametrize(
    ("name", "size", "macs"),
    [
        ("nafnet_32", (256, 256), 16_045_035_520),
        ("nafnet_64", (256, 256), 63_236_423_680),
        ("nafnet_32", (3072, 4096), 3_079_898_124_288),
        ("nafnet_64", (3072, 4096), 12_138_398_564_352),
        ("nafnet_32_local", (256, 256), 16_045_035_520),
    ],
)
def test_macs_match_the_specification(name: str, size: tuple[int, int], macs: int) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        create_model(name)(torch.empty(1, 3, *size))
    assert counter.get_total_flops() == 2 * macs


@pytest.mark.parametrize(("name", "more"), [("nafnet_32", 36_864), ("nafnet_64", 147_456)])
def test_local_means_cost_what_the_specification_says(name: str, more: int) -> None:
    counts = []
    for form in (name, f"{name}_local"):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            create_model(form)(torch.empty(1, 3, 1024, 1024))
        counts.append(counter.get_total_flops() / 2 / 1024**2)
    assert counts[1] - counts[0] == pytest.approx(more, rel=2e-4)


def test_box_means_are_those_of_the_nearest_box_inside() -> None:
    x = torch.from_numpy(make_input(2, (1, 2, 9, 6))).double()
    for side in (4, 5, 7):
        found = BoxMean(side)(x)
        rows, columns = min(9, side), min(6, side)
        for row in range(9):
            for column in range(6):
                top = min(max(row - (rows - 1) // 2, 0), 9 - rows)
                left = min(max(column - (columns - 1) // 2, 0), 6 - columns)
                box = x[..., top : top + rows, left : left + columns]
                torch.testing.assert_close(found[..., row, column], box.mean(dim=(-2, -1)))
    torch.testing.assert_close(BoxMean(9)(x), x.mean(dim=(-2, -1), keepdim=True))


def test_boxes_at_each_level_are_those_of_training_size_256() -> None:
    with torch.device("meta"):
        network = create_model("nafnet_32_local")
    sides = [encoder[0].sca[0].side for encoder in network.encoders] + [network.middle_blks[0].sca[0].side]
    assert sides == [384, 192, 96, 48, 24]


def test_both_forms_agree_where_a_box_covers_the_image_and_differ_elsewhere() -> None:
    whole, local = small("nafnet_32"), small("nafnet_32_local", train_size=32)
    with torch.no_grad():
        assert torch.equal(whole(image(48, 40)), local(image(48, 40)))
        assert (whole(image(96, 80)) - local(image(96, 80))).abs().max() > 1e-3


def test_sides_are_filled_with_zeros_up_to_sixteen() -> None:
    network, x = small("nafnet_32"), image(21, 30)
    with torch.no_grad():
        assert torch.equal(network(x), network(F.pad(x, (0, 2, 0, 11)))[..., :21, :30])


def test_norm_is_per_pixel_with_its_own_epsilon() -> None:
    x = torch.tensor([1.0, 1.002]).reshape(1, 2, 1, 1)
    # Deviations of 0.001 are a variance of 1e-6, the same as epsilon.
    torch.testing.assert_close(LayerNorm2d(2)(x).flatten(), torch.tensor([-1.0, 1.0]) / 2**0.5, rtol=1e-3, atol=0)


def test_a_training_size_below_sixteen_is_refused() -> None:
    with pytest.raises(UserError, match="option train_size=8 does not fit; expected the side of the training crops"):
        create_model("nafnet_32_local", train_size="8")


@pytest.mark.parametrize("count", [1, 2, 3, 24, 37, 40])
@pytest.mark.parametrize("dim", [2, 3])
def test_running_means_are_average_poolings(count: int, dim: int) -> None:
    x = torch.rand(2, 3, 40, 41, dtype=torch.float64)
    pooled = F.avg_pool2d(x, (count, 1) if dim == 2 else (1, count), stride=1)
    torch.testing.assert_close(running_mean(x, count, dim=dim), pooled, rtol=0, atol=1e-14)
