"""Counts by hand for what other counters miss, and the audit that says why they differ."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.costs import profiling
from benchmark.costs.audit import COUNTERS, audit_counters
from benchmark.costs.profiling import audit_card, profile
from benchmark.counting.trace import trace
from zoo import create_model, get_card

# Functions of one tensor, their input's shape, and their multiply-accumulates.
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...], int]] = {
    "conv1d": (lambda x: F.conv1d(x, x.new_zeros(6, 3, 5)), (2, 3, 20), 2 * 6 * 3 * 5 * 16),
    "conv2d": (lambda x: F.conv2d(x, x.new_zeros(6, 3, 3, 3), stride=2), (1, 3, 9, 11), 6 * 3 * 9 * 4 * 5),
    "conv2d, dilated": (lambda x: F.conv2d(x, x.new_zeros(6, 3, 3, 3), dilation=2), (1, 3, 9, 11), 6 * 3 * 9 * 5 * 7),
    "conv2d, grouped": (lambda x: F.conv2d(x, x.new_zeros(8, 2, 3, 3), groups=2), (1, 4, 5, 6), 8 * 2 * 9 * 3 * 4),
    "conv3d": (lambda x: F.conv3d(x, x.new_zeros(6, 3, 2, 2, 2)), (1, 3, 4, 5, 6), 6 * 3 * 8 * 3 * 4 * 5),
    # transposed ones work per input pixel
    "conv_transpose1d": (lambda x: F.conv_transpose1d(x, x.new_zeros(3, 6, 4), stride=2), (2, 3, 7), 2 * 3 * 6 * 4 * 7),
    "conv_transpose2d": (
        lambda x: F.conv_transpose2d(x, x.new_zeros(3, 6, 2, 2), stride=2),
        (1, 3, 5, 7),
        3 * 6 * 4 * 35,
    ),
    "conv_transpose3d": (lambda x: F.conv_transpose3d(x, x.new_zeros(3, 6, 2, 2, 2)), (1, 3, 3, 4, 5), 3 * 6 * 8 * 60),
    "linear": (lambda x: F.linear(x, x.new_zeros(5, 7), x.new_zeros(5)), (2, 3, 7), 6 * 7 * 5),
    "matmul": (lambda x: x @ x.transpose(-1, -2), (2, 3, 4, 5), 6 * 4 * 4 * 5),
    "bmm": (lambda x: torch.bmm(x, x.transpose(1, 2)), (3, 4, 5), 3 * 4 * 4 * 5),
    "baddbmm": (lambda x: torch.baddbmm(x.new_zeros(4, 4), x, x.transpose(1, 2)), (3, 4, 5), 3 * 4 * 4 * 5),
    "einsum": (lambda x: torch.einsum("nij,nkj->nik", x, x), (3, 4, 5), 3 * 4 * 4 * 5),
    "einsum, outer": (lambda x: torch.einsum("ni,kj->nikj", x, x), (4, 5), 0),
}
# Heads of attention (2, 3, 10, 8): scores and weighted sums, 2 x 3 x 10 x 10 x 8 each; masked entries count.
ATTENTION = 2 * (2 * 3 * 10 * 10 * 8)
for name, make in {
    "attention": lambda x: {},
    "attention, causal": lambda x: {"is_causal": True},
    "attention, boolean mask": lambda x: {"attn_mask": x.new_ones(10, 10, dtype=torch.bool)},
    "attention, added mask": lambda x: {"attn_mask": x.new_zeros(2, 1, 10, 10)},
}.items():
    FUNCTIONS[name] = (lambda x, m=make: F.scaled_dot_product_attention(x, x, x, **m(x)), (2, 3, 10, 8), ATTENTION)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_macs_of_a_function_equal_the_closed_form(name: str, device: str) -> None:
    function, shape, macs = FUNCTIONS[name]
    assert trace(nn.Identity(), torch.zeros(shape, device=device), forward=function).macs == macs


# Width 8, 2 images of 5 tokens: three projections, scores, weighted sums, one projection.
HEADS = 2 * (3 * 5 * 64 + 2 * 5 * 5 * 8 + 5 * 64)


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1d(3, 6, 5, dilation=2), (2, 3, 20), 2 * 6 * 3 * 5 * 12),
        (nn.Conv3d(4, 6, 2, groups=2), (1, 4, 4, 5, 6), 6 * 2 * 8 * 60),
        (nn.ConvTranspose1d(3, 6, 4, stride=2), (1, 3, 7), 3 * 6 * 4 * 7),
        (nn.ConvTranspose3d(3, 6, 2, stride=2), (1, 3, 3, 4, 5), 3 * 6 * 8 * 60),
        # per step: 4 gates (LSTM), 3 gates (GRU), 1 (RNN), each of hidden x (input + hidden)
        (nn.LSTM(7, 5, batch_first=True), (2, 6, 7), 2 * 6 * 4 * 5 * (7 + 5)),
        (nn.LSTM(7, 5, 2, batch_first=True), (2, 6, 7), 2 * 6 * 4 * 5 * (7 + 5 + 5 + 5)),
        (nn.LSTM(7, 5, bidirectional=True), (6, 2, 7), 2 * 2 * 6 * 4 * 5 * (7 + 5)),
        (nn.GRU(7, 5, batch_first=True), (2, 6, 7), 2 * 6 * 3 * 5 * (7 + 5)),
        (nn.RNN(7, 5, batch_first=True), (2, 6, 7), 2 * 6 * 5 * (7 + 5)),
        (nn.LSTMCell(7, 5), (2, 7), 2 * 4 * 5 * (7 + 5)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8), HEADS + 2 * 5 * 2 * 8 * 16),
    ],
    ids=repr,
)
def test_macs_of_a_layer_equal_the_closed_form(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert trace(layer.to("meta"), torch.zeros(shape, device="meta")).macs == macs


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_in_a_module_is_counted(need_weights: bool, batch_first: bool) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=batch_first, device="meta")
    tokens = torch.empty((2, 5, 8) if batch_first else (5, 2, 8), device="meta")
    result = trace(layer, tokens, forward=lambda x: layer(x, x, x, need_weights=need_weights)[0])
    assert result.macs == HEADS
    assert result.layer_macs == {"MultiheadAttention": HEADS}


def test_looking_up_an_embedding_is_not_counted() -> None:
    words = torch.zeros(2, 6, dtype=torch.long, device="meta")
    result = trace(nn.Embedding(10, 8, device="meta"), words)
    assert result.macs == 0
    assert [item.op for item in result.uncounted_ops] == ["aten.embedding"]


def audited(model: nn.Module, *shape: int) -> dict:
    """Audit a network of this test; ``model`` is real, its twin on the meta device is traced."""
    twin = type(model)() if type(model).__module__ == __name__ else model
    meta = twin.to("meta")
    return audit_counters(trace(meta, torch.empty(shape, device="meta")), meta, lambda: type(model)())


class Mixed(nn.Module):
    """One of each kind of difference, with counts that tell them apart."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(5)
        self.up = nn.ConvTranspose2d(5, 2, 2, stride=2)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(self.norm(self.conv(x)), self.conv.weight.new_zeros(5, 5, 1, 1))
        return self.act(self.up(y))


def because(document: dict, counter: str) -> dict[str, int]:
    return {r["because"]: r["difference"] for r in document["reasons"] if r["counter"] == counter}


def test_thop_differs_by_what_was_built_in() -> None:
    document = audited(Mixed(), 1, 3, 4, 6)
    conv, function, up = 5 * 3 * 9 * 24, 5 * 5 * 24, 5 * 2 * 4 * 24
    assert document["zoo-bench"] == conv + function + up
    assert document["thop"] == conv + 4 * up + 4 * 5 * 24
    assert because(document, "thop") == {
        "transposed convolutions are counted on output pixels, 4 times too many: up": 3 * up,
        "functional convolutions in Mixed, a class it does not know, are missed: Mixed": -function,
        "operations without multiply-accumulates are counted, BatchNorm2d: norm": 4 * 5 * 24,
    }


def test_ptflops_2021_differs_by_its_definition() -> None:
    document = audited(Mixed(), 1, 3, 4, 6)
    reasons = because(document, "ptflops-2021")
    # On the meta device a norm's statistics are elements that it returns, too.
    assert reasons.pop("norms are counted, two per element") - 2 * 5 * 24 in (0, 2 * 2 * 5)
    assert reasons == {
        "transposed convolutions are counted on output pixels: up": 3 * 5 * 2 * 4 * 24,
        "biases of convolutions are counted, one per output element": 5 * 24 + 2 * 96,
        "ReLU-like activations are counted, one per element": 2 * 96,
    }


def test_ptflops_counts_biases_and_its_own_functions() -> None:
    pytest.importorskip("ptflops")
    document = audited(Mixed(), 1, 3, 4, 6)
    reasons = because(document, "ptflops")
    assert reasons["functional convolutions in Mixed, a class it does not know, are missed: Mixed"] == -5 * 5 * 24
    assert reasons["biases are counted, one per output element: conv, up"] == 5 * 24 + 2 * 96


SMALL = ["hyperunet_8_8_64", "hypervdn_8", "plainunet_8", "unet_w8", "vdn_w8"]


@pytest.mark.parametrize("name", SMALL)
def test_reasons_sum_to_the_distance_from_the_record(name: str) -> None:
    document = audit_card(get_card(name), {}, (32, 48))
    assert document["zoo-bench"] == profile(name, size=(32, 48))["macs"]
    for counter in COUNTERS:
        if document[counter] is not None:
            assert document[counter] - document["zoo-bench"] == sum(because(document, counter).values())


@pytest.mark.parametrize("name", SMALL)
def test_thop_on_shapes_says_what_it_says_on_a_real_network(name: str) -> None:
    thop = pytest.importorskip("thop")
    card = get_card(name)
    expected, _ = thop.profile(create_model(name), inputs=(torch.zeros(1, card.input.channels, 32, 32),), verbose=False)
    assert audit_card(card, {}, (32, 32))["thop"] == expected


def test_ptflops_says_what_it_says_alone() -> None:
    ptflops = pytest.importorskip("ptflops")
    expected, _ = ptflops.get_model_complexity_info(
        create_model("hyperunet_8_8_64"), (4, 32, 32), print_per_layer_stat=False, as_strings=False
    )
    assert audit_card(get_card("hyperunet_8_8_64"), {}, (32, 32))["ptflops"] == expected


def test_thop_misses_the_filters_of_hyper_networks_and_the_reason_names_them() -> None:
    document = profile("hyperunet_8_8_64", size=(32, 32), layers=True, audit=True)
    layers = ["enc0a", "enc0b", "enc1", "enc2", "out"]
    macs = {item["layer"]: item["macs"] for item in document["layers"]}
    text = f"functional convolutions in HyperConv2d, a class it does not know, are missed: {', '.join(layers)}"
    assert because(document["audit_details"], "thop") == {text: -sum(macs[layer] for layer in layers)}
    assert document["audit"]["thop"] < 0.6 * document["macs"]


def test_the_convention_counts_transposed_convolutions_of_vdn_four_times() -> None:
    document = profile("vdn", size=(32, 32), layers=True, audit=True)
    macs = sum(item["macs"] for item in document["layers"] if item["layer"].endswith(".up"))
    (text,) = [text for text in because(document["audit_details"], "ptflops-2021") if text.startswith("transposed")]
    assert "4 times too many" in text
    assert "DNet.up_path.0.up, DNet.up_path.1.up, DNet.up_path.2.up" in text
    assert because(document["audit_details"], "ptflops-2021")[text] == 3 * macs


class Tied(nn.Module):
    """A layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))
        self.second = nn.Sequential(self.first[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_a_layer_with_two_names_is_counted_too_often_and_the_rest_is_said() -> None:
    document = audited(Tied(), 1, 3, 4, 4)
    macs = 2 * 9 * 16
    assert document["zoo-bench"] == macs
    # Hooked under both names, and then summed under both.
    assert document["thop"] == 4 * macs
    repeated, rest = (
        "layers are counted 2 times, as those with several names are: first.0",
        "not explained by the trace",
    )
    assert {text.partition(" (")[0]: value for text, value in because(document, "thop").items()} == {
        repeated: macs,
        rest: 2 * macs,
    }


def test_counters_leave_nothing_behind(capfd) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2)))
    model[1].eval()
    state, attributes = set(model.state_dict()), [set(vars(module)) for module in model.modules()]
    functions, seed = [F.relu, F.interpolate, torch.matmul], torch.get_rng_state()
    meta = model.to("meta")
    record = trace(nn.Sequential(*meta), torch.empty(1, 3, 4, 4, device="meta"))
    for module, training in zip(model.modules(), modes := [True, True, False, True, True, True]):
        module.training = training
    audit_counters(record, meta, lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()))
    assert set(model.state_dict()) == state
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not nn.modules.module._global_forward_hooks
    assert not any(name in dict(model.named_buffers()) for name in ("total_ops", "total_params"))
    assert [F.relu, F.interpolate, torch.matmul] == functions
    assert torch.equal(torch.get_rng_state(), seed)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("counter", ["thop", "ptflops"])
def test_a_counter_that_is_not_installed_is_null(counter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, counter, None)
    document = audit_card(get_card("plainunet_8"), {}, (32, 32))
    assert document[counter] is None
    (reason,) = [reason for reason in document["reasons"] if reason["counter"] == counter]
    assert reason["difference"] is None
    assert "zoo-bench[audit]" in reason["because"]
    assert document["ptflops-2021"] > document["zoo-bench"]


def test_a_counter_that_fails_is_null(monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def refuse() -> nn.Module:
        raise MemoryError("no room")

    meta = nn.Conv2d(3, 4, 1, device="meta")
    document = audit_counters(trace(meta, torch.empty(1, 3, 4, 4, device="meta")), meta, refuse)
    assert document["ptflops"] is None
    assert "MemoryError: no room" in next(iter(because(document, "ptflops")))
    assert document["thop"] == 3 * 4 * 16
    assert capfd.readouterr() == ("", "")


class Doubler(nn.Module):
    """No parameters, nothing to count."""

    def forward(self, x: Tensor) -> Tensor:
        return x.tile(1, 1, 2, 2)


def test_a_model_without_parameters_is_audited() -> None:
    document = audited(Doubler(), 1, 3, 4, 4)
    assert (document["zoo-bench"], document["thop"], document["ptflops-2021"]) == (0, 0, 0)
    assert document["ptflops"] in (0, None)
    assert not because(document, "thop")


def test_an_audit_of_a_large_image_runs_a_small_one_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "AUDIT_MACS", 100_000_000)
    document = profiling.profile("plainunet_8", size=(1536, 2048), audit=True)
    assert document["input_shape"] == [1, 4, 1536, 2048]
    # The patch of 224 takes 111 million, its half a quarter of that.
    assert document["audit_details"]["audit_input_shape"] == [1, 4, 112, 112]
    assert document["audit_details"]["zoo-bench"] == profiling.profile("plainunet_8", size=(112, 112))["macs"]


def test_an_audit_never_enlarges_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "AUDIT_PEAK_BYTES", 1)
    document = profiling.audit_card(get_card("plainunet_8"), {}, (64, 96))
    assert document["audit_input_shape"] == [1, 4, 56, 56]


def test_the_command_prints_the_audit(zoo_bench) -> None:
    document = json.loads(zoo_bench("profile", "plainunet_8", "--size", "32x36", "--audit", "--json").out)
    assert set(document["audit"]) == set(COUNTERS)
    assert set(document["audit_details"]) == {*COUNTERS, "zoo-bench", "audit_input_shape", "reasons"}
    assert document["audit_details"]["zoo-bench"] == document["macs"]
    assert {"counter", "difference", "because"} == set(document["audit_details"]["reasons"][0])
    outcome = zoo_bench("profile", "hyperunet_8_8_64", "--size", "32x32", "--audit")
    assert outcome.code == 0
    assert "other counters at input 1x4x32x32" in outcome.out
    assert "are missed: enc0a, enc0b, enc1, enc2, out" in outcome.out
    assert "audit" not in json.loads(zoo_bench("profile", "plainunet_8", "--json").out)
