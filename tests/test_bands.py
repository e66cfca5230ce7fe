"""Whole images in bands: the same values, within the planned memory, nothing overwritten that is still needed."""

from __future__ import annotations

import copy
import random
import weakref
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmark.counting.trace import trace
from benchmark.fullres.bands import run
from benchmark.fullres.bands.plan import BandSizes, plan_bands
from benchmark.fullres.bands.run import run_bands
from benchmark.fullres.rows.joined import PACKED
from zoo import create_model, list_models
from zoo.card import get_card
from zoo.errors import UserError

# A few rows at a time, nothing whole that can be banded.
STRIPS = BandSizes(strip_bytes=20_000, small_bytes=0)
# The same rules of the same file; the small member is tested.
SAME_LAYERS = {
    "hyperunet_32_16_2048", "hyperunet_32_32_2048", "hyperunet_64_32_2048", "hyperunet_8_32_4000", "hypervdn_21",
    "hypervdn_32", "plainunet_64", "plainunet_96", "unet", "vdn", "spade", "dncnn_20", "dncnn_20_color",
    "nafnet_64", "nafnet_64_local",
}  # fmt: skip
# Several seconds each.
HEAVY = {"awnet_4ch", "nafnet_32_local", "pynet", "pynet_ca"}
BANDED = [
    pytest.param(name, marks=pytest.mark.thorough if name in HEAVY else ())
    for name in sorted({*list_models(), "dncnn_17:training", "syenet:training"} - SAME_LAYERS)
]
SMALL = {
    "awnet_4ch": {"blocks": (1, 1, 1, 1, 1)},
    "dncnn_17": {"width": 8},
    "dncnn_17:training": {"width": 8, "form": "training"},
    "syenet:training": {"form": "training"},
    "ffdnet_color": {"width": 4},
    "ffdnet_gray": {"width": 4},
    "nafnet_32": {"width": 4},
    "nafnet_32_local": {"width": 4, "train_size": 16},
}


def banded(module: nn.Module, x: Tensor, *, exact_kernels: bool = True) -> Tensor:
    return run_bands(module, x, plan_bands(module, x.shape, STRIPS, exact_kernels=exact_kernels))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name.partition(":")[0], **SMALL.get(name, {})).eval()


def planes(name: str, height: int, width: int) -> Tensor:
    channels = get_card(name.partition(":")[0]).input.channels
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def check(module: nn.Module, x: Tensor) -> None:
    """Assert that bands and whole image agree to 1e-6, with joined kernels to 1e-5, beside its own float32 error."""
    before = x.clone()
    whole = module(x.clone())
    exact = copy.deepcopy(module).double()(x.double())
    scale = float(exact.abs().max())
    own_error = float((whole - exact).abs().max()) / scale
    for exact_kernels, tolerance in ((True, 1e-6), (False, 1e-5)):
        found = banded(module, x, exact_kernels=exact_kernels)
        assert float((found - whole).abs().max()) / scale < tolerance + 3 * own_error, exact_kernels
        assert torch.equal(x, before)


@pytest.mark.parametrize("name", BANDED)
def test_registered_networks_give_the_whole_images_values(name: str) -> None:
    card = get_card(name.partition(":")[0]).input
    multiple = max(card.multiple, 8)
    height = max(3 * multiple, card.min_size)
    check(network(name), planes(name, height, height + multiple))


class _Live(TorchDispatchMode):
    """The largest sum of the storages that operators make."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.live = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.is_mkldnn:
                # Packed weights have no storage, and nothing shares their memory.
                self.live += tensor.nbytes
                weakref.finalize(tensor, self._freed, 0, tensor.nbytes)
            elif isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.live += storage.nbytes()
                    weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.live)
        return result

    def _freed(self, pointer: int, size: int) -> None:
        self.known.discard(pointer)
        self.live -= size


@pytest.mark.thorough
@pytest.mark.parametrize("exact_kernels", [True, False])
@pytest.mark.parametrize("name", ["pynet", "awnet_4ch", "dped"])
def test_live_tensors_stay_within_the_networks_own_peak(name: str, exact_kernels: bool) -> None:
    module, x = network(name), planes(name, 64, 96)
    sizes = BandSizes(strip_bytes=100_000, small_bytes=4096)
    plan = plan_bands(module, x.shape, sizes, exact_kernels=exact_kernels)
    with _Live([x, *module.parameters(), *module.buffers()]) as live:
        run_bands(module, x, plan)
    own = trace(network(name).to("meta"), x.to("meta")).peak_activation_bytes
    # Packed weights are held for the convolution that reads them; at full size they are small beside images.
    packed = max((node.nbytes for node in plan.graph.nodes if node.op == PACKED), default=0)
    held = live.peak + x.nbytes
    assert held <= 1.2 * own + packed
    # Strips are estimated: at this size they are a large part of the whole.
    assert held <= 1.25 * plan.peak_bytes


def test_statistics_survive_an_offset_that_dwarfs_the_spread() -> None:
    class Offset(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.InstanceNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(F.relu(x))

    x = 1000 + torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    exact = Offset()(x.double())
    found = banded(Offset(), x).double()
    # The mean itself is rounded to float32: 3e-5 of 1000, over a spread of 0.29.
    assert float((found - exact).abs().max()) < 2 * float((Offset()(x).double() - exact).abs().max()) + 1e-6


def test_samples_are_run_one_by_one_into_the_given_tensor() -> None:
    module = network("unet_w8")
    x = torch.cat([planes("unet_w8", 32, 48), 1 - planes("unet_w8", 32, 48)])
    out = torch.empty(2, 3, 64, 96)
    plan, advance = plan_bands(module, x.shape, STRIPS), Mock()
    assert run_bands(module, x, plan, out, advance=advance) is out
    with torch.no_grad():
        torch.testing.assert_close(out, module(x), rtol=0, atol=1e-6)
    assert advance.call_count == 2 * len(plan.steps)


@pytest.mark.parametrize("seed", [3, 7])
def test_inference_mode_changes_nothing(seed: int) -> None:
    x = torch.rand(1, 6, 16, 14)
    with torch.inference_mode():
        module = _Random(seed).eval()
        torch.testing.assert_close(banded(module, x), module(x), rtol=0, atol=1e-5)


def test_a_network_that_looks_at_values_is_refused() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if bool((x > 0).any()) else -x

    with pytest.raises(UserError, match="looks at the values"):
        plan_bands(Branching(), (1, 3, 8, 8))


class _Random(nn.Module):
    """A random graph: residuals, concatenations, several readers, in-place operators, writes into slices."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.convs = nn.ModuleList(
            nn.Conv2d(6, 6, kernel, padding=kernel // 2, padding_mode=mode)
            for kernel, mode in ((1, "zeros"), (3, "zeros"), (3, "reflect"), (5, "reflect"))
        )
        self.up = nn.ConvTranspose2d(6, 6, 2, stride=2)
        self.strided = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.norm = nn.InstanceNorm2d(6, affine=True)
        self.mix = nn.Conv2d(12, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        choose = random.Random(self.seed)
        values = [x, self.convs[1](x)]
        for _ in range(12):
            a, b = choose.choice(values), choose.choice(values)
            values.append(self._grow(choose.randrange(12), choose, a, b))
        return values[-1] + choose.choice(values)

    def _grow(self, kind: int, choose: random.Random, a: Tensor, b: Tensor) -> Tensor:
        if kind == 0:
            return a + b
        if kind == 1:
            return self.mix(torch.cat([a, b], 1))
        if kind == 2:
            return self.norm(choose.choice(list(self.convs))(a))
        if kind == 3:
            return F.leaky_relu_(self.convs[2](a), 0.2) * b.mean((2, 3), keepdim=True)
        if kind == 4:
            return self.up(self.strided(a))[..., : a.shape[2], : a.shape[3]] - b
        if kind == 5:
            written = torch.empty_like(a)
            written[:, :, 0::2], written[:, :, 1::2] = a[:, :, 0::2], b[:, :, 1::2].neg()
            return written
        if kind == 6:
            size = (a.shape[2], a.shape[3])
            small = F.max_pool2d(a, 3, 2, 1)
            return F.interpolate(small, size, mode="bilinear", align_corners=choose.random() < 0.5) + b
        if kind == 7:
            return torch.cat([self.convs[0](a)[:, :2], F.relu(b)[:, :4]], 1)
        if kind == 8:
            written = torch.empty_like(a)
            written[:, :3], written[:, 3:] = torch.tanh(a[:, :3]), self.convs[3](b)[:, 3:]
            return written
        if kind == 9:
            return F.interpolate(F.adaptive_avg_pool2d(a, 3), a.shape[2:], mode="nearest") + b
        return self.norm(a) if kind == 10 else choose.choice(list(self.convs))(a) * 0.5 + a


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs_give_the_whole_images_values(seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.rand(1, 6, 2 * random.Random(seed).randrange(6, 20), 14)
    check(_Random(seed).eval(), x)


class Doubled(nn.Module):
    """Sums of 2, 4, 8 ... neighbouring rows, each of the one before, after a convolution."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for level in range(self.levels):
            rest = x.shape[2] - 2**level
            x = x.narrow(2, 0, rest) + x.narrow(2, 2**level, rest)
        return self.conv(x)


@torch.no_grad()
def test_sums_of_sums_at_other_rows_are_not_computed_again_and_again(monkeypatch) -> None:
    torch.manual_seed(0)
    reads: list[int] = []
    original = run._BandRun.read
    monkeypatch.setattr(run._BandRun, "read", lambda *arguments: reads.append(1) or original(*arguments))
    counts = []
    for levels in (4, 8):
        reads.clear()
        module = Doubled(levels).eval()
        x = torch.rand(1, 3, 2**levels + 40, 24)
        assert (banded(module, x) - module(x)).abs().max() <= 1e-6 * module(x).abs().max()
        counts.append(len(reads) / x.shape[2])
    # Each level is stored, or computed a few times: never twice as often with every level.
    assert counts[1] < 4 * counts[0]
