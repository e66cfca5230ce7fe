"""A network at one input shape as a list of operators without side effects, found by running it without data.

In-place operators become ordinary ones (functionalisation), so each value is written once; the plan decides later which
tensors may be overwritten. A 12 MP image costs seconds and no memory. A list is used only if it describes everything
that the network does: the network is refused, with the name of the cause, for an operator that still writes in place,
draws random numbers, reads memory by its layout or is of another library, and for an attribute that the pass changes.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

from benchmark.fullres.inexact import InexactError
from benchmark.fullres.untouched import evaluating, untouched
from zoo.errors import OutputError, in_one_line
from zoo.outputs import check_output

aten = torch.ops.aten
# Libraries whose operators do what their schemas say.
_LIBRARIES = ("aten", "prims", "torchvision")
# Their results depend on the memory layout of their input, which is different in pieces.
_BY_LAYOUT = {aten.as_strided.default, aten.as_strided_scatter.default, aten.as_strided_copy.default}
# Operators of torch that work element by element, and have the tag that says so only in newer versions, or in none.
_POINTWISE = {"elu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "softplus"}


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, shared ones once."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def list_operators(module: nn.Module, shape: Sequence[int]) -> fx.GraphModule:
    """Return the ATen operators of one pass of ``module``, in evaluation mode, over a float32 input of ``shape``.

    Placeholders are the weights, in the order of ``tensors_of``, then the input. Raises InexactError with the reason if
    the operators cannot be listed or the list would not be complete, and OutputError for a network that does not return
    one image.
    """
    # These take 0.4 s, a seventh of the start of a process, and few processes list operators.
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    tensors = tensors_of(module)

    def forward(values: list[Tensor], x: Tensor) -> Tensor:
        output = torch.func.functional_call(module, dict(zip(tensors, values)), (x,))
        check_output(output)
        return output

    try:
        # In inference mode composite operators would not be split and would stay in place.
        with evaluating(module), torch.inference_mode(False), torch.no_grad(), untouched(module) as changed:
            # The system provides only memory that is used, so this input takes none.
            planes = torch.empty(tuple(shape))
            # Unregistered tensors of the network are constants.
            make = make_fx(torch.func.functionalize(forward), tracing_mode="fake", _allow_non_fake_inputs=True)
            graph = make(list(tensors.values()), planes)
    except OutputError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode) as error:
        raise InexactError("the network looks at the values of its tensors") from error
    except Exception as error:
        # A network that refuses the image raises its own error when the whole image is run.
        raise InexactError(f"its operators cannot be listed beforehand ({in_one_line(error)})") from error
    if changed:
        raise InexactError(f"a pass changes the network's attribute {changed[0]}")
    for node in graph.graph.nodes:
        _check(graph, node)
    graph.graph.eliminate_dead_code()
    return graph


def _check(graph: fx.GraphModule, node: fx.Node) -> None:
    """Raise InexactError for an entry of the list that does more than return new values, the same each time."""
    if node.op == "get_attr" and not isinstance(getattr(graph, str(node.target), None), Tensor):
        raise InexactError("the network hands a part of itself to an operator")
    if node.op != "call_function" or node.target is operator.getitem:
        return
    target: Any = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace not in _LIBRARIES:
        raise InexactError(f"{name_of(target)} is no operator on tensors that is known here")
    if target._schema.is_mutable:
        raise InexactError(f"{name_of(target)} writes in place where it cannot be followed")
    if torch.Tag.nondeterministic_seeded in target.tags:
        raise InexactError(f"{name_of(target)} draws random numbers")
    if target in _BY_LAYOUT:
        raise InexactError(f"{name_of(target)} reads memory as it lies")


def with_defaults(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None) -> tuple[Any, ...]:
    """Return the arguments by position of an operator, with the defaults of those that were left out."""
    rest = target._schema.arguments[len(args) :]
    left_out = itertools.takewhile(lambda one: not one.kwarg_only and one.name not in (kwargs or {}), rest)
    return (*args, *(one.default_value for one in left_out))


def is_pointwise(target: Any) -> bool:
    """Return whether an operator works element by element, as its tags or its name say."""
    return torch.Tag.pointwise in getattr(target, "tags", ()) or name_of(target).removesuffix("_") in _POINTWISE


def name_of(target: Any) -> str:
    """Return an operator's name as users know it."""
    if isinstance(target, str):
        return target
    name = getattr(target, "_overloadpacket", None) or getattr(target, "__name__", target)
    return str(name).removeprefix("aten.")
