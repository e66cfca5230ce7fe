"""OpenVINO on the CPU: the captured network, converted directly, its shapes fixed before it is compiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import openvino
import torch
from torch import Tensor
from torch.export import ExportedProgram

from benchmark.backends import Pass
from benchmark.backends.capture import conversion_error, quiet

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


def compile_program(program: ExportedProgram, inputs: Sequence[Tensor], threads: int, precision: str) -> Pass:
    """Return a pass of the program in ``precision``; raises EngineError naming what OpenVINO does not have."""
    settings = {
        # Left to itself, OpenVINO computes in bf16 wherever the processor has it.
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        with torch.inference_mode(False), torch.no_grad(), quiet():
            model = openvino.convert_model(program)
            model.reshape({index: list(tensor.shape) for index, tensor in enumerate(inputs)})
            compiled = openvino.compile_model(model, "CPU", settings)
    except MemoryError:
        raise
    except Exception as error:
        raise conversion_error(error, "OpenVINO") from error
    return _pass_of(compiled, _passed_through(model))


def _passed_through(model: Any) -> dict[int, int]:
    """Return which outputs are an input as it came, by number: OpenVINO writes nothing into a tensor given for it."""
    nodes = [result.input_value(0).get_node() for result in model.get_results()]
    inputs = [parameter.get_friendly_name() for parameter in model.get_parameters()]
    return {
        index: inputs.index(node.get_friendly_name())
        for index, node in enumerate(nodes)
        if node.get_type_name() == "Parameter"
    }


def _pass_of(compiled: Any, passed_through: Mapping[int, int]) -> Pass:
    """Return a pass that reads its inputs where they are and leaves each output in a tensor of its own."""
    shapes = [list(port.shape) for port in compiled.outputs]
    # Made by the first pass: its buffers belong to the memory of a pass, not to that of compiling.
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
