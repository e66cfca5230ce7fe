"""OpenVINO on the CPU: the captured network is converted directly, and its shapes are fixed before compiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor
from torch.export import ExportedProgram

from benchmark.backends import Pass
from benchmark.backends.capture import conversion_error, quiet

# Operations of an int8 file that have no ranges compute in float32.
_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


def compile_program(program: ExportedProgram, inputs: Sequence[Tensor], threads: int, precision: str) -> Pass:
    """Return a pass of the program in ``precision``; raises EngineError for operations that OpenVINO does not have."""
    with torch.inference_mode(False), torch.no_grad():
        return _compiled(program, [list(tensor.shape) for tensor in inputs], threads, precision)


def open_file(file: Path, shapes: Sequence[Sequence[int]], threads: int) -> Pass:
    """Return a pass of a file in int8, of OpenVINO or ONNX, for inputs of ``shapes``."""
    return _compiled(file, shapes, threads, "int8")


def _compiled(source: ExportedProgram | Path, shapes: Sequence[Sequence[int]], threads: int, precision: str) -> Pass:
    settings = {
        # By default OpenVINO computes in bf16 if the processor supports it.
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        with quiet():
            is_file = isinstance(source, Path)
            model = openvino.Core().read_model(str(source)) if is_file else openvino.convert_model(source)
            model.reshape({index: list(shape) for index, shape in enumerate(shapes)})
            compiled = openvino.compile_model(model, "CPU", settings)
    except MemoryError:
        raise
    except Exception as error:
        raise conversion_error(error, "OpenVINO") from error
    return _pass_of(compiled, _passed_through(model))


def _passed_through(model: Any) -> dict[int, int]:
    """Return the outputs that are an unchanged input, by number: OpenVINO writes nothing to the tensors for these."""
    nodes = [result.input_value(0).get_node() for result in model.get_results()]
    inputs = [parameter.get_friendly_name() for parameter in model.get_parameters()]
    return {
        index: inputs.index(node.get_friendly_name())
        for index, node in enumerate(nodes)
        if node.get_type_name() == "Parameter"
    }


def _pass_of(compiled: Any, passed_through: Mapping[int, int]) -> Pass:
    """Return a pass that reads its inputs without a copy and writes each output to its own tensor."""
    shapes = [list(port.shape) for port in compiled.outputs]
    # The first pass makes the request: its buffers count as memory of a pass, not of compiling.
    requests: list[Any] = []

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        if not requests:
            requests.append(compiled.create_infer_request())
        request = requests[0]
        results = [torch.empty(shape) for shape in shapes]
        for index, tensor in enumerate(tensors):
            request.set_input_tensor(index, openvino.Tensor(tensor.numpy(), shared_memory=True))
        for index, result in enumerate(results):
            request.set_output_tensor(index, openvino.Tensor(result.numpy(), shared_memory=True))
        request.infer()
        for index, source in passed_through.items():
            results[index].copy_(tensors[source])
        return results

    return run
