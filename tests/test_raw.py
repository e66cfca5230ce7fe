"""Packing, scaling, padding and cropping."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from zoo import InputSpec, UserError
from zoo.errors import SizeError
from zoo.raw import align_to_red, apply_model, pack, pad_planes, to_network, unpack

RAW = InputSpec(layout="bayer_packed")


def four_constants(height: int = 4, width: int = 6) -> torch.Tensor:
    """An RGGB mosaic: red 10, green beside red 20, green beside blue 30, blue 40."""
    return torch.tensor([[10.0, 20.0], [30.0, 40.0]]).repeat(height // 2, width // 2)[None, None]


def test_packed_planes_are_blue_green_red_green() -> None:
    planes = pack(four_constants())
    assert planes.shape == (1, 4, 2, 3)
    assert [plane.unique().tolist() for plane in planes[0]] == [[40.0], [20.0], [10.0], [30.0]]


@pytest.mark.parametrize("red", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_mosaic_is_extended_until_red_is_first(red: tuple[int, int]) -> None:
    mosaic = torch.roll(four_constants(8, 6), shifts=red, dims=(-2, -1))
    aligned = align_to_red(mosaic, red)
    assert aligned.shape[-2:] == (8 + 2 * red[0], 6 + 2 * red[1])
    assert [plane.unique().tolist() for plane in pack(aligned)[0]] == [[40.0], [20.0], [10.0], [30.0]]


@pytest.mark.parametrize("red", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("multiple", [1, 4])
def test_output_stays_on_the_pixels_of_the_mosaic(red: tuple[int, int], multiple: int) -> None:
    """A network that only puts the planes back returns the mosaic itself, whatever its colour filter."""
    mosaic = torch.rand(2, 1, 18, 22)
    spec = InputSpec(layout="bayer_packed", divisor=1.0, multiple=multiple)
    output = apply_model(
        lambda planes: unpack(planes).expand(-1, 3, -1, -1), to_network(mosaic, spec, red=red), spec, red=red
    )
    torch.testing.assert_close(output, mosaic.expand(-1, 3, -1, -1), rtol=0, atol=0)


def test_unpack_is_the_inverse_of_pack() -> None:
    mosaic = torch.rand(2, 1, 6, 8)
    torch.testing.assert_close(unpack(pack(mosaic)), mosaic, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 1, 5, 4), (1, 1, 4, 5)])
def test_an_odd_mosaic_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="even height and width; got"):
        pack(torch.zeros(shape))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (RAW, 1023 / 1020),
        (InputSpec(layout="bayer_packed", divisor=1023.0), 1.0),
        (InputSpec(layout="bayer_packed", divisor=957.0, black_level=63.0), 960 / 957),
        (InputSpec(layout="bayer_packed", divisor=1023.0, input_range=(-1.0, 1.0)), 1.0),
        (InputSpec(layout="bayer_packed", divisor=None, black_level=None), 1.0),
    ],
)
def test_counts_are_scaled_as_the_card_says(spec: InputSpec, expected: float) -> None:
    planes = to_network(torch.full((1, 1, 2, 2), 1023.0), spec, black=64.0, white=1023.0)
    torch.testing.assert_close(planes, torch.full((1, 4, 1, 1), expected))


@pytest.mark.parametrize("counts", [64.0, 300.0, 1023.0, 1500.0])
def test_counts_of_another_sensor_are_mapped_to_the_levels_of_the_convention(counts: float) -> None:
    spec = InputSpec(layout="bayer_packed", black_level=60.0, divisor=(963.0, 960.0, 961.0, 962.0))
    own = to_network(torch.full((1, 1, 2, 2), counts), spec)
    times_4 = to_network(torch.full((1, 1, 2, 2), 4 * counts), spec, black=256.0, white=4092.0)
    linear = to_network(torch.full((1, 1, 2, 2), (counts - 64) / 959 * 15871 + 512), spec, black=512.0, white=16383.0)
    torch.testing.assert_close(own.flatten(), (counts - 60) / torch.tensor([963.0, 960.0, 961.0, 962.0]))
    torch.testing.assert_close(times_4, own)
    torch.testing.assert_close(linear, own)
    stored = replace(spec, levels=(256.0, 4092.0))
    assert torch.equal(
        to_network(torch.full((1, 1, 2, 2), counts), stored, black=256.0, white=4092.0),
        to_network(torch.full((1, 1, 2, 2), counts), spec),
    )


def test_own_levels_of_the_sensor_need_no_mapping() -> None:
    spec = InputSpec(layout="bayer_packed", divisor=None, black_level=None)
    planes = to_network(torch.full((1, 1, 2, 2), 1023.0), spec, black=60.0, white=1000.0)
    torch.testing.assert_close(planes, torch.full((1, 4, 1, 1), (1023 - 60) / (1000 - 60)))


def test_a_level_per_plane_follows_the_order_of_the_planes() -> None:
    spec = InputSpec(layout="bayer_packed", black_level=(1.0, 2.0, 3.0, 4.0), divisor=(1.0, 2.0, 4.0, 8.0))
    planes = to_network(torch.tensor([[[[3.0, 6.0], [12.0, 9.0]]]]), spec)
    assert planes.flatten().tolist() == [8.0, 2.0, 0.0, 1.0]


@pytest.mark.parametrize("red", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_colour_planes_hold_the_mosaic_and_what_is_missing(red: tuple[int, int]) -> None:
    spec = InputSpec(
        layout="bayer_rgb", black_level=2.0, divisor=1.0, floor=0.0, missing=7.0, multiple=4, output_scale=1.0
    )
    mosaic = torch.arange(36.0).reshape(1, 1, 6, 6)
    planes = to_network(mosaic, spec, red=red)
    inner = apply_model(lambda x: x, planes, spec, red=red)
    assert inner.shape == (1, 3, 6, 6)
    for row in range(6):
        for column in range(6):
            odd = ((row - red[0]) % 2, (column - red[1]) % 2)
            place = {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}[odd]
            expected = [7.0] * 3
            expected[place] = max(6.0 * row + column - 2, 0)
            assert inner[0, :, row, column].tolist() == expected


def test_a_network_that_is_told_the_noise_gets_its_map() -> None:
    spec = InputSpec(layout="gray", noise_level=True, quantised=True, output_scale=1.0)
    planes = to_network(torch.tensor([[[[-0.1, 0.5019, 1.4]]]]), spec, sigma=51.0)
    torch.testing.assert_close(planes, torch.tensor([[[[0.0, 128 / 255, 1.0]], [[0.2, 0.2, 0.2]]]]))
    assert apply_model(lambda x: x[:, :1], planes, spec).shape == (1, 1, 1, 3)
    with pytest.raises(UserError, match="told the level of the noise; give it, for example --sigma 25"):
        to_network(torch.zeros(1, 1, 2, 2), spec)
    with pytest.raises(UserError, match="sigma -1: expected a standard deviation of 0 to 255"):
        to_network(torch.zeros(1, 1, 2, 2), spec, sigma=-1)


def test_the_input_range_maps_zero_to_its_low_end() -> None:
    spec = InputSpec(layout="rgb", input_range=(-1.0, 1.0), output_scale=1.0)
    torch.testing.assert_close(to_network(torch.zeros(1, 3, 2, 2), spec), torch.full((1, 3, 2, 2), -1.0))


def test_padding_reflects_at_the_right_and_bottom() -> None:
    planes = torch.arange(15.0).reshape(1, 1, 3, 5)
    padded = pad_planes(planes, InputSpec(layout="rgb", multiple=4))
    assert padded.shape == (1, 1, 4, 8)
    torch.testing.assert_close(padded[..., :3, :5], planes)
    torch.testing.assert_close(padded[0, 0, 3, :5], planes[0, 0, 1])
    torch.testing.assert_close(padded[0, 0, :3, 5:], planes[0, 0, :, [3, 2, 1]])


@pytest.mark.parametrize(
    ("size", "spec"),
    [((31, 64), InputSpec(layout="rgb", multiple=4, min_size=32)), ((8, 64), InputSpec(layout="rgb", multiple=16))],
)
def test_planes_that_are_too_small_are_refused(size: tuple[int, int], spec: InputSpec) -> None:
    with pytest.raises(SizeError, match=f"planes of {size[0]}x{size[1]} are too small: this network takes at least"):
        pad_planes(torch.zeros(1, 3, *size), spec)


def test_output_is_cropped_back_and_mapped_to_unit_range() -> None:
    spec = InputSpec(layout="rgb", multiple=8, output_scale=1.0, output_range=(-1.0, 1.0))
    planes = torch.rand(2, 3, 9, 13)
    output = apply_model(nn.Identity(), planes * 2 - 1, spec)
    torch.testing.assert_close(output, planes)


@pytest.mark.parametrize("broken", [lambda x: x[..., :-1], lambda x: x[:, :2], lambda x: (x,)])
def test_a_wrong_output_is_named(broken) -> None:
    with pytest.raises(ValueError, match=r"the model returned .*; expected"):
        apply_model(broken, torch.zeros(1, 3, 8, 8), InputSpec(layout="rgb", output_scale=1.0))
