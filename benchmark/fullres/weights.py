"""The weights of a network, and what its operators make only of them, which is kept for the next images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.fullres.rows.graph import Node
from benchmark.fullres.rows.listing import tensors_of
from benchmark.fullres.rows.whole import evaluate


class Weights:
    """Tensors that do not depend on the image; what is made of weights is kept until they change."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Free everything that was made of weights; it is made again when it is needed."""
        self._tensors: dict[str, Tensor] = {}
        # What the tensors looked like when something was made of them.
        self._versions: dict[str, int] = {}
        # The same for all tensors of the module, in the order of its parts: cheaper to find than names.
        self._looks: list[tuple[int, int]] = []
        self._made: dict[Node, Any] = {}
        # The same in the memory layout for the rules.
        self._laid_out: dict[Node, Any] = {}
        self._names: dict[Node, frozenset[str]] = {}

    def use(self, module: nn.Module) -> None:
        """Take the weights of ``module`` from now on, and forget what was made of those that changed."""
        looks = [(id(tensor), _version(tensor)) for tensor in _tensors_in(module)]
        if looks == self._looks:
            return
        self._looks = looks
        tensors = tensors_of(module)
        versions = {name: _version(tensor) for name, tensor in tensors.items()}
        known = self._tensors
        same = {name for name in tensors if tensors[name] is known.get(name) and versions[name] == self._versions[name]}
        for kept in (self._made, self._laid_out):
            for node in [node for node in kept if not self._names_of(node) <= same]:
                del kept[node]
        self._tensors, self._versions = tensors, versions

    def whole(self, value: Any) -> Any:
        """Return a weight, or a tensor made of weights, channels last; any other value is returned unchanged."""
        if not isinstance(value, Node):
            return value
        if value not in self._laid_out:
            self._laid_out[value] = laid_out(self._own(value))
        return self._laid_out[value]

    def _own(self, value: Any) -> Any:
        """Return a weight in its own layout; a tensor made of weights is computed once."""
        if not isinstance(value, Node):
            return value
        if value.op == "weight":
            return self._tensors[value.args[0]]
        if value.op == "constant":
            return value.args[0]
        if value not in self._made:
            self._made[value] = evaluate(value, self._own)
        return self._made[value]

    def _names_of(self, node: Node) -> frozenset[str]:
        """Return the names of the weights that a node is made of."""
        if node not in self._names:
            own = {node.args[0]} if node.op == "weight" else set[str]()
            self._names[node] = frozenset(own.union(*(self._names_of(source) for source in node.inputs)))
        return self._names[node]


def _tensors_in(module: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors of a module and its parts; shared ones more than once."""
    for tensors in (module._parameters, module._buffers):
        yield from (tensor for tensor in tensors.values() if tensor is not None)
    for part in module._modules.values():
        if part is not None:
            yield from _tensors_in(part)


def laid_out(value: Any) -> Any:
    """Return an image channels last; a plane of one value shares one element in memory, and is not copied."""
    if not isinstance(value, Tensor) or value.is_mkldnn or value.dim() != 4 or 0 in value.stride():
        return value
    return value.contiguous(memory_format=torch.channels_last)


def _version(tensor: Tensor) -> int:
    # Tensors made in inference mode do not count their changes, and are not changed in place.
    return -1 if tensor.is_inference() else tensor._version
