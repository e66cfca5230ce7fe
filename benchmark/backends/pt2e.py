"""A network in int8 for ExecuTorch: torchao quantises the captured graph (pt2e) as XNNPACK's own quantiser says.

Weights are symmetric with one scale for each output channel; activations have one scale and one zero point for each
tensor, from the least and the largest value that were observed. No ranges are averaged.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from benchmark.backends import Pass
from benchmark.backends.capture import capture, conversion_error, quiet
from benchmark.backends.executorch import folded, lower, open_file, pass_of, shape_in, text_in, to_pte
from zoo.errors import EngineError

with quiet():
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer
    from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import QuantizationConfig, QuantizationSpec

# The least scale. With XNNPACK's usual 2 ** -12 the small weights of small networks become zeros.
_EPS = 2.0**-20
# Operations whose time int8 is for.
_CONVOLUTIONS = ("conv2d", "conv_transpose2d")
_WEIGHTED = (*_CONVOLUTIONS, "linear", "matmul", "bmm")
_RANGES = "zoo_bench.ranges"
_NOTED = "quantization_annotation"
Ranges = dict[str, tuple[float, float]]


class Observed:
    """A network captured for the shape of ``planes``, which notes the ranges of its activations when it is called.

    The operations named ``in_float`` (torch's names, such as linear) stay in float32, and so do convolutions whose
    filters the network computes. Raises EngineError for a network that cannot be captured or prepared.
    """

    def __init__(self, network: nn.Module, planes: Tensor, in_float: Sequence[str] = ()) -> None:
        self._planes = planes
        with torch.inference_mode(False), torch.no_grad(), quiet():
            program = folded(capture(network, [planes]))
            kept = _kept(program)
            quantizer = XNNPACKQuantizer().set_global(_scheme())
            quantizer.set_filter_function(lambda node: node.name not in kept and operation_of(node) not in in_float)
            try:
                self.module: GraphModule = prepare_pt2e(program.module(check_guards=False), quantizer)
            except MemoryError:
                raise
            except Exception as error:
                raise conversion_error(error, "torchao") from error
            self._observe_weights()

    def __call__(self, planes: Tensor) -> None:
        """Widen the ranges by the values that the activations take for ``planes`` (1, C, H, W)."""
        with torch.inference_mode(False), torch.no_grad():
            self.module(planes.clone())

    def forget(self) -> None:
        """Forget all values that were seen."""
        for one in self._observers().values():
            one.reset_min_max_vals()

    @property
    def ranges(self) -> Ranges:
        """Return the least and the largest value of each quantised activation, by the name of its observer."""
        return {name: (float(one.min_val), float(one.max_val)) for name, one in self._observers().items()}

    def take(self, ranges: Mapping[str, Sequence[float]]) -> None:
        """Set the ranges; raises EngineError if they are those of another graph."""
        observers = self._observers()
        if observers.keys() != ranges.keys():
            raise EngineError("its operations depend on the size of the image: the ranges of int8 are for one size.")
        for name, (low, high) in ranges.items():
            observers[name].min_val.fill_(low)
            observers[name].max_val.fill_(high)

    def quantised(self) -> ExportedProgram:
        """Return the captured network in int8, for ``lower``."""
        with torch.inference_mode(False), torch.no_grad(), quiet():
            return capture(convert_pt2e(copy.deepcopy(self.module)), [self._planes])

    def operations(self) -> list[str]:
        """Return the names of the operations that are quantised, those with weights first."""
        names = {operation_of(node) for node in self._operators() if _is_noted(node)}
        return sorted(names, key=lambda name: (name not in _WEIGHTED, name))

    def left_in_float(self) -> dict[str, int]:
        """Return how many of each operation compute in float32."""
        left = (node for node in self._operators() if not _is_noted(node))
        return dict(Counter(map(operation_of, left)).most_common())

    def watch(self, see: Callable[[str, Tensor], None]) -> None:
        """Call ``see`` with the name of each observer and the values that it gets."""
        for name, observer in self._observers().items():
            observer.register_forward_pre_hook(lambda _, values, name=name: see(name, values[0]))

    def _observers(self) -> dict[str, Any]:
        return {name: one for name, one in self.module.named_modules() if type(one) is MinMaxObserver}

    def _operators(self) -> list[Node]:
        """Return the nodes that compute tensors, without those that only look at them in another shape."""
        nodes = [node for node in self.module.graph.nodes if node.op == "call_function"]
        return [node for node in nodes if isinstance(node.meta.get("val"), Tensor) and not _is_view(node)]

    def _observe_weights(self) -> None:
        for node in self.module.graph.nodes:
            if node.op == "call_module" and node.args[0].op == "get_attr":
                folder, _, name = node.args[0].target.rpartition(".")
                weight = getattr(self.module.get_submodule(folder), name)
                self.module.get_submodule(node.target)(weight)


def ranges_text(ranges: Ranges, in_float: Sequence[str]) -> dict[str, str]:
    """Return what an int8 file says of its ranges, as an entry of its metadata."""
    return {_RANGES: json.dumps({"ranges": ranges, "in_float": list(in_float)})}


def stated_ranges(file: Path) -> tuple[Ranges, list[str]]:
    """Return the ranges that an int8 file states, and the operations that were left in float32 by name."""
    document = json.loads(text_in(file, _RANGES))
    return document["ranges"], document["in_float"]


def open_int8(network: nn.Module, file: Path, planes: Tensor, threads: int) -> Pass:
    """Return a pass in int8 for the shape of ``planes``: that of ``file`` or, for another shape, made of its ranges.

    Raises EngineError for a network whose operations depend on the size, and UserError as ``open_file`` does.
    """
    if shape_in(file) == list(planes.shape):
        return open_file(file, [planes.shape], threads)
    ranges, in_float = stated_ranges(file)
    observed = Observed(network, planes, in_float)
    observed.take(ranges)
    return pass_of(to_pte(lower(observed.quantised())), threads)


def operation_of(node: Node) -> str:
    """Return torch's name of a node's operation: conv2d."""
    return str(getattr(node.target, "overloadpacket", node.target)).removeprefix("aten.")


def _scheme() -> QuantizationConfig:
    ranged = MinMaxObserver.with_args(eps=_EPS)
    activation = QuantizationSpec(
        torch.int8, ranged, quant_min=-128, quant_max=127, qscheme=torch.per_tensor_affine, is_dynamic=False
    )
    per_channel = PerChannelMinMaxObserver.with_args(eps=_EPS)
    weight = QuantizationSpec(
        torch.int8, per_channel, quant_min=-127, quant_max=127, qscheme=torch.per_channel_symmetric, ch_axis=0
    )
    return QuantizationConfig(activation, activation, weight, None)


def _kept(program: ExportedProgram) -> set[str]:
    """Return the names of the nodes that stay in float32 in any case.

    They are convolutions whose filters the network computes, what predicts these filters, the last layers, and what
    follows them: errors of filters are in every pixel, and no layer corrects those of the end.
    """
    nodes = list(program.graph.nodes)
    inputs, depends = set(program.graph_signature.user_inputs), set[Node]()
    for node in nodes:
        if node.name in inputs or depends.intersection(node.all_input_nodes):
            depends.add(node)
    computed = [node for node in nodes if operation_of(node) in _CONVOLUTIONS and node.args[1] in depends]
    predicting = _behind([node.args[1] for node in computed], _CONVOLUTIONS) - {*_named(nodes, _CONVOLUTIONS)}
    return {node.name for node in (*computed, *predicting, *_behind(nodes[-1].all_input_nodes, _WEIGHTED))}


def _behind(waiting: Sequence[Any], stop: Sequence[str]) -> set[Node]:
    """Return the nodes from which ``waiting`` follow, back to the operations ``stop`` and with these."""
    found, waiting = set[Node](), list(waiting)
    while waiting:
        node = waiting.pop()
        if node not in found and node.op == "call_function":
            found.add(node)
            waiting += [] if operation_of(node) in stop else node.all_input_nodes
    return found


def _named(nodes: Sequence[Node], names: Sequence[str]) -> list[Node]:
    return [node for node in nodes if operation_of(node) in names]


def _is_noted(node: Node) -> bool:
    return _NOTED in node.meta and bool(node.meta[_NOTED]._annotated)


def _is_view(node: Node) -> bool:
    return operation_of(node) in ("view", "reshape", "permute", "transpose", "slice", "select", "unsqueeze", "squeeze")
