"""The smallest network of each kind that was once wrong in pieces: the whole image's values, or whole with the reason.

``tests/random_networks.py`` mixes these kinds at random; here each has its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.conditions import TileSize
from benchmark.fullres.deciding import decide
from benchmark.fullres.memory import Thresholds
from benchmark.fullres.subject import Subject
from tests.blocks import Block, conv
from tests.random_networks import compare
from zoo.errors import UserError

# Larger images go in pieces.
SMALL_PIXELS = 100 * 100


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def planes(height: int = 131, width: int = 117, channels: int = 4, images: int = 1) -> Tensor:
    return torch.rand(images, channels, height, width, generator=torch.Generator().manual_seed(1))


def exact(function: Callable[[Any, Tensor], Tensor], x: Tensor | None = None, **parts: Any) -> None:
    """Assert that ``function(self, x)`` gives the whole image's values by default, and in tiles these or a refusal."""
    x = planes() if x is None else x
    network = Block(function, **{"conv": conv(4), **parts})
    by_default = compare(network, x, small=SMALL_PIXELS)
    assert by_default.status == "equal", by_default
    in_tiles = compare(network, x, "tile", (48, 64), small=SMALL_PIXELS)
    assert in_tiles.status in ("equal", "refused"), in_tiles


def run(network: Block, x: Tensor, tile: TileSize) -> Tensor:
    subject = Subject(network.eval(), x.shape[1])
    return decide(subject, x, tile=tile, thresholds=Thresholds(small_pixels=SMALL_PIXELS)).run(x)


# Paddings and in-place operators.


def test_circular_padding_is_exact_or_whole() -> None:
    exact(lambda self, x: self.conv(x), conv=conv(4, padding_mode="circular"))
    exact(lambda self, x: F.pad(self.conv(x), (1, 2, 0, 3), mode="circular"))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant", "circular"])
def test_paddings_on_uneven_sides_and_negative_ones_are_exact(mode: str) -> None:
    exact(lambda self, x: self.conv(F.pad(F.pad(x, (3, 0, 1, 2), mode=mode), (-2, 1, 0, -3))))


def test_a_buffer_that_is_filled_in_place_is_exact() -> None:
    def filled(self: Any, x: Tensor) -> Tensor:
        y = x.new_empty(x.shape)
        y[:, :, ::2] = self.conv(x)[:, :, ::2]
        y[:, :, 1::2].copy_(x[:, :, 1::2])
        return y

    exact(filled)
    exact(lambda self, x: torch.zeros_like(x).copy_(self.conv(x)))
    exact(lambda self, x: torch.empty_like(x).fill_(0.5) + self.conv(x))


def test_values_put_by_index_are_exact() -> None:
    def put(self: Any, x: Tensor) -> Tensor:
        y = self.conv(x)
        y.index_put_((torch.tensor([0]), torch.tensor([1])), torch.tensor(0.5))
        y[:, :, torch.tensor([1, 99])] = 0.25
        return y

    exact(put)


def test_the_input_written_in_place_is_exact() -> None:
    def written(self: Any, x: Tensor) -> Tensor:
        x.sub_(0.5)
        x[:, 1:2] *= 2
        return self.conv(x)

    exact(written)


# Dimensions.


def test_slices_and_loops_over_the_batch_are_exact() -> None:
    exact(lambda self, x: torch.cat([self.conv(x[i : i + 1]) for i in range(len(x))]))
    exact(lambda self, x: torch.stack([self.conv(one[None])[0] for one in x.unbind(0)]))
    exact(lambda self, x: self.conv(torch.cat([x, 0.5 * x]))[-1:])
    exact(lambda self, x: torch.sub(*self.conv(torch.cat([x, 0.5 * x])).chunk(2, 0)))


def test_a_batch_split_image_by_image_is_exact() -> None:
    exact(lambda self, x: torch.cat([self.conv(one) for one in x.split(1)]), planes(images=2))


@pytest.mark.parametrize("dim", [0, 1, 2, 3, -1, -2, -3, -4])
def test_moves_along_each_dimension_are_exact(dim: int) -> None:
    exact(lambda self, x: self.conv(x.flip(dim)) + x.roll(1, dim))
    exact(lambda self, x: torch.stack([x, self.conv(x)], dim).amax(dim))
    exact(lambda self, x: torch.cat(self.conv(x).split(1, dim)[::-1], dim))


def test_height_and_width_exchanged_are_exact() -> None:
    exact(lambda self, x: self.conv(x.transpose(2, 3)))
    exact(lambda self, x: torch.rot90(self.conv(torch.rot90(x, 1, (2, 3))), 2, (2, 3)))
    exact(lambda self, x: self.conv(x.permute(0, 1, 3, 2)).mT.contiguous())


def test_planes_in_any_memory_order_are_exact() -> None:
    for x in (planes().contiguous(memory_format=torch.channels_last), planes(117, 131).mT, planes(262, 117)[:, :, ::2]):
        exact(lambda self, x: self.conv(x.flatten(2).view(x.shape) if x.is_contiguous() else x) + x[:, :1], x)


# Views.


@pytest.mark.parametrize(
    "split",
    [
        lambda y: y.split([1, 3], 1), lambda y: y.chunk(2, 1), lambda y: y.tensor_split([2], 1),
        lambda y: (y.unbind(1)[0][:, None], torch.stack(y.unbind(1)[1:], 1)), lambda y: (y[:, :1], y[:, 1:]),
    ],
    ids=["split", "chunk", "tensor_split", "unbind", "slices"],
)  # fmt: skip
def test_views_read_late_keep_their_values(split) -> None:
    def late(self: Any, x: Tensor) -> Tensor:
        first, second = split(self.conv(x))
        z = self.conv(torch.relu(self.conv(torch.tanh(x))))
        return torch.cat([second, first], 1) + z

    exact(late)


def test_views_follow_what_is_written_into_their_base() -> None:
    def followed(self: Any, x: Tensor) -> Tensor:
        y = self.conv(x)
        first, second = y.split([1, 3], 1)
        y.mul_(0.5)
        second.add_(1)
        return torch.cat([y, first], 1)

    exact(followed)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_slices_of_slices_are_written_where_they_lie(dim: int) -> None:
    def written(self: Any, x: Tensor) -> Tensor:
        y = self.conv(x)
        y.narrow(dim, 1, 3).narrow(dim, 1, 2).fill_(0.5)
        return y

    exact(written)


def test_slices_with_steps_of_slices_are_written_where_they_lie() -> None:
    def written(self: Any, x: Tensor) -> Tensor:
        y = self.conv(x)
        y[:, :, 2:][:, :, 1:3] = 0.5
        y[:, :, ::2][:, :, 3:9] = 0.25
        y[:, 1][:, 3:].add_(1)
        return y

    exact(written)


def test_memory_order_before_a_view_is_kept() -> None:
    def windows(self: Any, x: Tensor) -> Tensor:
        y = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4)).permute(0, 2, 3, 1)
        h, w = y.shape[1:3]
        y = y.contiguous().view(1, h // 4, 4, w // 4, 4, 4).permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 16, 4)
        y = (y @ y.transpose(1, 2)).softmax(-1) @ y
        y = y.view(1, h // 4, w // 4, 4, 4, 4).permute(0, 1, 3, 2, 4, 5).reshape(1, h, w, 4).permute(0, 3, 1, 2)
        return y[:, :, : x.shape[2], : x.shape[3]]

    def turned(self: Any, x: Tensor) -> Tensor:
        pairs = self.conv(x).unflatten(1, (2, 2)).movedim(2, -1).clone(memory_format=torch.contiguous_format)
        return torch.view_as_real(torch.view_as_complex(pairs) * 1j).movedim(-1, 2).flatten(1, 2)

    exact(windows)
    exact(turned)
    exact(lambda self, x: x.permute(0, 2, 3, 1).contiguous().view(1, -1, 4).mT.reshape(x.shape))


# The image's size.


@pytest.mark.parametrize(
    "network",
    [
        lambda self, x: self.conv(x) if x.shape[2] > 60 else x,
        lambda self, x: self.conv(x) if x.shape[3] > 110 else x,
        lambda self, x: F.max_pool2d(x, 2 * (x.shape[2] // 30) + 1, 1, x.shape[2] // 30),
        lambda self, x: F.conv2d(x, self.conv.weight, padding=x.shape[3] // 30 + 1, dilation=x.shape[3] // 30 + 1),
        lambda self, x: x * (100 / x.shape[2]),
        lambda self, x: x + x[0, 0].numel() ** -0.5,
        lambda self, x: F.interpolate(F.adaptive_avg_pool2d(x, (x.shape[2] // 5, 7)), size=x.shape[2:]),
        lambda self, x: F.interpolate(F.interpolate(x, size=(40, 50), mode="bilinear"), size=x.shape[2:]),
        lambda self, x: torch.roll(x, x.shape[2] // 3, 2),
        lambda self, x: x.flatten(2).cumsum(-1).view(x.shape) / x.shape[2] / x.shape[3],
    ],
    ids=["branch", "late branch", "kernel", "dilation", "factor", "numel", "pool", "resize", "roll", "flat"],
)  # fmt: skip
def test_what_depends_on_the_size_is_exact_or_refused(network) -> None:
    exact(network)


# Constants and values by place.


@pytest.mark.parametrize(
    "level",
    [
        lambda x: torch.full_like(x[:, :1], 0.1), lambda x: torch.zeros(1, 1, *x.shape[2:]),
        lambda x: x.new_full((1, 1, *x.shape[2:]), 0.2), lambda x: torch.tensor(0.3).expand(1, 1, *x.shape[2:]),
        lambda x: torch.ones(1, 1, 1, 1).repeat(1, 1, *x.shape[2:]), lambda x: x.new_ones(x.shape) * 0.5,
        lambda x: torch.full((1, 1, *x.shape[2:]), 0.1).clone().mul_(2),
    ],
    ids=["full_like", "zeros", "new_full", "expand", "repeat", "new_ones", "written"],
)  # fmt: skip
def test_planes_of_a_constant_are_exact(level) -> None:
    exact(
        lambda self, x: F.conv2d(torch.cat([x, level(x)], 1)[:, :5], self.weight, padding=1),
        weight=torch.rand(3, 5, 3, 3),
    )


@pytest.mark.parametrize(
    "gain",
    [
        lambda h, w: torch.linspace(0, 1, h)[:, None] + torch.linspace(0, 1, w),
        lambda h, w: torch.arange(1.0 * h * w).sin().view(1, 1, h, w),
        lambda h, w: torch.linspace(0, 1, h)[:, None], lambda h, w: torch.linspace(0, 1, w)[None],
        lambda h, w: torch.linspace(0, 1, w), lambda h, w: torch.arange(2.0 * h * w).cos().view(h, w, 2).sum(-1),
        lambda h, w: (torch.arange(h)[:, None] + torch.arange(w)) % 2, lambda h, w: torch.ones(h, w).triu(),
        lambda h, w: torch.arange(h * w).view(h, w) % 7,
    ],
    ids=["HW", "11HW", "H1", "1W", "W", "HW2", "parity", "triu", "arange"],
)  # fmt: skip
@pytest.mark.parametrize("stored", [False, True], ids=["built", "stored"])
def test_maps_by_place_are_exact(gain, stored: bool) -> None:
    if stored:
        exact(lambda self, x: self.conv(x) * self.gain if x.shape[2:] == (131, 117) else x, gain=gain(131, 117))
    else:
        exact(lambda self, x: self.conv(x) * gain(*x.shape[2:]))


def test_coordinates_and_flow_fields_are_exact() -> None:
    def grid(x: Tensor) -> Tensor:
        rows, columns = torch.linspace(-1, 1, x.shape[2]), torch.linspace(-1, 1, x.shape[3])
        return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)[None]

    exact(lambda self, x: torch.cat([self.conv(x), grid(x).permute(0, 3, 1, 2)], 1))
    exact(lambda self, x: F.grid_sample(self.conv(x), grid(x) * 0.9, align_corners=True))
    exact(
        lambda self, x: F.grid_sample(x, grid(x) + 0.02 * self.conv(x)[:, :2].permute(0, 2, 3, 1), align_corners=False)
    )


# What cannot be followed, and outputs that are no image.


@pytest.mark.parametrize(
    "network",
    [
        lambda self, x: self.conv(x) if float(x.mean()) > 0.1 else x,
        lambda self, x: self.conv(x) / (1 + x.max().item()),
        lambda self, x: torch.from_numpy(np.tanh(self.conv(x).numpy())),
        lambda self, x: x - x[x > 0.9].mean(),
        lambda self, x: x.masked_fill(x > 2, 0) + len((x > 0.5).nonzero()) / x.numel(),
        lambda self, x: x + self.rows(x.mean(3).mT)[0].mT[..., None],
    ],
    ids=["float", "item", "numpy", "mask", "nonzero", "lstm"],
)  # fmt: skip
def test_networks_that_cannot_be_followed_run_whole(network) -> None:
    exact(network, rows=nn.LSTM(4, 4, batch_first=True))


def test_a_grid_kept_from_the_last_image_is_exact() -> None:
    def kept(self: Any, x: Tensor) -> Tensor:
        if self.grid is None or self.grid.shape != x.shape[2:]:
            self.grid = torch.linspace(0, 1, x.shape[2])[:, None] + torch.linspace(0, 1, x.shape[3])
        return self.conv(x) + self.grid

    exact(kept, grid=None)


def test_maxima_put_back_where_they_were_are_exact() -> None:
    exact(lambda self, x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=x.shape[2:]))


def test_a_layer_registered_twice_is_exact() -> None:
    layer = conv(4)
    exact(lambda self, x: self.second(torch.tanh(self.first(F.avg_pool2d(x, 2)))), first=layer, second=layer)


@pytest.mark.parametrize("size", [(64, 70), (131, 117)], ids=["small", "large"])
@pytest.mark.parametrize("tile", ["auto", "off", (48, 64)], ids=str)
@pytest.mark.parametrize(
    ("network", "said"),
    [
        (lambda self, x: [self.conv(x), x], "list"), (lambda self, x: (self.conv(x), x), "tuple"),
        (lambda self, x: {"image": self.conv(x)}, "dict"), (lambda self, x: None, "None"),
        (lambda self, x: self.conv(x).mean(), r"shape|dimension|scalar|\(\)"),
    ],
    ids=["list", "tuple", "dict", "None", "scalar"],
)  # fmt: skip
def test_an_output_that_is_no_image_is_one_clear_line(network, said: str, tile, size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match=said) as raised:
        run(Block(network, conv=conv(4)), planes(*size), tile)
    assert "\n" not in str(raised.value)


def test_a_network_that_mixes_the_images_of_a_batch_is_exact_or_whole() -> None:
    exact(lambda self, x: self.conv(x) - x.mean(0, keepdim=True), planes(images=2))


def test_a_network_that_counts_its_passes_is_refused_tiles_by_the_counter() -> None:
    def counted(self: Any, x: Tensor) -> Tensor:
        self.passes = getattr(self, "passes", 0) + 1
        return self.conv(x) * self.passes

    with pytest.raises(UserError, match="changes the network's attribute passes"):
        run(Block(counted, conv=conv(4)), planes(), (48, 64))
