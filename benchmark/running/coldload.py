"""Cold load of an engine: from the start of a process to the first output for one image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmark.host.calls import Emit, child_call
from benchmark.placing import described
from benchmark.record import Record
from benchmark.timing.messages import Job
from benchmark.timing.sampling import quartiles
from benchmark.types import Measurement
from zoo.errors import EngineError

# The processes that are timed, after one more that fills the system's cache of files.
PROCESSES = 5
# What a program that is deployed does: no torch. Arguments: the file, the shape of its input, threads.
_BEGIN = "import json, sys, numpy\nfile, shape, threads = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])\n"
_END = "\nprint(output.shape, flush=True)"
PROGRAMS = {
    "onnxruntime": """import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = threads, 3
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
output = session.run(None, {session.get_inputs()[0].name: numpy.zeros(shape, "float32")})[0]""",
    "openvino": """import openvino
core = openvino.Core()
network = core.read_model(file)
network.reshape(shape)
settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
output = core.compile_model(network, "CPU", settings)(numpy.zeros(shape, "float32"))[0]""",
}


class ToLoad(Record):
    """A network under its conditions, and the shape (N, C, H, W) of its image."""

    job: Job
    shape: list[int]


class Loaded(Record):
    """The milliseconds of each process."""

    samples_ms: list[float]

    def measurement(self, job: Job) -> Measurement:
        """Return the median as a measurement."""
        q1, median, q3 = quartiles(self.samples_ms)
        text = "median time from the start of a process to its first output: it starts Python, loads the engine and"
        text += " NumPy, reads and compiles the file, which is in the system's cache, and runs one image"
        return Measurement(
            value=median,
            unit="ms",
            definition=f"{text}; {described(job.conditions)}",
            kind="timing",
            higher_is_better=False,
            q1=q1,
            q3=q3,
            n=len(self.samples_ms),
            threads=job.conditions.threads,
            input_shape=None,
        )


@child_call()
def measure_cold_load(request: ToLoad, emit: Emit) -> Loaded:
    """Time processes that read the network's file, which is written in float32. Raises EngineError if one fails."""
    from benchmark.running.quantizing.onnxfile import write_plain  # this needs onnx, an extra

    job = request.job
    entry = job.entry()
    with tempfile.TemporaryDirectory(prefix="zoo-bench-") as folder:
        file = entry.quantized_file(job.conditions)
        if file is None:
            file = Path(folder, "plain.onnx")
            write_plain(entry.build(seed=job.seed), entry, torch.zeros(request.shape), file)
        return Loaded(samples_ms=[_load(file, request) for _ in range(1 + PROCESSES)][1:])


def _load(file: Path, request: ToLoad) -> float:
    conditions = request.job.conditions
    program = _BEGIN + PROGRAMS[conditions.backend] + _END
    threads = str(conditions.threads or torch.get_num_threads())
    command = [sys.executable, "-c", program, os.path.abspath(file), json.dumps(request.shape), threads]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        spent = 1000 * (time.perf_counter() - begin)
        _, errors = process.communicate()
    if not line:
        raise EngineError(f"{conditions.backend} did not load {file.name}: {errors.strip()[-300:]}")
    return spent
