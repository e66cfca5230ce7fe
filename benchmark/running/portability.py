"""What other engines and phones are known to refuse or to emulate of a network: tried here, or read in documentation.

A rule is written down only with the page that states it. A kind of operation of which no page that was read says
anything is listed as not checked, unless the target was tried. "Refused" is what an accelerator leaves to a processor,
or XNNPACK to ExecuTorch's portable kernels; how much time that costs is for `profile --measure` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from benchmark.backends import ENGINES, Pass, is_installed, named
from benchmark.backends.agreement import Agreement
from benchmark.running.exporting import Graph, captured, noise, open_shape, subject_of, whole_graph
from benchmark.running.inputs import Levels
from benchmark.selection import jsonable_options
from zoo.errors import UserError, in_one_line

REFUSED, EMULATED, NOT_CHECKED = "refused", "emulated", "not checked"


@dataclass(frozen=True)
class Source:
    """A page of documentation."""

    title: str
    address: str


_EXECUTORCH = "https://github.com/pytorch/executorch/blob/main/backends/xnnpack/partition/config"
_GEMM = Source("ExecuTorch, XNNPACK partitioner: convolutions and products", f"{_EXECUTORCH}/gemm_configs.py")
_GENERIC = Source("ExecuTorch, XNNPACK partitioner: other operators", f"{_EXECUTORCH}/generic_node_configs.py")
_ALL = Source("ExecuTorch, XNNPACK partitioner: list of operators", f"{_EXECUTORCH}/__init__.py")
_NNAPI = Source(
    "ONNX Runtime, NNAPI execution provider: supported operators",
    "https://onnxruntime.ai/docs/execution-providers/NNAPI-ExecutionProvider.html",
)
_USABILITY = Source(
    "ONNX Runtime, check of a model's usability on a phone",
    "https://github.com/microsoft/onnxruntime/blob/main/tools/python/util/mobile_helpers/usability_checker.py",
)
_ON_CPU = "is not in the list of the provider, so it runs on the CPU"

# By target and kind of operation: the effect, what the documentation says, the page.
RULES: dict[tuple[str, str], tuple[str, str, Source]] = {
    ("executorch", "computed filters"): (REFUSED, "XNNPACK takes only weights that are constants", _GEMM),
    ("executorch", "InstanceNorm"): (REFUSED, "XNNPACK has BatchNorm only, so portable kernels run it", _ALL),
    ("executorch", "PixelShuffle"): (EMULATED, "becomes two reshapes and a transposition of rank 6", _ALL),
    ("executorch", "resize: nearest"): (REFUSED, "XNNPACK resizes only bilinearly", _ALL),
    ("executorch", "resize: bicubic"): (REFUSED, "XNNPACK resizes only bilinearly", _ALL),
    ("executorch", "maxima over an axis"): (REFUSED, "XNNPACK does not have them", _ALL),
    ("executorch", "dynamic sizes"): (REFUSED, "XNNPACK does not take resizes and reshapes to an open size", _GENERIC),
    ("nnapi", "computed filters"): (REFUSED, "weights and bias of Conv should be constant", _NNAPI),
    ("nnapi", "InstanceNorm"): (REFUSED, f"InstanceNormalization {_ON_CPU}", _NNAPI),
    ("nnapi", "PixelShuffle"): (REFUSED, "DepthToSpace is supported only in DCR mode, and PyTorch's is CRD", _NNAPI),
    ("nnapi", "GELU"): (REFUSED, f"Gelu {_ON_CPU}", _NNAPI),
    ("nnapi", "maxima over an axis"): (REFUSED, f"ReduceMax {_ON_CPU}", _NNAPI),
    ("nnapi", "dynamic sizes"): (REFUSED, "NNAPI does not support values of open size", _USABILITY),
}
# What the documentation was read for, and found nothing against.
_FINE = {("nnapi", kind) for kind in ("PReLU", "resize: nearest", "resize: bilinear")}
_FINE |= {("executorch", kind) for kind in ("PReLU", "resize: bilinear", "GELU", "tensors of rank over 4")}
# In print; the engines among them are tried here if they are installed.
TARGETS = {
    "executorch": "ExecuTorch/XNNPACK",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "nnapi": "NNAPI by ONNX Runtime",
    "litert-gpu": "LiteRT GPU",
}


def _named(*names: str) -> Callable[[Node], bool]:
    return lambda node: str(getattr(node.target, "overloadpacket", "")).removeprefix("aten.") in names


KINDS: dict[str, Callable[[Node], bool]] = {
    "tensors of rank over 4": lambda node: isinstance(value := node.meta.get("val"), Tensor) and value.ndim > 4,
    "PixelShuffle": _named("pixel_shuffle"),
    "InstanceNorm": _named("instance_norm"),
    "PReLU": _named("prelu"),
    "GELU": _named("gelu"),
    "maxima over an axis": _named("amax", "adaptive_max_pool2d"),
    "resize: nearest": _named("upsample_nearest2d", "_upsample_nearest_exact2d"),
    "resize: bilinear": _named("upsample_bilinear2d"),
    "resize: bicubic": _named("upsample_bicubic2d"),
}


def kinds_of(program: ExportedProgram, prefix: str = "") -> dict[str, list[str]]:
    """Return the kinds of operations in a captured network that targets treat differently, with their layers' names."""
    from benchmark.backends.capture import layer_of

    inputs = set(program.graph_signature.user_inputs)
    depends: set[Node] = set()
    found: dict[str, dict[str, None]] = {}
    for node in program.graph.nodes:
        if node.name in inputs or depends.intersection(node.all_input_nodes):
            depends.add(node)
        if node.op != "call_function":
            continue
        kinds = [kind for kind, matches in KINDS.items() if matches(node)]
        if "conv" in str(node.target) and node.args[1] in depends:
            kinds.append("computed filters")
        for kind in kinds:
            found.setdefault(kind, {})[layer_of(node, prefix)] = None
    sizes = [size for node in program.graph.nodes if node.name in inputs for size in node.meta["val"].shape]
    if not all(isinstance(size, int) for size in sizes):
        found["dynamic sizes"] = {"": None}
    return {kind: list(layers) for kind, layers in found.items()}


def portability(
    model: str,
    *,
    size: tuple[int, int] | str | None = None,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    dynamic: bool = False,
    freeze: str | Path | None = None,
    levels: Levels | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return what ``zoo-bench export --report --json`` prints; no file is written. Arguments are those of ``export``.

    Each target has ``tried`` (None: not tried, and ``why`` says so) and ``findings``: an operation, its layers, the
    effect (refused, emulated, not checked), the reason, its source, and whether it was ``tried`` here or read.
    """
    subject = subject_of(model, size, options, weights, freeze, levels, seed)
    entry, spec = subject.entry, subject.spec
    shape = open_shape(subject.shape, spec, bounded=True) if dynamic else subject.shape
    with torch.inference_mode(False), torch.no_grad():
        graph = whole_graph(subject, Path(), noise(shape, spec, seed), dynamic)
        program = captured(graph, entry, spec, shape)
        kinds = kinds_of(program, graph.wrapped)
        targets = [_target(name, graph, program, kinds) for name in TARGETS]
    return {
        "model": entry.card.name,
        "options": jsonable_options(entry.options),
        "input_shape": list(graph.inputs["planes"].shape),
        "dynamic": dynamic,
        "frozen": None if freeze is None else str(freeze),
        "operations": kinds,
        "targets": targets,
    }


def _target(name: str, graph: Graph, program: ExportedProgram, kinds: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    tried, why = None, None
    findings: list[dict[str, Any]] = []
    if name not in ENGINES:
        why = "it does not run here"
    elif not is_installed(name):
        why = f"it is not installed; run: pip install 'zoo-bench[{ENGINES[name].extra}]'"
    else:
        tried, findings = _try(name, graph, program)
    for kind, layers in kinds.items():
        effect, reason, source = RULES.get((name, kind), (NOT_CHECKED, "no page that was read says", None))
        # Of an engine that was tried, what it did counts.
        if source is not None or (tried is None and (name, kind) not in _FINE):
            cited = None if source is None else asdict(source)
            findings.append(
                {"operation": kind, "layers": list(layers), "effect": effect, "reason": reason}
                | {"source": cited, "tried": False}
            )
    return {"target": name, "name": TARGETS[name], "tried": tried, "why": why, "findings": findings}


def _try(name: str, graph: Graph, program: ExportedProgram) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how the engine runs the network here, and what it leaves to slower kernels as far as it says so."""
    planes, threads = graph.inputs["planes"], torch.get_num_threads()
    findings: list[dict[str, Any]] = []
    tried: dict[str, Any] = {"engine": named(name), "runs": False, "relative_error": None, "message": None}
    try:
        if name == "executorch":
            run, findings = _on_executorch(graph, program, threads)
        else:
            run = ENGINES[name].compile_program(program, [planes], threads, "fp32")
        (output,) = run([planes])
    except MemoryError:
        raise
    except Exception as error:
        message = str(error) if isinstance(error, UserError) else in_one_line(error, 300)
        return tried | {"message": message}, findings
    expected = graph.module(planes)
    found = Agreement(list(planes.shape), float((output - expected).abs().max()), float(expected.abs().max()))
    return tried | {"runs": True, "relative_error": found.relative_error}, findings


def _on_executorch(graph: Graph, program: ExportedProgram, threads: int) -> tuple[Pass, list[dict[str, Any]]]:
    from benchmark.backends.executorch import lower, pass_of, to_pte
    from benchmark.backends.placement import placement_of

    lowered = lower(program)
    findings = [
        {"operation": one["operation"], "layers": one["layers"], "effect": REFUSED}
        | {"reason": f"a portable kernel runs it: {one['reason']}", "source": None, "tried": True}
        for one in placement_of(lowered, graph.wrapped)["portable_operators"]
    ]
    return pass_of(to_pte(lowered), threads), findings
