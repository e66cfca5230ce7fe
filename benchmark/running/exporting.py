"""Export a model as ONNX files with a description of themselves, and compare them with torch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from benchmark.backends import ENGINES, require
from benchmark.backends.agreement import TOLERANCE, Agreement, agreement
from benchmark.costs.profiling import size_for
from benchmark.replacing import refuse_inputs
from benchmark.running.inputs import Levels, read_input
from benchmark.selection import Entry, entry_of, jsonable_options
from benchmark.units import shape_text
from zoo.convention import InputSpec
from zoo.errors import EngineError, UserError, with_place
from zoo.raw import pad_planes, padded_size
from zoo.splitting import FrozenNetwork, Halves, split

NETWORK, FORWARD, FILTERS = "network", "forward", "filters"


@dataclass(frozen=True)
class Graph:
    """A file to write: the part of the model that it holds, the module, its named inputs, and its output names."""

    role: str
    file: Path
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    # Whether its input planes may have any size that the network takes.
    dynamic: bool


def export(
    model: str,
    file: str | Path,
    *,
    size: tuple[int, int] | str | None = None,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    opset: int | None = None,
    dynamic: bool = False,
    freeze: str | Path | None = None,
    levels: Levels | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a model as ONNX and compare it with torch; return what ``zoo-bench export --json`` prints.

    ``size`` is the size of the planes that the network receives (default: its dataset's patch, or with ``freeze`` the
    image), padded to a size that the network takes; ``dynamic`` allows any size from twice the least on. A
    hyper-network becomes two files: ``file`` takes planes and filters, ``<stem>.filters.onnx`` predicts the filters.
    With ``freeze``, an image as ``infer`` takes it (``levels`` describes a RAW image), it becomes one file with the
    filters of that image. Files that disagree with torch are kept, and ``parity.ok`` is false. Raises UserError for bad
    input, and EngineError with the name of an operation that ONNX does not have.
    """
    require(ENGINES["onnxruntime"].packages, ENGINES["onnxruntime"].extra, "export")
    target = _target(file)
    from benchmark.backends.onnxfiles import weights_beside

    written_to = (target, _filters_file(target))
    refuse_inputs(f"export: -o {file}", [*written_to, *map(weights_beside, written_to)], [weights, freeze])
    entry = entry_of(model, weights, options or {})
    spec = entry.card.input_for(entry.options)
    network = entry.build(seed=seed)
    halves = split(network)
    if freeze is not None and halves is None:
        raise UserError(f"--freeze {freeze}: {entry.label} is no hyper-network; its filters do not depend on an image.")
    image = None if freeze is None else pad_planes(read_input(Path(freeze), spec, levels or Levels()), spec)
    if image is not None and size is None:
        shape = tuple(image.shape[-2:])
    else:
        shape = padded_size(*size_for(entry.card, size), spec)
    if dynamic:
        # If it were captured at the least size, a network would look as if it took no other size.
        shape = tuple(max(side, _least_open(spec)) for side in shape)
    with torch.inference_mode(False), torch.no_grad():
        graphs = _graphs(network, halves, target, noise(shape, spec, seed), image, dynamic)
        written = [_write(graph, entry, spec, opset) for graph in graphs]
        # Parity at one size does not show parity at other sizes.
        another = (shape[0] + 2 * spec.multiple, shape[1] + 3 * spec.multiple)
        sizes = [shape, another] if dynamic else [shape]
        # For noise the network would predict other filters than the frozen ones.
        reference = network if image is None else graphs[0].module
        parity = [agreement(reference, [g.file for g in graphs], noise(one, spec, seed)) for one in sizes]
    return {
        "model": entry.card.name,
        "options": jsonable_options(entry.options),
        "evidence": entry.evidence,
        "weights": entry.weights_record(),
        "input_shape": list(graphs[0].inputs["planes"].shape),
        "dynamic": dynamic,
        "frozen": None if freeze is None else str(freeze),
        "opset": written[0]["opset"],
        "files": written,
        "parity": _parity(parity),
        "notes": _notes(entry, graphs, freeze),
    }


def noise(size: Sequence[int], spec: InputSpec, seed: int) -> Tensor:
    """Return planes (1, C, H, W) of uniform noise over the network's input range."""
    low, high = spec.input_range
    planes = torch.rand(1, spec.channels, *size, generator=torch.Generator().manual_seed(seed))
    return planes * (high - low) + low


def _target(file: str | Path) -> Path:
    target = Path(file)
    if target.suffix != ".onnx":
        raise UserError(f"-o {file}: expected a name that ends with .onnx.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"-o {file}: its folder cannot be made ({error.strerror}).") from None
    if target.is_dir():
        raise UserError(f"-o {file}: is a folder; expected the name of a file.")
    return target


def _filters_file(target: Path) -> Path:
    """Return the file for the half of a hyper-network that predicts the filters."""
    return target.with_suffix(".filters.onnx")


def _graphs(
    network: nn.Module, halves: Halves | None, target: Path, planes: Tensor, image: Tensor | None, dynamic: bool
) -> list[Graph]:
    """Return the files to write; for a hyper-network in two halves, the file with the convolutions comes first."""
    if halves is None:
        return [Graph(NETWORK, target, network, {"planes": planes}, ("image",), dynamic)]
    filters = halves.filters(planes if image is None else image)
    if image is not None:
        return [Graph(NETWORK, target, FrozenNetwork(network, filters), {"planes": planes}, ("image",), dynamic)]
    names = tuple(f"filters_{index}" for index in range(len(filters)))
    inputs = {"planes": planes, **dict(zip(names, filters))}
    return [
        Graph(FORWARD, target, halves.forward, inputs, ("image",), dynamic),
        # Pooling to a fixed grid becomes slices of fixed positions, so this half has a fixed size.
        Graph(FILTERS, _filters_file(target), halves.filters, {"planes": planes}, names, False),
    ]


def _write(graph: Graph, entry: Entry, spec: InputSpec, opset: int | None) -> dict[str, Any]:
    from benchmark.backends.capture import capture
    from benchmark.backends.onnxfiles import operations_of, opset_of, save_onnx, to_onnx

    shapes: list[Any] | None = None
    if graph.dynamic:
        shapes = [open_sizes(spec) if name == "planes" else None for name in graph.inputs]
        # The halves of a hyper-network take a variable number of filters.
        shapes = [shapes[0], tuple(shapes[1:])] if graph.role == FORWARD else shapes
    with _named(entry, graph):
        program = capture(graph.module, list(graph.inputs.values()), dynamic_shapes=shapes)
        converted = to_onnx(program, inputs=list(graph.inputs), outputs=graph.outputs, opset=opset)
    try:
        beside = save_onnx(converted, graph.file, _metadata(entry, spec, graph))
    except OSError as error:
        raise UserError(f"-o {graph.file}: cannot be written ({error.strerror}).") from None
    return {
        "file": str(graph.file),
        "role": graph.role,
        "weights_file": str(beside) if beside else None,
        "bytes": graph.file.stat().st_size,
        "weights_bytes": beside.stat().st_size if beside else None,
        "opset": opset_of(converted),
        "inputs": {name: list(tensor.shape) for name, tensor in graph.inputs.items()},
        "outputs": list(graph.outputs),
        "operations": operations_of(converted),
    }


def _least_open(spec: InputSpec) -> int:
    return -(-2 * max(spec.min_size, spec.multiple) // spec.multiple) * spec.multiple


def open_sizes(spec: InputSpec) -> dict[int, Any]:
    """Return rows and columns for torch.export: any multiples, from two steps above the least on."""
    rows, columns = (Dim(name, min=_least_open(spec) // spec.multiple) for name in ("rows", "columns"))
    return {2: spec.multiple * rows, 3: spec.multiple * columns} if spec.multiple > 1 else {2: rows, 3: columns}


@contextlib.contextmanager
def _named(entry: Entry, graph: Graph) -> Iterator[None]:
    """Name the model in errors."""
    try:
        yield
    except EngineError as error:
        if graph.dynamic and "Constraints violated" in str(error):
            raise EngineError(
                f"export {entry.label}: its operations depend on the size of the image; leave --dynamic out."
            ) from error
        raise EngineError(f"export {entry.label}: {error}") from error
    except UserError:
        raise
    except ValueError as error:
        shape = shape_text(graph.inputs["planes"].shape)
        raise EngineError(f"export {entry.label}: the network refuses {shape}: {with_place(error)}") from error


def _metadata(entry: Entry, spec: InputSpec, graph: Graph) -> dict[str, str]:
    weights = entry.weights_record() or {}
    convention = asdict(spec)
    if spec.layout != "bayer_packed":
        convention["planes"] = "gray" if spec.layout == "gray" else "red, green, blue"
    if spec.is_raw:
        convention["black_level"] = "of the sensor" if spec.black_level is None else spec.black_level
        convention["divisor"] = "of the sensor: white - black" if spec.divisor is None else spec.divisor
    else:
        for name in ("black_level", "divisor", "levels", "floor", "missing"):
            del convention[name]
    return {
        "zoo_bench.model": entry.card.name,
        "zoo_bench.options": json.dumps(jsonable_options(entry.options), sort_keys=True),
        "zoo_bench.part": graph.role,
        "zoo_bench.evidence": entry.evidence,
        "zoo_bench.recipe": weights.get("recipe", ""),
        "zoo_bench.weights_sha256": weights.get("sha256", ""),
        "zoo_bench.version": packages.version("zoo-bench"),
        "zoo_bench.input": json.dumps(convention),
    }


def _parity(found: Sequence[Agreement]) -> dict[str, Any]:
    worst = max(found, key=lambda one: one.relative_error)
    return {
        "ok": all(one.ok for one in found),
        "max_abs_error": worst.max_abs_error,
        "relative_error": worst.relative_error,
        "tolerance": TOLERANCE,
        "definition": "relative_error: the largest absolute difference from torch's output over its largest absolute"
        " value, on seeded uniform noise; ok where it is at most the tolerance",
        "runtime": f"onnxruntime {ENGINES['onnxruntime'].version}",
        "sizes": [{"input_shape": one.shape, **one.errors} for one in found],
    }


def _notes(entry: Entry, graphs: Sequence[Graph], freeze: str | Path | None) -> list[str]:
    notes = [f"{entry.weights_file}: {line}" for line in entry.checkpoint.notes] if entry.checkpoint else []
    if len(graphs) == 2:
        notes.append(
            f"a hyper-network in two graphs: {graphs[1].file.name} predicts the filters from the image,"
            f" {graphs[0].file.name} takes image and filters"
        )
    if freeze is not None:
        notes.append(f"the filters are frozen: those of {freeze}, for any image that the graph is given")
    if len(graphs) == 2 and graphs[0].dynamic:
        notes.append(f"{graphs[1].file.name} keeps its size; {graphs[0].file.name} takes any")
    if not entry.scored:
        notes.append("untrained, with random weights: its output means nothing")
    return notes
