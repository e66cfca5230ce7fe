"""AWNet against the official network's outputs, keys and counts, and what the bare module promises."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.golden_rule import load_into, make_input
from zoo import create_model, get_card
from zoo.errors import UserError
from zoo.models.awnet import AWNet, AWNetOutputs, dwt, iwt

DATA = Path(__file__).parent / "data" / "networks"


@pytest.fixture(scope="module")
def golden() -> Any:
    with np.load(DATA / "awnet_golden.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def net(golden: Any) -> Any:
    return load_into(create_model("awnet_4ch"), float(golden["gain"]))


@pytest.fixture(scope="module")
def outputs(net: Any, golden: Any) -> AWNetOutputs:
    with torch.no_grad():
        return net.all_outputs(torch.from_numpy(make_input(golden["seed"], golden["shape"])))


def _on_meta(**options: Any) -> Any:
    with torch.device("meta"):
        return create_model("awnet_4ch", **options).eval()


def _macs(run: Callable[[Tensor], Any], height: int, width: int) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(torch.empty(1, 4, height, width, device="meta"))
    return counter.get_total_flops() / 2


def _planes(n: int, height: int, width: int) -> Tensor:
    return torch.from_numpy(make_input(7, (n, 4, height, width)))


# The allowed errors are those of the golden files' README; it gives no mean for the side outputs.
@pytest.mark.parametrize(
    ("name", "largest", "mean"),
    [
        ("out", 5e-6, 1e-6),
        *((f"scale{level}", 3e-5, 3e-6) for level in range(1, 6)),
        ("latent", 1e-3, 1e-4),
    ],
)
def test_outputs_equal_the_official_ones(
    outputs: AWNetOutputs, golden: Any, name: str, largest: float, mean: float
) -> None:
    ours = getattr(outputs, name).numpy()
    assert ours.shape == tuple(golden[f"fullshape_{name}"])
    error = np.abs(ours - golden[name])
    assert error.max() < largest
    assert error.mean() < mean


def test_forward_is_the_first_output(net: Any, outputs: AWNetOutputs, golden: Any) -> None:
    with torch.no_grad():
        out = net(torch.from_numpy(make_input(golden["seed"], golden["shape"])))
    assert torch.equal(out, outputs.out)


def test_keys_shapes_and_buffers_are_the_official_ones() -> None:
    net = _on_meta()
    buffers = {name for name, _ in net.named_buffers()}
    ours = [(name, list(value.shape), name in buffers) for name, value in net.state_dict().items()]
    official = json.loads((DATA / "awnet_keys.json").read_text())["keys"]
    assert ours == [(name, shape, bool(kind)) for name, shape, *kind in official]


@pytest.mark.parametrize(
    ("blocks", "params", "macs_patch", "macs_frame"),
    [
        ("3,3,3,4,4", 52_205_436, 74_977_959_936, 4_411_147_051_008),
        ("2,2,2,3,4", 50_618_596, 66_060_306_432, 3_886_471_505_920),
    ],
)
def test_counts_are_the_official_ones(blocks: str, params: int, macs_patch: int, macs_frame: int) -> None:
    net = _on_meta(blocks=blocks)
    assert sum(p.numel() for p in net.parameters()) == params
    assert _macs(net.all_outputs, 224, 224) == macs_patch
    assert _macs(net.all_outputs, 1488, 1984) == macs_frame
    assert _macs(net, 224, 224) == pytest.approx(macs_patch, rel=5e-3)


def test_forward_costs_what_table_1_prints_at_12_megapixels() -> None:
    net = _on_meta()
    assert 2 * _macs(net.all_outputs, 1536, 2048) == pytest.approx(9.401e12, rel=1e-4)
    assert 2 * _macs(net, 1536, 2048) == pytest.approx(9.401e12, rel=5e-3)


def test_card_states_params_and_input() -> None:
    card = get_card("awnet_4ch")
    assert card.params == sum(p.numel() for p in _on_meta().parameters())
    assert (card.input.multiple, card.input.min_size, card.input.output_scale) == (16, 16, 2.0)
    assert (card.input.divisor, card.input.black_level) == (1020.0, 0.0)


def test_dwt_bands_of_one_cell() -> None:
    cell = torch.tensor([[1.0, 2.0], [4.0, 8.0]]).reshape(1, 1, 2, 2)
    ll, bands = dwt(cell)
    # (LL, HL, LH, HH): sum, right minus left, bottom minus top, main minus other diagonal; each halved.
    assert bands.flatten().tolist() == [7.5, 2.5, 4.5, 1.5]
    assert ll.item() == 7.5


def test_iwt_inverts_dwt() -> None:
    x = _planes(2, 6, 10)
    torch.testing.assert_close(iwt(dwt(x)[1]), x)


def test_batch_equals_singles(net: Any) -> None:
    x = _planes(2, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.cat([net(x[:1]), net(x[1:])]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (16, 80), (96, 32)])
def test_other_sizes_run(net: Any, size: tuple[int, int]) -> None:
    height, width = size
    with torch.no_grad():
        outputs = net.all_outputs(_planes(1, height, width))
    assert outputs.out.shape == (1, 3, 2 * height, 2 * width)
    for level in range(5):
        assert outputs[1 + level].shape == (1, 3, height >> level, width >> level)
    assert outputs.latent.shape == (1, 1024, height // 16, width // 16)


@pytest.mark.parametrize("size", [(24, 32), (32, 24), (8, 8), (0, 16)])
def test_other_multiples_are_refused(net: Any, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiples of 16, at least 16; got {size[0]}x{size[1]}"):
        net(torch.empty(1, 4, *size))


def test_all_but_the_unused_parameters_get_a_gradient(net: Any) -> None:
    patterns = get_card("awnet_4ch").unused_params
    net.zero_grad(set_to_none=True)
    sum(output.sum() for output in net.all_outputs(_planes(1, 32, 32))).backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    net.zero_grad(set_to_none=True)
    without = {name for name, gradient in gradients.items() if gradient is None}
    assert without == {name for name in gradients if any(fnmatch.fnmatch(name, p) for p in patterns)}
    assert len(without) == 8
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values() if gradient is not None)


@pytest.mark.parametrize("blocks", ["2,2,2", "3,3,3,4,4,4", "3,3,0,4,4", "3,3,3,4,-1"])
def test_impossible_blocks_are_a_user_error(blocks: str) -> None:
    with pytest.raises(UserError, match=rf"awnet_4ch: option blocks={blocks} does not fit; expected five counts"):
        create_model("awnet_4ch", blocks=blocks)


def test_small_blocks_build_a_small_network() -> None:
    net = _on_meta(blocks="1,1,1,1,1")
    assert isinstance(net, AWNet)
    assert [len(layer) for layer in (net.layer1, net.layer4, net.layer5)] == [2, 2, 1]
