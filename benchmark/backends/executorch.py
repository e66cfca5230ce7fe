"""ExecuTorch on the CPU: the captured network is lowered to XNNPACK, as on a phone, and run by ExecuTorch's runtime.

XNNPACK runs the operators that it has (the delegate); ExecuTorch's own portable kernels run the others. Threads are
those of one pool for the whole process, which XNNPACK uses; most portable kernels use one thread.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from benchmark.backends import Pass
from benchmark.backends.capture import conversion_error, quiet
from zoo.errors import EngineError, UserError, reason_of, shown

with quiet():
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeProgramManager, to_edge_transform_and_lower
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Method, Runtime

# Bytes 4 to 8 of a file name the version of the format; the runtime reads only this one.
_FORMAT = b"ET12"
_METHOD = "forward"
_BATCH_NORM = torch.ops.aten._native_batch_norm_legit_no_training.default
# How often the pool of threads was made anew.
_pools = 0


def compile_program(program: ExportedProgram, inputs: Sequence[Tensor], threads: int, precision: str) -> Pass:
    """Return a pass of the program, float or quantised; raises EngineError for operations that ExecuTorch lacks."""
    return pass_of(to_pte(lower(program)), threads)


def lower(program: ExportedProgram, metadata: Mapping[str, str] | None = None) -> EdgeProgramManager:
    """Give to XNNPACK what it takes of a captured network; raises EngineError for operations that ExecuTorch lacks.

    What depends on no input is computed first, because XNNPACK takes only convolutions whose weights are constants.
    Each entry of ``metadata`` becomes a method without arguments that returns the text.
    """
    with torch.inference_mode(False), torch.no_grad(), quiet():
        try:
            return to_edge_transform_and_lower(
                folded(program), partitioner=[XnnpackPartitioner()], constant_methods=dict(metadata or {})
            )
        except MemoryError:
            raise
        except Exception as error:
            raise conversion_error(error, "ExecuTorch") from error


def folded(program: ExportedProgram) -> ExportedProgram:
    """Return the program with what depends on no input computed."""
    # This also replaces operations that change a tensor in place.
    program = program.run_decompositions({_BATCH_NORM: _normalised})
    program = constant_prop_pass(program, _kept(program))
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for spec in program.graph_signature.input_specs:
        constant = program.constants.get(spec.target or "")
        # ExecuTorch 1.5 looks for constants of another memory format among the tensors that are no buffers.
        if isinstance(constant, Tensor) and not constant.is_contiguous():
            program.constants[str(spec.target)] = constant.contiguous()
            node = nodes[spec.arg.name]
            node.meta["val"] = node.meta["val"].contiguous()
    return program


def _normalised(x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, *rest: Any) -> Any:
    """Write a batch norm without weight and bias as a product and a sum: XNNPACK 1.5 mixes up two of them."""
    variance, _, eps = rest
    if weight is not None or bias is not None:
        return NotImplemented
    shape = (1, -1, *[1] * (x.dim() - 2))
    scale = torch.rsqrt(variance + eps)
    return x * scale.reshape(shape) - (mean * scale).reshape(shape), x.new_empty(0), x.new_empty(0)


def _kept(program: ExportedProgram) -> set[Any]:
    """Return the operators that stay even with constant inputs: those that quantise, and those that make more data."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    return {node.target for node in calls if getattr(node.target, "namespace", None) != "aten" or _grows(node)}


def _grows(node: Node) -> bool:
    values = [one.meta.get("val") for one in (node, *node.all_input_nodes)]
    sizes = [math.prod(value.shape) for value in values if isinstance(value, Tensor)]
    known = len(sizes) == len(values) and all(isinstance(size, int) for size in sizes)
    return not known or sizes[0] > max(sizes[1:], default=0)


def to_pte(lowered: EdgeProgramManager) -> bytes:
    """Return the content of a ``.pte`` file; raises EngineError for operations without a kernel in the runtime."""
    with torch.inference_mode(False), torch.no_grad(), quiet():
        try:
            made = lowered.to_executorch()
        except MemoryError:
            raise
        except Exception as error:
            raise conversion_error(error, "ExecuTorch") from error
    kernels = set(Runtime.get().operator_registry.operator_names)
    for plan in made.executorch_program.execution_plan:
        for operator in plan.operators:
            if ".".join(filter(None, (operator.name, operator.overload))) not in kernels:
                name = operator.name.replace("::", ".")
                raise EngineError(f"ExecuTorch does not have the operation {name}, which this network uses.")
    return bytes(made.buffer)


def pass_of(content: bytes, threads: int) -> Pass:
    """Return a pass of the content of a ``.pte`` file; raises EngineError if the runtime does not load it.

    A loaded program keeps the pool of threads that it was loaded with, so it is loaded again if another program has
    asked for another number of threads since.
    """
    loaded, pool = _load(content, threads), _pools

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        nonlocal loaded, pool
        if pool != _pools or portable_lib._threadpool_get_thread_count() != threads:
            loaded, pool = _load(content, threads), _pools
        return list(loaded.execute(list(tensors)))

    return run


def open_file(file: Path, shapes: Sequence[Sequence[int]], threads: int) -> Pass:
    """Return a pass of a ``.pte`` file, which knows its sizes, so that ``shapes`` are not needed.

    Raises UserError for a file that is damaged or of another version.
    """
    with _checked(file) as content:
        return pass_of(content, threads)


def text_in(file: Path, name: str) -> str:
    """Return an entry of the metadata with which a ``.pte`` file was lowered; raises UserError if it is not there."""
    with _checked(file) as content:
        return str(_load(content, None, name).execute([])[0])


def metadata_in(file: Path) -> dict[str, str]:
    """Return what a ``.pte`` file of this tool says of itself."""
    with _checked(file) as content, _native_lines_hidden():
        names = [name for name in Runtime.get().load_program(content).method_names if name.startswith("zoo_bench.")]
    return {name: text_in(file, name) for name in names}


def shape_in(file: Path) -> list[int]:
    """Return the shape of the first input of a ``.pte`` file, the largest if it is open."""
    with _checked(file) as content:
        return list(_load(content, None).metadata.input_tensor_meta(0).sizes())


def times_of(file: Path, inputs: Sequence[Tensor], threads: int, passes: int = 20) -> dict[str, float]:
    """Return the median milliseconds of a pass of a ``.pte`` file, and of its parts: the delegate, portable kernels.

    ExecuTorch's own tracer measures them, which slows programs of many small operators down a little.
    """
    from executorch.devtools import Inspector

    with _checked(file) as content, tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder, quiet():
        _load(content, threads)
        traced, trace = Path(folder, "trace.etdp"), portable_lib._load_for_executorch_from_buffer
        with _native_lines_hidden():
            program = trace(content, enable_etdump=True)
            for _ in range(passes + 1):
                program.forward(tuple(inputs))
            program.write_etdump_result_to_file(str(traced))
            events = [event for block in Inspector(etdump_path=str(traced)).event_blocks for event in block.events]
    parts = {"pass": "Method::execute", "delegate": "DELEGATE_CALL", "portable": "OPERATOR_CALL"}
    # The first pass makes the buffers.
    rows = {part: [event.perf_data.raw[1:] for event in events if event.name == name] for part, name in parts.items()}
    return {part: statistics.median(map(sum, zip(*of_part))) if of_part else 0.0 for part, of_part in rows.items()}


@contextlib.contextmanager
def _checked(file: Path) -> Iterator[bytes]:
    """Yield the content of a ``.pte`` file; raises UserError for one that is damaged or of another version."""
    content = file.read_bytes()
    if content[4:8] != _FORMAT:
        raise UserError(
            f"{file}: expected a program of ExecuTorch with the format {_FORMAT.decode()} at byte 4, found"
            f" {shown(content[4:8].decode('latin-1'))}: it is of another version, or no .pte file; export it again."
        )
    try:
        yield content
    except EngineError as error:
        raise UserError(f"{file}: {error} The file is damaged or of another version; export it again.") from error


def _load(content: bytes, threads: int | None, method: str = _METHOD) -> Method:
    """Load a method with a pool of ``threads`` threads (None: those that there are)."""
    global _pools
    with _native_lines_hidden():
        if threads not in (None, portable_lib._threadpool_get_thread_count()):
            portable_lib._unsafe_reset_threadpool(threads)
            _pools += 1
        try:
            loaded = Runtime.get().load_program(content).load_method(method)
        except (RuntimeError, KeyError) as error:
            raise EngineError(f"ExecuTorch cannot load the program ({reason_of(error)}).") from error
    assert loaded is not None
    return loaded


@contextlib.contextmanager
def _native_lines_hidden() -> Iterator[None]:
    """Hide the lines that the runtime writes while it loads a program: to Python's standard error, or to its own."""
    sys.stderr.flush()
    before = os.dup(2)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
