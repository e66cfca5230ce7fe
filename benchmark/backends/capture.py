"""Capture a network as a graph of operations for engines and exports: torch.export, with errors in one line."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from zoo.errors import EngineError, UserError, in_one_line, shortened

_ADAPTIVE_MAX = torch.ops.aten.adaptive_max_pool2d.default


def capture(network: nn.Module, inputs: Sequence[Tensor], *, dynamic_shapes: Any = None) -> ExportedProgram:
    """Return the graph of ``network`` for inputs of these shapes, which fix every size in it.

    ``dynamic_shapes`` (as in torch.export) leave some sizes open. Raises EngineError for a network whose Python code
    depends on values, and ValueError and UserError if the network itself raises them.
    """
    if isinstance(network, torch.jit.ScriptModule):
        raise EngineError("the network cannot be captured as a graph: it is a TorchScript module.")
    # If the graph were captured in inference mode, its tensors could not be read again.
    with torch.inference_mode(False), torch.no_grad(), quiet():
        arguments = tuple(torch.empty_like(tensor).copy_(tensor) for tensor in inputs)
        try:
            program = torch.export.export(network, arguments, strict=False, dynamic_shapes=dynamic_shapes)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            # This is the network's own ValueError; those of torch are of derived classes.
            if type(error) is ValueError:
                raise
            raise EngineError(f"the network cannot be captured as a graph: {in_one_line(error, 300)}") from error
        pools = [node for node in program.graph.nodes if node.target == _ADAPTIVE_MAX]
        # If the indices are used, the operation is not replaced.
        if pools and not any(part.args[1] == 1 and part.users for pool in pools for part in pool.users):
            program = program.run_decompositions({_ADAPTIVE_MAX: _adaptive_max_pool2d})
        return program


def layer_of(node: Node, prefix: str = "") -> str:
    """Return the name, below ``prefix``, of the layer that a node of a graph comes from; "" for the network itself."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]).removeprefix(prefix).lstrip(".") if stack else ""


def _adaptive_max_pool2d(x: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pool by slices, which every engine supports, with the same cells as torch. The indices are empty."""

    def cells(length: int, parts: int) -> list[tuple[int, int]]:
        return [(part * length // parts, -(-(part + 1) * length // parts)) for part in range(parts)]

    columns = cells(x.shape[-1], size[-1])
    rows = [
        torch.cat([x[..., top:bottom, left:right].amax((-2, -1), keepdim=True) for left, right in columns], dim=-1)
        for top, bottom in cells(x.shape[-2], size[0])
    ]
    return torch.cat(rows, dim=-2), x.new_empty(0)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the warnings and log lines that converters write about their internals."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def conversion_error(error: BaseException, target: str) -> EngineError:
    """Return a converter's failure as one line that names the operations that ``target`` does not have."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    reason = texts[-1].partition("\n")[0]
    if failed := re.search(r"running the '(\w+)' pass", texts[0]):
        # The operation that such an error names is only the one at which the converter noticed its own mistake.
        return EngineError(
            f"{target} cannot convert the network: its pass {failed[1]} fails ({shortened(reason, 200)})."
        )
    names = re.findall(r"\b(?:aten|prims)[.:]+\w+|\b[a-z_]\w*::\w+", " ".join(reversed(texts)))
    operations = list(dict.fromkeys(name.replace("::", ".") for name in names))
    if not operations:
        return EngineError(f"the network cannot be converted for {target}: {in_one_line(error, 300)}")
    return EngineError(f"{target} does not have the operation {operations[0]}, which this network uses.")
