"""Run one of the operators of a network on whole tensors, whatever their memory layout is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.joined import JOINED, PACKED, convolve, pack

aten = torch.ops.aten
# In the network itself tensors may have another memory layout, in which a view is possible.
_RESHAPES = {aten.view.default, aten._unsafe_view.default, aten._reshape_alias.default}
# Their results are made of the bytes of neighbouring elements.
_OF_NEIGHBOURS = {aten.view.dtype, aten.view_as_complex.default, aten.view_as_real.default}


def evaluate(node: Node, value_of: Callable[[Any], Any]) -> Any:
    """Return what the operator of ``node`` returns; ``value_of`` gives the tensor of a node among its arguments."""
    if node.op == "empty":
        return torch.empty(node.shape or (), dtype=node.dtype)
    args = [_resolved(value, value_of) for value in node.args]
    kwargs = {name: _resolved(value, value_of) for name, value in node.kwargs.items()}
    if node.op == "norm":
        x, weight, bias, mean, var, eps = args
        return torch.native_batch_norm(x, weight, bias, mean, var, False, 0.0, eps)[0]
    if node.op == PACKED:
        return pack(*args)
    if node.op == JOINED:
        return convolve(*args)
    if node.op == "assemble":
        return _assembled(node, args)
    if node.op in _RESHAPES:
        return args[0].reshape(args[1])
    if node.op in _OF_NEIGHBOURS:
        return node.op(args[0].contiguous(), *args[1:], **kwargs)
    result = node.op(*args, **kwargs)
    return result[0] if isinstance(result, tuple) and node.shape is not None else result


def _resolved(value: Any, value_of: Callable[[Any], Any]) -> Any:
    """Return an argument with tensors in place of nodes; torch's walk through trees takes longer than an operator."""
    if isinstance(value, (list, tuple)):
        return [_resolved(item, value_of) for item in value]
    return value_of(value)


def _assembled(node: Node, args: Any) -> Tensor:
    base, writes = args
    target = torch.empty(node.shape or (), dtype=node.dtype) if base is None else base.clone()
    for source, region in writes:
        index = [slice(None)] * target.ndim
        for dim, start, stop, step in region:
            index[dim] = slice(start, stop, step)
        target[tuple(index)] = source
    return target
