"""Multiply-accumulates of single operators, and which operators without a formula have some or may have some."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry

# A function of an operator's positional arguments and its output; None: not known for these arguments.
Formula = Callable[[Sequence[Any], Any], "int | None"]
_SPARSE = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}


def macs_of(operator: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> int | None:
    """Return the multiply-accumulates of one call of an operator; None if there is no formula for it.

    Formulas that torch or a user has registered with ``torch.utils.flop_counter.register_flop_formula`` are used too,
    at two operations per multiply-accumulate. Of a sparse matrix only stored elements count; masked attention counts.
    """
    formula = _FORMULAS.get(operator_name(operator))
    if formula is not None:
        return formula(args, output)
    registered = flop_registry.get(getattr(operator, "_overloadpacket", operator))
    return None if registered is None else int(registered(*args, **kwargs, out_val=output)) // 2


def has_formula(operator: Any) -> bool:
    """Return whether an operator is counted as a whole, not by the operations that it may run."""
    return operator_name(operator) in _FORMULAS or getattr(operator, "_overloadpacket", operator) in flop_registry


def operator_name(operator: Any) -> str:
    """Return an operator's name without its overload, as "aten.mm"; its in-place form has the same name."""
    return str(getattr(operator, "_overloadpacket", operator)).rstrip("_")


def may_multiply(operator: Any) -> bool:
    """Return whether an operator without a formula multiplies and accumulates, as far as its name shows.

    Torch's own operators are judged by the words of their names. An operator of another library may multiply, unless
    a tag says that it works element by element.
    """
    space, _, name = operator_name(operator).rpartition(".")
    if space not in _TORCHS:
        return torch.Tag.pointwise not in getattr(operator, "tags", ())
    words = name.split("_")
    return name in _OTHERS or (any(map(_WORD.fullmatch, words)) and not _HARMLESS.intersection(words))


_TORCHS = {"aten", "prims", "prim", "quantized", "_quantized", "mkldnn", "onednn", "mkl", "sparse", "torchvision"}
_TORCHS |= {"image", "profiler", "inductor", "export", "rngprims"}
# Matrix products, convolutions, attention, recurrent cells, transforms, decompositions and solvers, distances.
_WORD = re.compile(
    r"\w*mm|\w*mv|\w*matmul|q?conv(olution)?(\dd)?|q?linear|[bt]r?ilinear|attention|lstm|gru|rnn|fft|linalg|addr|v?dot"
    r"|(sp)?solve|cholesky|[cp]dist|euclidean|bag|ormqr|geqrf|lobpcg|transformer"
)
# By this tool's definition resizing, norms and gates are not multiply-accumulates; the others only arrange weights.
_HARMLESS = {"upsample", "norm", "cross", "powsum", "check", "thnn", "fftfreq", "rfftfreq"}
_HARMLESS |= {"convert", "reorder", "flatten", "pack", "prepack", "unpack"}
# A frozen TorchScript network computes on tensors in oneDNN's layout, which the dispatcher does not see.
_OTHERS = {"to_mkldnn"}


def dense_parts(tensor: Tensor) -> list[Tensor]:
    """Return the tensors that a sparse tensor consists of, its values first; for a dense tensor, the tensor itself.

    A tensor in a library's own layout gives none, because its parts cannot be accessed.
    """
    if tensor.layout not in _SPARSE:
        return [tensor] if tensor.layout is torch.strided else []
    if tensor.layout is torch.sparse_coo:
        return [tensor._values(), tensor._indices()]
    by_row = tensor.layout in (torch.sparse_csr, torch.sparse_bsr)
    places = (tensor.crow_indices(), tensor.col_indices()) if by_row else (tensor.ccol_indices(), tensor.row_indices())
    return [tensor.values(), *places]


def _stored(tensor: Tensor) -> int:
    """Return the number of elements that are multiplied; for a sparse tensor, only the stored elements."""
    return (dense_parts(tensor)[0] if tensor.layout in _SPARSE else tensor).numel()


def _product(first: int) -> Formula:
    """Return the formula of a product of (..., n, k) and (..., k, m) or a vector (k), arguments from ``first`` on."""

    def count(args: Sequence[Any], output: Any) -> int | None:
        a, b = args[first : first + 2]
        if b.layout in _SPARSE:
            return None if a.layout in _SPARSE else _stored(b) * a.shape[-2]
        return _stored(a) * (b.shape[-1] if b.ndim > 1 else 1)

    return count


def _inner(args: Sequence[Any], output: Any) -> int:
    """Each element returned is a sum over the last dimension of the first argument, whatever the weights' layout."""
    return output.numel() * int(args[0].shape[-1])


def _grouped(args: Sequence[Any], output: Any) -> int:
    # Two plain matrices are split along the dimension that is summed over.
    return args[0].numel() * args[1].shape[-1] if args[0].ndim == args[1].ndim == 2 else _inner(args, output)


def _convolved(planes: Tensor, weight: Tensor) -> int:
    """Each weight is used once per pixel of ``planes``: the output, or the input of a transposed convolution."""
    return weight.numel() * (planes.numel() // max(planes.shape[1 - weight.ndim], 1))


def _convolution(args: Sequence[Any], output: Any) -> int:
    return _convolved(args[0] if args[6] else output, args[1])


def _plain_convolution(args: Sequence[Any], output: Any) -> int:
    return _convolved(output[0] if isinstance(output, (tuple, list)) else output, args[1])


def _transposed_convolution(args: Sequence[Any], output: Any) -> int:
    return _convolved(args[0], args[1])


def _packed_convolution(args: Sequence[Any], output: Any) -> int:
    planes = args[0] if args[1].transpose() else output
    # One dimension is stored as two, so the weights' shape says nothing about the planes' shape.
    return int(args[1].unpack()[0].numel() * (planes.numel() // planes.shape[1]))


def _convolution_in_time(args: Sequence[Any], output: Any) -> int:
    # The input is (time, batch, channels), the weights are (kernel, in, out).
    return args[1].numel() * output.shape[0] * output.shape[1]


def _attention(args: Sequence[Any], output: Any) -> int:
    query, key, value = args[:3]
    return math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _trilinear(args: Sequence[Any], output: Any) -> int:
    """Count each term of the sum once; ``nn.Bilinear`` has samples x outputs x first inputs x second inputs."""
    shapes = []
    for tensor, new in zip(args[:3], args[3:6]):
        shape = list(tensor.shape)
        for dimension in sorted(new):
            shape.insert(dimension, 1)
        shapes.append(shape)
    return math.prod(torch.broadcast_shapes(*shapes))


def _distances(p: int) -> Formula:
    """Return the formula of distances whose exponent is argument ``p``: only squares are multiply-accumulates."""

    def count(args: Sequence[Any], output: Any) -> int | None:
        exponent = args[p] if len(args) > p else 2.0
        return _inner(args, output) if exponent == 2 else {0.0: 0, 1.0: 0, math.inf: 0}.get(exponent)

    return count


def _bag(args: Sequence[Any], output: Any) -> int:
    # Without per-sample weights, rows are only added.
    weighted = len(args) > 6 and args[6] is not None
    return args[1].numel() * args[0].shape[1] if weighted else 0


def _rnn_layer(args: Sequence[Any], output: Any) -> int:
    return args[0].shape[0] * args[0].shape[1] * (args[1].numel() + args[2].numel())


def _quantized_rnn(gates: int) -> Formula:
    def count(args: Sequence[Any], output: Any) -> int | None:
        planes, state, has_biases = args[0], args[1], args[3]
        if not isinstance(has_biases, bool):
            return None  # packed sequences
        hidden = (state if isinstance(state, Tensor) else state[0]).shape[-1]
        layers, directions = args[4], 2 if args[7] else 1
        tokens = planes.shape[0] * planes.shape[1]
        inputs = planes.shape[-1] + (layers - 1) * directions * hidden
        return tokens * directions * gates * hidden * (inputs + layers * hidden)

    return count


def _quantized_cell(gates: int) -> Formula:
    def count(args: Sequence[Any], output: Any) -> int:
        state = args[1] if isinstance(args[1], Tensor) else args[1][0]
        return int(gates * state.numel() * (args[0].shape[-1] + state.shape[-1]))

    return count


_KINDS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_TABLE: Sequence[tuple[Formula, str, str]] = (
    (_product(0), "aten", "mm bmm mv dot vdot _int_mm"),
    (_product(1), "aten", "addmm addmv addbmm baddbmm _addmm_activation _sparse_addmm"),
    (lambda args, output: output.numel(), "aten", "addr"),
    (_inner, "aten", "_scaled_mm _weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu mkldnn_linear"),
    (_inner, "aten", "_weight_int4pack_mm_with_scales_and_zeros _dyn_quant_matmul_4bit _mixed_dtypes_linear"),
    (_inner, "quantized", "matmul linear linear_relu linear_leaky_relu linear_tanh linear_dynamic linear_relu_dynamic"),
    (_inner, "quantized", "linear_dynamic_fp16 linear_relu_dynamic_fp16"),
    (_inner, "mkldnn", "_linear_pointwise"),
    (_inner, "mkl", "_mkl_linear"),
    (_grouped, "aten", "_grouped_mm _scaled_grouped_mm"),
    (_convolution, "aten", "convolution _convolution convolution_overrideable"),
    (_plain_convolution, "aten", "mkldnn_convolution _slow_conv2d_forward slow_conv3d_forward slow_conv_dilated2d"),
    (_plain_convolution, "aten", "slow_conv_dilated3d _nnpack_spatial_convolution"),
    (_plain_convolution, "torchvision", "deform_conv2d"),
    (_transposed_convolution, "aten", "slow_conv_transpose2d slow_conv_transpose3d"),
    (_packed_convolution, "quantized", " ".join(f"{kind} {kind}_relu {kind}_dynamic" for kind in _KINDS)),
    (_packed_convolution, "quantized", "conv2d_add conv2d_add_relu"),
    (_convolution_in_time, "aten", "conv_tbc"),
    (_attention, "aten", "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention"),
    (_attention, "aten", "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention"),
    (_trilinear, "aten", "_trilinear"),
    (_distances(2), "aten", "_cdist_forward"),
    (_distances(1), "aten", "_pdist_forward"),
    (lambda args, output: output.numel() * args[0].shape[-1], "aten", "affine_grid_generator"),
    (_bag, "aten", "_embedding_bag _embedding_bag_forward_only"),
    (_rnn_layer, "aten", "mkldnn_rnn_layer"),
    (_quantized_rnn(4), "aten", "quantized_lstm"),
    (_quantized_rnn(3), "aten", "quantized_gru"),
    (_quantized_cell(4), "quantized", "quantized_lstm_cell_dynamic"),
    (_quantized_cell(3), "quantized", "quantized_gru_cell_dynamic"),
    (_quantized_cell(1), "quantized", "quantized_rnn_relu_cell_dynamic quantized_rnn_tanh_cell_dynamic"),
)
_FORMULAS = {f"{space}.{name}": formula for formula, space, names in _TABLE for name in names.split()}
