"""Multiply-accumulates of operators against closed forms, and what is said where there is no formula."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.counting.formulas import may_multiply
from benchmark.counting.trace import Trace, trace
from benchmark.leaderboard.cells import Cells
from benchmark.leaderboard.columns import COSTS, columns_of
from benchmark.leaderboard.rows import Row
from zoo import list_models, register_model

Function = Callable[[Tensor], Any]
BF16 = torch.bfloat16


def traced(function: Function, *shape: int, device: str = "cpu") -> Trace:
    return trace(nn.Identity(), torch.ones(shape, device=device), forward=function)


# Functions of one tensor that run on meta tensors too, the tensor's shape, and their multiply-accumulates.
ANYWHERE: dict[str, tuple[Function, tuple[int, ...], int]] = {
    "mv": (lambda x: torch.mv(x, x[0]), (4, 5), 4 * 5),
    "matmul with a vector": (lambda x: x @ x[0, 0], (3, 4, 5), 3 * 4 * 5),
    "addmv": (lambda x: torch.addmv(x[:, 0], x, x[0]), (4, 5), 4 * 5),
    "addr": (lambda x: torch.addr(x.new_zeros(4, 5), x[:, 0], x[0]), (4, 5), 4 * 5),
    "dot": (lambda x: torch.dot(x, x), (5,), 5),
    "vdot": (lambda x: torch.vdot(x, x), (5,), 5),
    "inner": (lambda x: torch.inner(x, x), (3, 5), 3 * 3 * 5),
    "tensordot": (lambda x: torch.tensordot(x, x, dims=([1, 2], [1, 2])), (3, 4, 5), 3 * 3 * 4 * 5),
    "outer": (lambda x: torch.outer(x, x), (5,), 0),
    "addbmm": (lambda x: torch.addbmm(x.new_zeros(4, 4), x, x.mT), (3, 4, 5), 3 * 4 * 5 * 4),
    "addmm in place": (lambda x: x.clone().addmm_(x, x), (4, 4), 4**3),
    "baddbmm in place": (lambda x: x.clone().baddbmm_(x, x), (3, 4, 4), 3 * 4**3),
    "mm into a tensor": (lambda x: torch.mm(x, x, out=x.clone()), (4, 4), 4**3),
    "_int_mm": (lambda x: torch._int_mm(x.to(torch.int8), x.to(torch.int8).T), (32, 16), 32 * 16 * 32),
    "_weight_int8pack_mm": (
        lambda x: torch._weight_int8pack_mm(x.to(BF16), x.new_ones(8, 16).to(torch.int8), x.new_ones(8).to(BF16)),
        (4, 16),
        4 * 16 * 8,
    ),
    "bilinear": (lambda x: F.bilinear(x, x[:, :4], x.new_ones(6, 5, 4)), (3, 5), 3 * 6 * 5 * 4),
    "cdist": (lambda x: torch.cdist(x, x[:, :3]), (2, 4, 5), 2 * 4 * 3 * 5),
    "cdist, absolute differences": (lambda x: torch.cdist(x, x, p=1.0), (2, 4, 5), 0),
    "pdist": (lambda x: F.pdist(x), (4, 5), 4 * 3 // 2 * 5),
    "affine_grid": (lambda x: F.affine_grid(x, (2, 3, 4, 5), align_corners=False), (2, 2, 3), 2 * 4 * 5 * 2 * 3),
    "conv_tbc": (lambda x: torch.conv_tbc(x, x.new_ones(3, 5, 7), x.new_ones(7)), (9, 2, 5), 7 * 2 * 7 * 3 * 5),
    "conv2d, same": (lambda x: F.conv2d(x, x.new_ones(6, 3, 3, 3), padding="same"), (1, 3, 4, 5), 6 * 27 * 20),
    "bag with weights": (
        lambda x: F.embedding_bag(x.new_zeros(3, 2).long(), x, per_sample_weights=x.new_ones(3, 2), mode="sum"),
        (7, 4),
        3 * 2 * 4,
    ),
    "bag of sums": (lambda x: F.embedding_bag(x.new_zeros(3, 2).long(), x, mode="sum"), (7, 4), 0),
    "map": (lambda x: torch.vmap(lambda a: a @ a)(x), (3, 4, 4), 3 * 4**3),
    "grouped queries": (
        lambda x: F.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True),
        (2, 4, 10, 8),
        2 * (2 * 4 * 10 * 10 * 8),
    ),
    "resizing": (lambda x: F.interpolate(x, scale_factor=2.0, mode="bicubic", antialias=True), (1, 3, 8, 8), 0),
    "sampling": (lambda x: F.grid_sample(x, x.new_zeros(1, 8, 8, 2), align_corners=False), (1, 3, 8, 8), 0),
    "norms": (lambda x: F.local_response_norm(F.group_norm(F.layer_norm(x, [8]), 1), 2), (1, 3, 8, 8), 0),
    "pools": (lambda x: F.adaptive_max_pool2d(F.avg_pool2d(x, 2), 3), (1, 3, 8, 8), 0),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", ANYWHERE)
def test_macs_of_a_function_equal_the_closed_form(name: str, device: str) -> None:
    function, shape, macs = ANYWHERE[name]
    result = traced(function, *shape, device=device)
    assert (result.macs, result.missing_ops) == (macs, [])


def _packed_int4(x: Tensor) -> Tensor:
    weights = torch._convert_weight_to_int4pack_for_cpu(torch.zeros(32, 64, dtype=torch.int32), 1)
    return torch._weight_int4pack_mm_for_cpu(x.to(BF16), weights, 32, torch.zeros(2, 32, 2, dtype=BF16))


def _grouped_mm(x: Tensor) -> Tensor:
    ends = torch.tensor([16, 32], dtype=torch.int32)
    return torch._grouped_mm(x.to(BF16), x.to(BF16).expand(2, 32, 32).contiguous(), offs=ends)


def _flex(x: Tensor) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    return flex_attention(x, x, x)


def _branch(x: Tensor) -> Tensor:
    return torch.cond(x.sum() > 0, lambda a: a @ a, lambda a: a + 1, (x,))


def _loop(x: Tensor) -> Any:
    from torch._higher_order_ops import while_loop

    return while_loop(lambda i, a: i < 3, lambda i, a: (i + 1, a @ a), (torch.tensor(0), x))


# Those that need the CPU: kernels without shapes alone, sparse and packed weights, branches that depend on values.
ON_CPU: dict[str, tuple[Function, tuple[int, ...], int]] = {
    "int4": (_packed_int4, (16, 64), 16 * 64 * 32),
    "grouped": (_grouped_mm, (32, 32), 32 * 32 * 32),
    "conv of a kernel": (
        lambda x: torch._C._nn.thnn_conv2d(x, x.new_ones(6, 3, 3, 3), [3, 3], None, [1, 1], [0, 0]),
        (1, 3, 5, 6),
        6 * 27 * 3 * 4,
    ),
    "conv of another": (
        lambda x: torch._C._nn.slow_conv_dilated2d(x, x.new_ones(6, 3, 3, 3), [3, 3], None, [1, 1], [0, 0], [1, 1]),
        (1, 3, 5, 6),
        6 * 27 * 3 * 4,
    ),
    "conv of a third": (
        lambda x: torch._C._nn.slow_conv3d(x, x.new_ones(6, 3, 2, 2, 2), [2, 2, 2], None, [1, 1, 1], [0, 0, 0]),
        (1, 3, 3, 4, 5),
        6 * 24 * 2 * 3 * 4,
    ),
    "transposed": (
        lambda x: torch._C._nn.slow_conv_transpose2d(x, x.new_ones(3, 6, 2, 2), [2, 2], None, [2, 2]),
        (1, 3, 5, 6),
        3 * 6 * 4 * 30,
    ),
    "mkldnn": (
        lambda x: torch.mkldnn_convolution(x, x.new_ones(6, 3, 3, 3), None, [0, 0], [1, 1], [1, 1], 1),
        (1, 3, 5, 6),
        6 * 27 * 12,
    ),
    "sparse": (lambda x: torch.sparse.mm(x.tril().to_sparse(), x), (4, 4), 10 * 4),
    "dense by sparse": (lambda x: x @ x.tril().to_sparse(), (4, 4), 10 * 4),
    "sparse by vector": (lambda x: x.tril().to_sparse() @ x[0], (4, 4), 10),
    "flex attention": (_flex, (2, 4, 16, 16), 2 * (2 * 4 * 16 * 16 * 16)),
    "a branch": (_branch, (4, 4), 4**3),
    "a loop": (_loop, (4, 4), 3 * 4**3),
}


@pytest.mark.filterwarnings("ignore:Sparse .* tensor support is in beta:UserWarning")
@pytest.mark.parametrize("name", ON_CPU)
def test_macs_of_a_kernel_equal_the_closed_form(name: str) -> None:
    function, shape, macs = ON_CPU[name]
    result = traced(function, *shape)
    assert (result.macs, result.missing_ops) == (macs, [])


def test_macs_of_deformable_convolutions_equal_the_closed_form() -> None:
    ops = pytest.importorskip("torchvision.ops")

    def run(x: Tensor) -> Tensor:
        return ops.deform_conv2d(
            x, x.new_zeros(1, 36, 5, 6), x.new_ones(8, 2, 3, 3), padding=1, mask=x.new_ones(1, 18, 5, 6)
        )

    for device in ("cpu", "meta"):
        assert traced(run, 1, 4, 5, 6, device=device).macs == 8 * 2 * 9 * 5 * 6


class First(nn.Module):
    """What a recurrent layer returns first."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("dtype", [torch.qint8, torch.float16])
@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Sequential(nn.Linear(16, 8)), (3, 4, 16), 3 * 4 * 16 * 8),
        (First(nn.LSTM(16, 8, 2, bidirectional=True)), (5, 3, 16), 5 * 3 * 2 * 4 * 8 * (16 + 8 + 16 + 8)),
        (First(nn.GRU(16, 8)), (5, 3, 16), 5 * 3 * 3 * 8 * (16 + 8)),
        (First(nn.LSTMCell(16, 8)), (3, 16), 3 * 4 * 8 * (16 + 8)),
        (nn.Sequential(nn.GRUCell(16, 8)), (3, 16), 3 * 3 * 8 * (16 + 8)),
        (nn.Sequential(nn.RNNCell(16, 8)), (3, 16), 3 * 8 * (16 + 8)),
    ],
    ids=str,
)
def test_macs_of_a_quantized_layer_equal_the_closed_form(layer, shape, macs: int, dtype) -> None:
    kinds = {nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.GRUCell, nn.RNNCell}
    quantized = torch.ao.quantization.quantize_dynamic(layer, kinds, dtype=dtype)
    with torch.backends.mkldnn.flags(enabled=False):
        result = trace(quantized, torch.ones(shape))
    assert (result.macs, result.missing_ops) == (macs, [])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_macs_of_quantized_convolutions_equal_the_closed_form() -> None:
    import torch.ao.nn.quantized as quantized

    layers = [
        (quantized.Conv1d(4, 8, 3, groups=2), (1, 4, 10), 8 * 2 * 3 * 8),
        (quantized.Conv2d(4, 8, 3, groups=2), (2, 4, 8, 8), 2 * 8 * 2 * 9 * 36),
        (quantized.ConvTranspose2d(4, 8, 2, stride=2), (1, 4, 6, 6), 4 * 8 * 4 * 36),
        (quantized.dynamic.Conv2d(4, 8, 3), (1, 4, 8, 8), 8 * 4 * 9 * 36),
    ]
    for layer, shape, macs in layers:
        dynamic = "dynamic" in type(layer).__module__
        packed = (lambda x: x) if dynamic else (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8))
        assert traced(lambda x, layer=layer, packed=packed: layer(packed(x)), *shape).macs == macs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "make",
    [torch.jit.script, lambda net: torch.jit.freeze(torch.jit.script(net)), torch.compile],
    ids=["scripted", "frozen", "compiled"],
)
def test_parts_that_are_scripted_or_compiled_are_counted_at_every_pass(make) -> None:
    network = nn.Sequential(make(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)).eval()))
    macs = 4 * 27 * 36 + 3 * 36 * 16
    assert [trace(network, torch.ones(1, 3, 8, 8)).macs for _ in range(3)] == [macs] * 3


@torch.library.custom_op("zoo_bench_tests::product", mutates_args=())
def custom_product(a: Tensor, b: Tensor) -> Tensor:
    """Return a product that the dispatcher does not see."""
    return a @ b


@custom_product.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), ["aten._fft_c2c", "aten._fft_c2r", "aten._fft_r2c"]),
        (lambda x: torch.linalg.inv(x + torch.eye(4)), ["aten.linalg_inv_ex"]),
        (lambda x: torch.linalg.svd(x)[0], ["aten._linalg_svd"]),
        (lambda x: custom_product(x, x), ["zoo_bench_tests.product"]),
        (lambda x: torch.from_numpy(x.numpy() @ x.numpy()), ["Tensor.numpy"]),
    ],
)
def test_what_multiplies_without_a_formula_is_named(function: Function, names: list[str]) -> None:
    missing = traced(function, 4, 4).missing_ops
    assert missing
    assert set(missing) <= set(names)


def test_a_formula_that_a_user_registers_counts() -> None:
    from torch.utils.flop_counter import flop_registry, register_flop_formula

    packet = torch.ops.zoo_bench_tests.product
    try:
        register_flop_formula(packet)(lambda a, b, **_: 2 * a[0] * a[1] * b[1])
        result = traced(lambda x: custom_product(x, x), 4, 4)
    finally:
        flop_registry.pop(packet, None)
    assert (result.macs, result.missing_ops) == (64, [])


def test_torchs_operators_are_told_by_the_words_of_their_names() -> None:
    """Those of this torch that neither work element by element nor are made of others, by name."""
    schemas = torch._C._jit_get_all_schemas()
    plain = {schema.name.removeprefix("aten::") for schema in schemas if schema.name.startswith("aten::")}
    judged = {name for name in plain if hasattr(torch.ops.aten, name) and may_multiply(getattr(torch.ops.aten, name))}
    assert judged >= {"mm", "_scaled_mm", "cholesky_solve", "linalg_lu", "_fft_r2c", "conv_depthwise3d", "ormqr"}
    assert judged >= {"_native_multi_head_attention", "sparse_sampled_addmm", "cudnn_convolution", "_cudnn_rnn"}
    harmless = {"upsample_bilinear2d", "_upsample_bicubic2d_aa", "upsample_trilinear3d", "linalg_vector_norm", "cummax"}
    harmless |= {"_convert_weight_to_int4pack", "im2col", "grid_sampler_2d", "native_batch_norm", "avg_pool2d", "cat"}
    harmless |= {"hamming_window", "resolve_conj", "index_add", "_linalg_check_errors", "logcumsumexp", "roll", "gelu"}
    assert not judged & harmless


class Spectral(nn.Module):
    """A convolution between a transform and its inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        mixed = self.conv(torch.cat([spectrum.real, spectrum.imag], 1))
        return torch.fft.irfft2(torch.complex(*mixed.chunk(2, 1)), s=x.shape[-2:])


@pytest.fixture
def spectral(monkeypatch):
    """Register a network of transforms."""
    from zoo.card import MODELS

    list_models()
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))

    @register_model(task="denoise_rgb")
    def spectral() -> nn.Module:
        return Spectral()


def test_an_incomplete_count_says_so_wherever_it_stands(zoo_bench, spectral) -> None:
    command = ("profile", "spectral", "--size", "8x8", "--layers", "--audit")
    document = json.loads(zoo_bench(*command, "--json").out)
    assert document["macs"] == 36 * 8 * 5
    assert document["incomplete"]
    assert all(name.startswith("aten._fft") for name in document["incomplete"])
    marked = {layer["layer"]: "incomplete" in layer for layer in document["layers"]}
    assert marked == {"conv": False, "Spectral": True}
    text = zoo_bench(*command).out
    for line in (" MACs ", "FLOPs (2 per MAC)", "zoo-bench ", "Spectral"):
        assert all("incomplete" in row for row in text.splitlines() if row.strip().startswith(line.strip() + " ")), line
    assert "the same" not in text


def test_an_incomplete_count_is_marked_in_tables_and_never_the_best() -> None:
    from benchmark.costs.profiling import count_costs
    from tests.sample_records import make_record

    network = Spectral().to("meta")
    costs = count_costs(network, trace(network, torch.ones(1, 3, 8, 8, device="meta")))
    assert costs["macs"].is_incomplete
    assert not costs["params"].is_incomplete
    row = Row(make_record("spectral", measurements=costs))
    cells = Cells([row], columns_of([row], COSTS[:2]))
    assert re.fullmatch(r"[\d.]+ incomplete‡1", cells.texts(0)[1])
    assert cells.footnotes.lines()[0].startswith("‡1: incomplete: without aten._fft_")
    assert row.fair_value("macs") is None
    assert row.fair_value("params") == 42
