"""Counts and peaks against closed forms, worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.costs.profiling import meta_model, profile, size_for, trace_card
from benchmark.counting.trace import trace
from zoo import UserError, get_card, list_models
from zoo.errors import SizeError


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        # out channels x in channels x kernel x output pixels
        (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 10, 12), 8 * 3 * 9 * 10 * 12),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 10, 12), 2 * 8 * 3 * 9 * 5 * 6),
        (nn.Conv2d(4, 8, (3, 5), dilation=2), (1, 4, 10, 12), 8 * 4 * 15 * 6 * 4),
        (nn.Conv2d(8, 8, 3, padding=1, groups=4), (1, 8, 6, 6), 8 * 2 * 9 * 36),
        # a transposed convolution works per input pixel
        (nn.ConvTranspose2d(6, 4, 2, stride=2), (1, 6, 5, 7), 6 * 4 * 4 * 5 * 7),
        (nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), (1, 6, 5, 7), 6 * 2 * 4 * 5 * 7),
        (nn.Linear(7, 5), (3, 7), 3 * 7 * 5),
        (nn.Linear(7, 5, bias=False), (2, 3, 7), 6 * 7 * 5),
        (nn.BatchNorm2d(4), (1, 4, 8, 8), 0),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_macs_of_a_layer_equal_the_closed_form(layer: nn.Module, shape, macs: int, device: str) -> None:
    result = trace(layer.to(device), torch.empty(shape, device=device))
    assert result.macs == macs


class Functional(nn.Module):
    """Functional operations only; hook-based counters see nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = x.new_zeros(6, 3, 3, 3)
        y = F.conv2d(x, weight, padding=1)
        flat = y.flatten(2)
        attention = torch.softmax(flat @ flat.transpose(1, 2), dim=-1)
        return attention @ flat


def test_functional_operations_are_counted() -> None:
    result = trace(Functional(), torch.empty(1, 3, 4, 5, device="meta"))
    assert result.macs == 6 * 3 * 9 * 20 + 6 * 6 * 20 + 6 * 6 * 20


def test_inference_mode_inside_a_model_hides_nothing() -> None:
    class Inference(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return F.linear(x, torch.zeros(5, 7))

    assert trace(Inference(), torch.zeros(3, 7)).macs == 3 * 7 * 5


def test_attention_is_counted() -> None:
    q = torch.empty(2, 3, 10, 8, device="meta")
    result = trace(nn.Identity(), q, forward=lambda x: F.scaled_dot_product_attention(x, x, x))
    assert result.macs == 2 * (2 * 3 * 10 * 10 * 8)


def test_uncounted_operations_are_listed_with_elements() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.ReLU(), nn.Upsample(scale_factor=2))
    result = trace(model, torch.empty(1, 3, 8, 8, device="meta"))
    listed = {item.op: (item.calls, item.elements) for item in result.uncounted_ops}
    assert listed == {"aten.relu": (2, 2 * 4 * 64), "aten.upsample_nearest2d": (1, 4 * 256)}


def test_convolution_memory_is_sum_and_largest() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(16, 2, 1, bias=False))
    result = trace(model, torch.empty(1, 3, 8, 8, device="meta"))
    assert result.conv_output_bytes == 4 * (16 + 2) * 64
    assert result.peak_conv_bytes == 4 * (3 * 64 + 16 * 64 + 16 * 3 * 9)
    assert result.peak_conv_layer == "0"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_peak_of_live_tensors_by_hand(device: str) -> None:
    """x (3) stays alive; conv 8 -> relu 8 -> conv 2: at the ReLU x, its input and its output live: 3 + 8 + 8."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1)).to(device)
    x = torch.zeros(1, 3, 16, 16, device=device)
    result = trace(model, x)
    assert result.peak_activation_bytes == 4 * 256 * (3 + 8 + 8)
    assert result.peak_activation_layer == "1"


def test_views_and_in_place_operations_take_no_memory() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Unflatten(1, (3, 16, 16)))
    result = trace(model, torch.zeros(1, 3, 16, 16, device="meta"))
    assert result.peak_activation_bytes == 4 * 3 * 256


def test_tracing_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trace(model, torch.rand(2, 3, 4, 4))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not model[0]._forward_hooks


def test_layers_sum_to_the_total() -> None:
    document = profile("unet_w8", size=(32, 48), layers=True)
    assert sum(layer["macs"] for layer in document["layers"]) == document["macs"]
    macs = 4 * 8 * 9 * 32 * 48
    assert {"layer": "inc.double_conv.0", "macs": macs, "flops": 2 * macs} in document["layers"]
    assert document["flops"] == 2 * document["macs"]


@pytest.mark.parametrize("name", list_models())
def test_costs_at_12_mp_need_no_memory(name: str) -> None:
    card = get_card(name)
    size = card.input.plane_size((1536, 2048) if card.task == "raw2rgb" else (3072, 4096))
    result = trace_card(card, {}, size)
    assert result.input_shape == (1, card.input.channels, *size)
    assert result.output_shape == (1, card.input.out_channels, 3072, 4096)


# From the specification of the UNet and of the paper's own networks (2 FLOPs per MAC, packed 1440x1984).
@pytest.mark.parametrize(
    ("name", "size", "macs"),
    [
        ("unet", (224, 224), 30_673_993_728),
        ("unet", (1488, 1984), 1_804_757_630_976),
        ("unet", (1536, 2048), 1_923_071_606_784),
    ],
)
def test_macs_equal_the_specification(name: str, size, macs: int) -> None:
    assert profile(name, size=size)["macs"] == macs


@pytest.mark.parametrize(
    ("name", "tera_flops", "gib"),
    [
        ("plainunet_96", 1.293, 3.77),
        ("plainunet_64", 0.592, 2.55),
        ("hyperunet_64_32_2048", 0.695, 3.37),
        ("hyperunet_32_32_2048", 0.264, 2.16),
        ("hyperunet_32_16_2048", 0.189, 1.75),
        ("hyperunet_8_32_4000", 0.118, 1.25),
    ],
)
def test_hyperunet_reproduces_the_papers_columns(name: str, tera_flops: float, gib: float) -> None:
    document = profile(name, size=(1440, 1984))
    assert document["flops"] / 1e12 == pytest.approx(tera_flops, abs=6e-4)
    assert document["conv_output_bytes"] / 2**30 == pytest.approx(gib, abs=6e-3)


def test_sizes_are_padded_and_too_small_ones_refused() -> None:
    assert profile("plainunet_8", size=(33, 47))["input_shape"] == [1, 4, 36, 48]
    with pytest.raises(SizeError, match="at least 32x32"):
        profile("plainunet_8", size=(16, 64))


def test_the_default_size_is_the_patch_of_the_dataset() -> None:
    assert size_for(get_card("unet")) == (224, 224)


def test_weights_take_no_memory_on_meta() -> None:
    model = meta_model(get_card("hyperunet_64_32_2048"), {})
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.fixture
def stubborn(tmp_path, monkeypatch):
    """Register models that cannot be followed on meta tensors."""
    from zoo import plugins
    from zoo.card import MODELS

    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))
    monkeypatch.setattr(plugins, "_files", list(plugins._files))
    file = tmp_path / "reads.py"
    file.write_text(
        "import torch\nfrom torch import nn\nfrom zoo import register_model\n"
        "class Reads(nn.Module):\n"
        "    def __init__(self, inner):\n        super().__init__()\n        self.inner = inner\n"
        "    def forward(self, x):\n"
        "        rows = x.mean(dim=2).transpose(1, 2)\n"
        "        y = self.inner(rows) if self.inner else None\n"
        "        if x.shape[-1] == 50: raise ValueError('fifty')\n"
        "        return x if x.sum().item() > 0 else -x\n"
        "class Attention(nn.MultiheadAttention):\n"
        "    def forward(self, x):\n        return super().forward(x, x, x, need_weights=False)\n"
        "@register_model(task='denoise_rgb')\ndef reads_values() -> nn.Module:\n    return Reads(None)\n"
        "@register_model(task='denoise_rgb')\ndef reads_lstm() -> nn.Module:\n"
        "    return Reads(nn.LSTM(3, 5, batch_first=True))\n"
        "@register_model(task='denoise_rgb')\ndef reads_attention() -> nn.Module:\n"
        "    return Reads(Attention(3, 1, batch_first=True))\n"
    )
    plugins.load_file(file)


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        ("reads_values", 0),
        ("reads_lstm", 48 * 4 * 5 * (3 + 5)),
        ("reads_attention", 48 * 3 * 3 * 4 + 2 * 48 * 48 * 3),
    ],
)
def test_what_cannot_be_followed_is_run_at_a_small_size_and_says_so(stubborn, model: str, macs: int) -> None:
    document = profile(model, size=(32, 48), audit=True)
    assert (document["macs"], document["input_shape"]) == (macs, [1, 3, 32, 48])
    assert (
        "Tensor.item() cannot be called on meta tensors); its costs are of a run at 1x3x32x48" in document["notes"][0]
    )
    assert document["notes"][1].startswith("no audit")
    assert document["audit"] == {"thop": None, "ptflops": None, "ptflops-2021": None}


def test_what_cannot_be_followed_is_not_run_at_a_large_size(stubborn) -> None:
    assert profile("reads_values", size=(3072, 4096))["input_shape"] == [1, 3, 256, 256]


def test_what_does_not_run_either_is_one_line(stubborn) -> None:
    message = r"neither on meta tensors \(ValueError: fifty\) nor by a run at 40x50 \(ValueError: fifty\)"
    with pytest.raises(UserError, match=message):
        profile("reads_values", size=(40, 50))


def test_a_size_that_no_memory_holds_is_counted() -> None:
    document = profile("plainunet_8", size=(1 << 17, 1 << 17))
    small = profile("plainunet_8", size=(1 << 8, 1 << 8))
    assert document["macs"] == small["macs"] << 18
    assert document["peak_activation_bytes"] == small["peak_activation_bytes"] << 18


def test_a_model_without_parameters_has_costs() -> None:
    document = profile("bilinear", size=(32, 32))
    assert (document["params"], document["weight_bytes"]) == (0, 0)
    assert document["peak_activation_bytes"] > 0
