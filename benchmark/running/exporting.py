"""Export a model as ONNX or ExecuTorch files with a description of themselves, and compare them with torch."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from benchmark.backends import ENGINES, named, require
from benchmark.backends.agreement import TOLERANCE, Agreement, agreement
from benchmark.costs.profiling import size_for
from benchmark.host.turns import timing_turn
from benchmark.replacing import refuse_inputs, replacing
from benchmark.reporting import Reporter
from benchmark.running.inputs import Levels, read_input
from benchmark.selection import Entry, entry_of, jsonable_options
from benchmark.units import shape_text
from zoo.convention import InputSpec
from zoo.errors import EngineError, UserError, shortened, with_place
from zoo.raw import pad_planes, padded_size
from zoo.splitting import FrozenNetwork, Halves, split

NETWORK, FORWARD, FILTERS = "network", "forward", "filters"
# By the value of ``--to``: the engine that runs the files, and the end of their names.
TARGETS = {"onnx": ("onnxruntime", ".onnx"), "executorch": ("executorch", ".pte")}


@dataclass(frozen=True)
class Subject:
    """The network to export, its halves if it is a hyper-network, the image of ``freeze``, the size of its planes."""

    entry: Entry
    spec: InputSpec
    network: nn.Module
    halves: Halves | None
    image: Tensor | None
    shape: tuple[int, int]


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

    @property
    def wrapped(self) -> str:
        """The name of the network within the module, empty if it is the module itself."""
        return "inner.network" if isinstance(self.module, FrozenNetwork) else "" if self.role == NETWORK else "network"


def export(
    model: str,
    file: str | Path,
    *,
    to: str = "onnx",
    size: tuple[int, int] | str | None = None,
    options: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    opset: int | None = None,
    dynamic: bool = False,
    freeze: str | Path | None = None,
    levels: Levels | None = None,
    measure: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a model as ONNX or for ExecuTorch (``to``), compare it with torch; return what ``export --json`` prints.

    ``size`` is the size of the planes that the network receives (default: its dataset's patch, or with ``freeze`` the
    image), padded to a size that the network takes; ``dynamic`` allows any size from twice the least on, for ExecuTorch
    up to ``size``, for which it plans memory. A hyper-network becomes two files: ``file`` takes planes and filters,
    ``<stem>.filters.onnx`` (or ``.pte``) predicts the filters.
    With ``freeze``, an image as ``infer`` takes it (``levels`` describes a RAW image), it becomes one file with the
    filters of that image. ``measure`` also times the parts of each program for ExecuTorch. Files that disagree with
    torch are kept, and ``parity.ok`` is false. Raises UserError for bad input, and EngineError with the name of an
    operation that the format does not have.
    """
    if to not in TARGETS:
        raise UserError(f"--to {shortened(to)}: expected {' or '.join(TARGETS)}.")
    engine, suffix = TARGETS[to]
    if opset is not None and to != "onnx":
        raise UserError(f"--opset {opset}: only ONNX has operator sets; leave it out with --to {to}.")
    if measure and to != "executorch":
        raise UserError("--measure: only programs for ExecuTorch have two parts to time; pass --to executorch.")
    require(ENGINES[engine].packages, ENGINES[engine].extra, "export" if to == "onnx" else f"export --to {to}")
    target = target_of(file, suffix)
    from benchmark.backends.onnxfiles import weights_beside

    written_to = (target, filters_file(target))
    refuse_inputs(f"export: -o {file}", [*written_to, *map(weights_beside, written_to)], [weights, freeze])
    subject = subject_of(model, size, options, weights, freeze, levels, seed)
    entry, spec = subject.entry, subject.spec
    shape = open_shape(subject.shape, spec, bounded=to == "executorch") if dynamic else subject.shape
    # ExecuTorch's sizes are open up to that of the export.
    most = shape if to == "executorch" else None
    with torch.inference_mode(False), torch.no_grad():
        graphs = _graphs(subject, target, noise(shape, spec, seed), dynamic)
        written = [_write(graph, entry, spec, opset, most) for graph in graphs]
        # Parity at one size does not show parity at other sizes.
        step = -spec.multiple if most else spec.multiple
        another = (shape[0] + 2 * step, shape[1] + 3 * step)
        sizes = [shape, another] if dynamic else [shape]
        # For noise the network would predict other filters than the frozen ones.
        reference = subject.network if freeze is None else graphs[0].module
        files = [graph.file for graph in graphs]
        filters = graphs[1].inputs["planes"].shape if len(graphs) == 2 else None
        if measure:
            for graph, facts in zip(graphs, written):
                facts["times_ms"] = part_times(graph.file, list(graph.inputs.values()))
        parity = [agreement(reference, files, noise(one, spec, seed), engine, filters) for one in sizes]
    return {
        "model": entry.card.name,
        "options": jsonable_options(entry.options),
        "evidence": entry.evidence,
        "weights": entry.weights_record(),
        "target": to,
        "input_shape": list(graphs[0].inputs["planes"].shape),
        "dynamic": dynamic,
        "frozen": None if freeze is None else str(freeze),
        "opset": written[0]["opset"],
        "files": written,
        "parity": parity_of(parity, engine),
        "notes": _notes(entry, graphs, freeze, most),
    }


def subject_of(
    model: str,
    size: tuple[int, int] | str | None,
    options: Mapping[str, Any] | None,
    weights: str | Path | None,
    freeze: str | Path | None,
    levels: Levels | None,
    seed: int,
) -> Subject:
    """Return the network that the arguments of ``export`` name, with the size of its planes; they are checked here."""
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
    return Subject(entry, spec, network, halves, image, (shape[0], shape[1]))


def open_shape(shape: Sequence[int], spec: InputSpec, *, bounded: bool) -> tuple[int, int]:
    """Return the size at which a network is captured whose sizes are open; ``bounded``: it is the largest of them."""
    # If it were captured at the least size, a network would look as if it took no other size.
    least = _least_open(spec) + 3 * spec.multiple * bounded
    return max(shape[0], least), max(shape[1], least)


def noise(size: Sequence[int], spec: InputSpec, seed: int) -> Tensor:
    """Return planes (1, C, H, W) of uniform noise over the network's input range."""
    low, high = spec.input_range
    planes = torch.rand(1, spec.channels, *size, generator=torch.Generator().manual_seed(seed))
    return planes * (high - low) + low


def target_of(file: str | Path, suffix: str) -> Path:
    """Return the file to write, with its folder; raises UserError for another end of its name, or a folder."""
    target = Path(file)
    if target.suffix != suffix:
        other = next((name for name, (_, end) in TARGETS.items() if end == target.suffix), None)
        raise UserError(f"-o {file}: expected a name that ends with {suffix}{f', or --to {other}' if other else ''}.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"-o {file}: its folder cannot be made ({error.strerror}).") from None
    if target.is_dir():
        raise UserError(f"-o {file}: is a folder; expected the name of a file.")
    return target


def filters_file(target: Path) -> Path:
    """Return the file for the half of a hyper-network that predicts the filters."""
    return target.with_suffix(f".filters{target.suffix}")


def whole_graph(subject: Subject, target: Path, planes: Tensor, dynamic: bool) -> Graph:
    """Return the network as one graph, with the filters of ``subject.image`` if there is one."""
    network = subject.network
    if subject.halves is not None and subject.image is not None:
        network = FrozenNetwork(network, subject.halves.filters(subject.image))
    return Graph(NETWORK, target, network, {"planes": planes}, ("image",), dynamic)


def _graphs(subject: Subject, target: Path, planes: Tensor, dynamic: bool) -> list[Graph]:
    """Return the files to write; for a hyper-network in two halves, the file with the convolutions comes first."""
    halves, image = subject.halves, subject.image
    whole = whole_graph(subject, target, planes, dynamic)
    if halves is None or image is not None:
        return [whole]
    filters = halves.filters(planes)
    names = tuple(f"filters_{index}" for index in range(len(filters)))
    inputs = {"planes": planes, **dict(zip(names, filters))}
    return [
        Graph(FORWARD, target, halves.forward, inputs, ("image",), dynamic),
        # Pooling to a fixed grid becomes slices of fixed positions, so this half has a fixed size.
        Graph(FILTERS, filters_file(target), halves.filters, {"planes": planes}, names, False),
    ]


def _write(
    graph: Graph, entry: Entry, spec: InputSpec, opset: int | None, most: Sequence[int] | None
) -> dict[str, Any]:
    program = captured(graph, entry, spec, most)
    metadata = _metadata(entry, spec, graph)
    with _named(entry, graph):
        try:
            facts = _as_pte(program, graph, metadata) if most else _as_onnx(program, graph, metadata, opset)
        except OSError as error:
            raise UserError(f"-o {graph.file}: cannot be written ({error.strerror}).") from None
    return {
        "file": str(graph.file),
        "role": graph.role,
        "bytes": graph.file.stat().st_size,
        "inputs": {name: list(tensor.shape) for name, tensor in graph.inputs.items()},
        "outputs": list(graph.outputs),
        **facts,
    }


def captured(graph: Graph, entry: Entry, spec: InputSpec, most: Sequence[int] | None) -> ExportedProgram:
    """Return the captured graph, of open sizes up to ``most`` (None: no limit) if dynamic; errors name the model."""
    from benchmark.backends.capture import capture

    shapes: list[Any] | None = None
    if graph.dynamic:
        shapes = [open_sizes(spec, most) if name == "planes" else None for name in graph.inputs]
        # The halves of a hyper-network take a variable number of filters.
        shapes = [shapes[0], tuple(shapes[1:])] if graph.role == FORWARD else shapes
    with _named(entry, graph):
        return capture(graph.module, list(graph.inputs.values()), dynamic_shapes=shapes)


def part_times(file: Path, inputs: Sequence[Tensor]) -> dict[str, float]:
    """Return the milliseconds of a pass of a ``.pte`` file and of its parts, while no other work of this tool runs."""
    from benchmark.backends.executorch import times_of

    with timing_turn(Reporter()):
        return times_of(file, inputs, torch.get_num_threads())


def _as_onnx(program: ExportedProgram, graph: Graph, metadata: Mapping[str, str], opset: int | None) -> dict[str, Any]:
    from benchmark.backends.onnxfiles import operations_of, opset_of, save_onnx, to_onnx

    converted = to_onnx(program, inputs=list(graph.inputs), outputs=graph.outputs, opset=opset)
    beside = save_onnx(converted, graph.file, metadata)
    return {
        "weights_file": str(beside) if beside else None,
        "weights_bytes": beside.stat().st_size if beside else None,
        "opset": opset_of(converted),
        "operations": operations_of(converted),
    }


def _as_pte(program: ExportedProgram, graph: Graph, metadata: Mapping[str, str]) -> dict[str, Any]:
    from benchmark.backends.executorch import lower, to_pte
    from benchmark.backends.placement import placement_of

    lowered = lower(program, metadata)
    placement = placement_of(lowered, graph.wrapped)
    content = to_pte(lowered)
    with replacing(graph.file, "-o") as partial:
        partial.write_bytes(content)
    operations = Counter(placement["delegate"]["operators"]) + Counter(placement["portable"]["operators"])
    return {
        "weights_file": None,
        "weights_bytes": None,
        "opset": None,
        "operations": dict(operations.most_common()),
        "placement": placement,
    }


def _least_open(spec: InputSpec) -> int:
    return -(-2 * max(spec.min_size, spec.multiple) // spec.multiple) * spec.multiple


def open_sizes(spec: InputSpec, most: Sequence[int] | None = None) -> dict[int, Any]:
    """Return rows and columns for torch.export: any multiples, from two steps above the least on, up to ``most``."""
    least, step = _least_open(spec) // spec.multiple, spec.multiple
    limits = [None if most is None else side // step for side in most or (0, 0)]
    rows, columns = (Dim(name, min=least, max=limit) for name, limit in zip(("rows", "columns"), limits))
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
    return {
        "zoo_bench.model": entry.card.name,
        "zoo_bench.options": json.dumps(jsonable_options(entry.options), sort_keys=True),
        "zoo_bench.part": graph.role,
        "zoo_bench.evidence": entry.evidence,
        "zoo_bench.recipe": weights.get("recipe", ""),
        "zoo_bench.weights_sha256": weights.get("sha256", ""),
        "zoo_bench.version": packages.version("zoo-bench"),
        "zoo_bench.input": json.dumps(convention_of(spec)),
    }


def convention_of(spec: InputSpec) -> dict[str, Any]:
    """Return how pictures become a network's input, as written files say it, for programs that run them."""
    convention = asdict(spec)
    if spec.layout != "bayer_packed":
        convention["planes"] = "gray" if spec.layout == "gray" else "red, green, blue"
    if spec.is_raw:
        convention["black_level"] = "of the sensor" if spec.black_level is None else spec.black_level
        convention["divisor"] = "of the sensor: white - black" if spec.divisor is None else spec.divisor
    else:
        for name in ("black_level", "divisor", "levels", "floor", "missing"):
            del convention[name]
    return convention


def parity_of(found: Sequence[Agreement], engine: str) -> dict[str, Any]:
    """Return the worst of the agreements and the verdict, as ``export --json`` prints them."""
    worst = max(found, key=lambda one: one.relative_error)
    return {
        "ok": all(one.ok for one in found),
        "max_abs_error": worst.max_abs_error,
        "relative_error": worst.relative_error,
        "tolerance": TOLERANCE,
        "definition": "relative_error: the largest absolute difference from torch's output over its largest absolute"
        " value, on seeded uniform noise; ok where it is at most the tolerance",
        "runtime": named(engine),
        "sizes": [{"input_shape": one.shape, **one.errors} for one in found],
    }


def _notes(entry: Entry, graphs: Sequence[Graph], freeze: str | Path | None, most: Sequence[int] | None) -> list[str]:
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
    if most is not None and graphs[0].dynamic:
        notes.append(f"{graphs[0].file.name} takes planes up to {shape_text(most)}, for which its memory is planned")
    if not entry.scored:
        notes.append("untrained, with random weights: its output means nothing")
    return notes
