"""A network at one input shape as a list of operators without side effects, found by running it without data.

In-place operators become ordinary ones (functionalisation), so each value is written once; who may overwrite what is
decided afterwards, by the plan. A 12 MP image costs seconds and no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from zoo.errors import UserError


@dataclass(frozen=True)
class Captured:
    """ATen operators of one forward pass; placeholders are ``weights`` by name, then the input."""

    graph: fx.GraphModule
    weights: tuple[str, ...]


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, shared ones once."""
    return dict([*module.named_parameters(), *module.named_buffers()])


def capture(module: nn.Module, shape: Sequence[int]) -> Captured:
    """Capture ``module`` in evaluation mode, without gradients, for one float32 input of ``shape``.

    Raises UserError where the pass depends on the values of tensors or does not return one tensor; what the module
    itself raises for the shape goes through.
    """
    tensors = tensors_of(module)

    def forward(values: list[Tensor], x: Tensor) -> Tensor:
        output = torch.func.functional_call(module, dict(zip(tensors, values)), (x,))
        if not isinstance(output, Tensor):
            raise UserError(f"banded: the network returned {type(output).__name__}; expected one tensor.")
        return output

    was_training = module.training
    module.eval()
    try:
        # In inference mode composite operators would stay whole and in place.
        with torch.inference_mode(False), torch.no_grad():
            # Memory that is never touched is never given: this input takes none.
            planes = torch.empty(tuple(shape))
            graph = make_fx(torch.func.functionalize(forward), tracing_mode="fake")(list(tensors.values()), planes)
    except (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode) as error:
        raise UserError(
            "banded: the network looks at the values of its tensors, so its operators cannot be listed beforehand."
            " Run it on the whole image (--tile off)."
        ) from error
    finally:
        module.train(was_training)
    graph.graph.eliminate_dead_code()
    return Captured(graph=graph, weights=tuple(tensors))
