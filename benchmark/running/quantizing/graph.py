"""Which layers of an ONNX network become int8, which stay in float32, and the int8 weights of those between."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper
from torch import Tensor

from benchmark.backends.onnxruntime import session_of
from benchmark.running.quantizing.method import Clipped

# Only these operations are quantised, the input and the output of each.
CONVOLUTIONS, PRODUCTS = ("Conv", "ConvTranspose"), ("MatMul", "Gemm")
HEAVY = (*CONVOLUTIONS, *PRODUCTS)


@dataclass(frozen=True)
class Layers:
    """The layers of a network by the names of their nodes: a name of weights without its end, or the node's own.

    ``predicting``: convolutions whose filters the network computes, and the operations that compute these from the last
    convolution with stored filters on; all such filters would share one scale, and their errors are in every pixel.
    ``last``: the last layers before the output. ``after``: what follows these, as the addition of the input of a
    residual network; no layer corrects their errors.
    """

    names: Mapping[str, str]
    kinds: Mapping[str, str]
    predicting: frozenset[str]
    last: frozenset[str]
    after: frozenset[str]

    def asked(self, in_float: Iterable[str]) -> set[str]:
        """Return the nodes of ``in_float``: operations by ONNX's names, such as Gemm, or layers by their names."""
        asked = set(in_float)
        return {node for node, name in self.names.items() if {name, self.kinds[node]} & asked}


def layers_of(file: Path) -> Layers:
    """Return the layers of an ONNX file in float32."""
    graph = onnx.load(str(file), load_external_data=False).graph
    stored = {one.name for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    heavy = [node for node in graph.node if node.op_type in HEAVY]
    computed = [node for node in heavy if node.op_type in CONVOLUTIONS and node.input[1] not in stored]
    predicting = _behind([node.input[1] for node in computed], makers, stop=CONVOLUTIONS)
    tail = _behind([one.name for one in graph.output], makers, stop=HEAVY)
    return Layers(
        names={node.name: _layer(node, stored) for node in heavy},
        kinds={node.name: node.op_type for node in heavy},
        predicting=_names([*computed, *(node for node in predicting if node.op_type not in CONVOLUTIONS)]),
        last=_names(node for node in tail if node.op_type in HEAVY),
        after=_names(node for node in tail if node.op_type not in HEAVY),
    )


def _behind(tensors: Sequence[str], makers: Mapping[str, NodeProto], *, stop: Sequence[str]) -> list[NodeProto]:
    """Return the nodes that ``tensors`` depend on, up to and with those of the kinds ``stop``."""
    found: dict[str, NodeProto] = {}
    waiting = list(tensors)
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in found:
            found[node.name] = node
            waiting += [] if node.op_type in stop else node.input
    return list(found.values())


def _names(nodes: Iterable[NodeProto]) -> frozenset[str]:
    return frozenset(node.name for node in nodes)


def _layer(node: NodeProto, stored: set[str]) -> str:
    return node.input[1].removesuffix(".weight") if node.input[1] in stored else str(node.name)


def round_weights(model: ModelProto, nodes: Iterable[str]) -> None:
    """Store the weights of the products among ``nodes`` in int8, one scale for each output channel.

    The products multiply in float32. Predicted filters are most of the file of a hyper-network, and this rounding is
    hardly felt, other than that of their inputs.
    """
    stored, wanted = {one.name: one for one in model.graph.initializer}, set(nodes)
    for place, node in reversed(list(enumerate(model.graph.node))):
        if node.name not in wanted or node.op_type not in PRODUCTS or node.input[1] not in stored:
            continue
        name = node.input[1]
        weights = numpy_helper.to_array(stored[name])
        transposed = any(one.name == "transB" and one.i for one in node.attribute)
        axis = weights.ndim - (2 if transposed else 1)
        others = tuple(one for one in range(weights.ndim) if one != axis)
        scale = np.maximum(np.abs(weights).max(others) / 127, np.finfo(np.float32).tiny).astype(np.float32)
        rounded = np.rint(weights / np.expand_dims(scale, others)).astype(np.int8)
        stored[name].CopyFrom(numpy_helper.from_array(rounded, name))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
        restored = f"{name}_restored"
        model.graph.node.insert(
            place,
            helper.make_node("DequantizeLinear", [name, f"{name}_scale"], [restored], f"{restored}_node", axis=axis),
        )
        node.input[1] = restored


def clipped_shares(
    source: Path, ranges: Mapping[str, tuple[float, float]], planes: Iterable[Tensor], threads: int
) -> dict[str, float]:
    """Return for each activation of ``ranges`` the share of its float32 values for ``planes`` that lies outside."""
    model = onnx.load(str(source))
    made = {name for node in model.graph.node for name in node.output}
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in ranges if name in made]
    there = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in there)
    clipped = Clipped(ranges)
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        every = Path(folder, "every.onnx")
        onnx.save(model, str(every))
        session = session_of(every, threads)
        for one in planes:
            values = dict(zip(inner, session.run(inner, {"planes": one.numpy()})))
            values |= {name: one.numpy() for name in inputs & ranges.keys()}
            for name, array in values.items():
                clipped.see(name, array)
    return clipped.shares
