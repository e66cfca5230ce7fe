"""Which operators of a program for ExecuTorch XNNPACK runs (the delegate), which run as portable kernels, and why."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from executorch.backends.xnnpack.partition.config.xnnpack_config import XNNPartitionerConfig
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import EdgeProgramManager
from executorch.exir.backend.canonical_partitioners.config_partitioner import format_target_name
from executorch.exir.dialects.edge._ops import EdgeOpOverload
from torch import Tensor
from torch.fx import Graph, Node
from torch.fx.node import map_arg

from benchmark.backends.capture import layer_of
from benchmark.counting.formulas import macs_of, operator_name

DEFINITION = (
    "multiply-accumulates as `profile` counts them, of the operators of the lowered graph at the size of the export;"
    " operators: each call of one, without those that only read shapes"
)


def placement_of(lowered: EdgeProgramManager, prefix: str = "") -> dict[str, Any]:
    """Return operators and MACs of the delegate and of the portable kernels, as ``export --json`` prints them.

    ``delegated_share`` is the delegate's part of the MACs, None if there are none. ``portable_operators`` has one entry
    for each operation and reason, with its ``layers``, whose names are those below ``prefix``. Call it before
    ``to_pte``, which replaces the operators.
    """
    program = lowered.exported_program()
    configs = XnnpackPartitioner().target_partitioner_configs
    delegated = [node for _, module in program.graph_module.named_children() for node in _operators(module)]
    portable = list(_operators(program.graph_module))
    macs = {"delegate": sum(map(_macs, delegated)), "portable": sum(map(_macs, portable))}
    groups: dict[tuple[str, str], list[Node]] = {}
    for node in portable:
        groups.setdefault((_name(node), _reason(node, program, configs)), []).append(node)
    return {
        "delegate": {"name": "XNNPACK", "operators": _counts(delegated), "macs": macs["delegate"]},
        "portable": {"operators": _counts(portable), "macs": macs["portable"]},
        "delegated_share": macs["delegate"] / total if (total := sum(macs.values())) else None,
        "portable_operators": [
            {
                "operation": name,
                "calls": len(nodes),
                "macs": sum(map(_macs, nodes)),
                "reason": reason,
                "layers": list(dict.fromkeys(layer_of(node, prefix) for node in nodes)),
            }
            for (name, reason), nodes in groups.items()
        ],
        "definition": DEFINITION,
    }


def _operators(module: Any) -> Iterator[Node]:
    graph: Graph = getattr(module, "original_module", module).graph
    for node in graph.nodes:
        if node.op == "call_function" and isinstance(node.target, EdgeOpOverload):
            yield node


def _name(node: Node) -> str:
    return operator_name(node.target._op)  # type: ignore[union-attr]


def _counts(nodes: list[Node]) -> dict[str, int]:
    counts = Counter(map(_name, nodes))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _macs(node: Node) -> int:
    operator = node.target._op  # type: ignore[union-attr]
    args: Any
    args, kwargs = map_arg((node.args, node.kwargs), lambda one: one.meta["val"])
    output = node.meta["val"]
    if operator is torch.ops.aten.linear.default:
        # Elsewhere torch splits it into parts that have formulas.
        return _at_export(output.numel() * args[0].shape[-1])
    return _at_export(macs_of(operator, args, kwargs, output) or 0)


def _at_export(count: Any) -> int:
    """Return a count that depends on open sizes at the sizes of the export."""
    return count if isinstance(count, int) else int(count.node.hint)


def _reason(node: Node, program: Any, configs: Any) -> str:
    """Return the partitioner's own words for why it left ``node`` out."""
    config = configs.get(format_target_name(node.target.__name__))  # type: ignore[union-attr]
    if config is None:
        return "XNNPACK does not have this operation"
    if not all(isinstance(one.meta["val"], Tensor) for one in node.all_input_nodes):
        return "its size is known only when it runs"
    # Each file of the partitioner keeps the reason that it gave last.
    told = [sys.modules[kind.__module__].why for kind in (type(config), XNNPartitionerConfig)]
    for why in told:
        why.reason = ""
    config.check_constraints(node, program)
    return next((str(why.reason) for why in told if why.reason), "the partitioner gives no reason")
