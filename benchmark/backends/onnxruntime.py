"""ONNX Runtime on the CPU: the captured network is written as an ONNX file, which a session reads."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.export import ExportedProgram

from benchmark.backends import Pass
from benchmark.backends.onnxfiles import save_onnx, to_onnx
from zoo.errors import EngineError, in_one_line


def compile_program(program: ExportedProgram, inputs: Sequence[Tensor], threads: int, precision: str) -> Pass:
    """Return a pass of the program in float32; raises EngineError for operations that ONNX does not have."""
    names = [f"input_{index}" for index in range(len(inputs))]
    converted = to_onnx(program, inputs=names, outputs=())
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        file = Path(folder, "network.onnx")
        save_onnx(converted, file)
        return pass_of(session_of(file, threads))


def open_file(file: Path, shapes: Sequence[Sequence[int]], threads: int) -> Pass:
    """Return a pass of an ONNX file; a file with open sizes takes images of any, so that ``shapes`` are not needed."""
    return pass_of(session_of(file, threads))


def session_of(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU with ``threads`` threads; raises EngineError if ONNX Runtime does not take it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Threads that keep spinning after a pass would take the cores from the calibration kernel, which runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EngineError(f"ONNX Runtime does not accept the network: {in_one_line(error, 300)}") from error


def pass_of(session: onnxruntime.InferenceSession) -> Pass:
    """Return a pass that reads its inputs without a copy and writes each output to its own tensor."""
    names = [value.name for value in session.get_inputs()]
    outputs = [(value.name, value.shape) for value in session.get_outputs()]
    if any(not isinstance(size, int) for _, shape in outputs for size in shape):
        # Only the session knows the sizes of outputs with open sizes.
        return lambda tensors: [
            torch.from_numpy(array) for array in session.run(None, {n: t.numpy() for n, t in zip(names, tensors)})
        ]

    def run(tensors: Sequence[Tensor]) -> list[Tensor]:
        binding = session.io_binding()
        results = [torch.empty(shape) for _, shape in outputs]
        for name, tensor in zip(names, tensors):
            binding.bind_input(name, "cpu", 0, np.float32, tuple(tensor.shape), tensor.data_ptr())
        for (name, shape), result in zip(outputs, results):
            binding.bind_output(name, "cpu", 0, np.float32, tuple(shape), result.data_ptr())
        session.run_with_iobinding(binding)
        return results

    return run
