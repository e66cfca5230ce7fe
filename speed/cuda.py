"""What a GPU does with six networks, and with a training: a script of at most five minutes.

    python -m speed cuda              # on a machine with a CUDA device
    python -m speed cuda --device cpu # the same steps without one, smaller and without graphs: does the script run?

1. Latency of a patch of 4x224x224 (denoisers: 3x256x256), the memory that torch allocates at most during a pass, and
   the largest difference from the same pass in float32 on the processor, relative to its largest value: in float32
   without and with TF32, in bfloat16, in the channels-last memory format, and as a CUDA graph (float32). The time is
   the median of interleaved passes; the first ones are not timed.
2. 200 steps of a training in float32 and in mixed precision, each stopped half-way and resumed: images per second, the
   loss at the end, and whether both parts have the steps that they should.
3. The tests marked gpu, where there is a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.results.jsonl import read_lines
from benchmark.timing.child import stopwatch
from benchmark.training.loop import train
from speed.figures import Figure
from zoo import create_model, get_card

MODELS = ["plainunet_64", "hyperunet_32_16_2048", "unet", "awnet_4ch", "vdn", "hypervdn_21"]
SMALL_MODELS = ["plainunet_8", "hyperunet_8_8_64"]
FORMS = ("float32", "TF32", "bfloat16", "channels last", "graph")
PASSES, WARM_UP, STEPS = 20, 5, 200
# The largest relative difference that rounding explains. TF32 and bfloat16 keep 10 and 7 bits behind the point.
ALLOWED = {"float32": 1e-4, "channels last": 1e-4, "graph": 1e-4, "TF32": 1e-2, "bfloat16": 1e-1}
Pass = Callable[[], Tensor]


def main() -> list[Figure]:
    """Print the tables; return speed of each form, largest differences, and the training's speed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch sees no CUDA device here; --device cpu tries the script without one")
    on_gpu = given.device == "cuda"
    print(torch.cuda.get_device_name() if on_gpu else "without a GPU")
    figures = []
    for name in given.models or (MODELS if on_gpu else SMALL_MODELS):
        figures += compare(name, given.device)
    figures += trained(given.device, STEPS if on_gpu else 4)
    if on_gpu:
        tests = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", "tests/test_gpu.py"]
        figures.append(Figure("exit code of the tests marked gpu", subprocess.run(tests).returncode, at_most=0))
    return figures


def compare(name: str, device: str) -> list[Figure]:
    """Run a network in every form; print time, memory and difference of each."""
    side = 224 if get_card(name).task == "raw2rgb" else 256
    side = side if device == "cuda" else 64
    torch.manual_seed(0)
    network = create_model(name).eval()
    planes = torch.rand(1, get_card(name).input.channels, side, side)
    with torch.inference_mode():
        expected = network(planes)
        forms = {form: one for form in FORMS if (one := _form(form, network, planes, device))}
        memory, differences = {}, {}
        for form, (run, setting) in forms.items():
            with setting():
                differences[form] = float((run().float().cpu() - expected).abs().max() / expected.abs().max())
                memory[form] = _peak(run) if device == "cuda" else float("nan")
        times: dict[str, list[float]] = {form: [] for form in forms}
        watch = stopwatch(device)
        for turn in range(WARM_UP + PASSES if device == "cuda" else 2):
            for form, (run, setting) in forms.items():
                with setting():
                    taken = watch(run)
                if turn >= (WARM_UP if device == "cuda" else 1):
                    times[form].append(taken)
    print(f"\n{name} at {side}x{side}\n{'form':14} {'ms':>9} {'x faster':>9} {'MiB':>8} {'difference':>11}")
    medians = {form: statistics.median(values) for form, values in times.items()}
    figures = []
    for form, median in medians.items():
        faster = medians["float32"] / median
        print(f"{form:14} {median:9.3f} {faster:9.2f} {memory[form]:8.0f} {differences[form]:11.1e}", flush=True)
        limit = ALLOWED[form]
        figures.append(Figure(f"{name}, {form}: difference", differences[form], at_most=limit))
        figures += [] if form == "float32" else [Figure(f"{name}: float32 / {form}", faster, "x")]
    return figures


def _form(
    form: str, network: nn.Module, planes: Tensor, device: str
) -> tuple[Pass, Callable[[], contextlib.AbstractContextManager[None]]] | None:
    """Return a pass in a form, and the setting in which it runs; None if there is no such form on the device."""
    if device == "cpu" and form in ("TF32", "graph"):
        return None
    dtype = torch.bfloat16 if form == "bfloat16" else torch.float32
    layout = torch.channels_last if form == "channels last" else torch.contiguous_format
    own = copy.deepcopy(network).to(device=device, dtype=dtype, memory_format=layout)  # type: ignore[call-overload]
    x = planes.to(device=device, dtype=dtype, memory_format=layout)

    def run() -> Tensor:
        y: Tensor = own(x)
        return y

    def setting() -> contextlib.AbstractContextManager[None]:
        return tf32(form == "TF32")

    return (graphed(run), setting) if form == "graph" else (run, setting)


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in convolutions and products of matrices meanwhile."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def graphed(run: Pass) -> Pass:
    """Record a pass as a CUDA graph and return what replays it; torch wants some passes on another stream first."""
    with tf32(False):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = run()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


def _peak(run: Pass) -> float:
    """Return by how many MiB a pass raises what torch has allocated."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def trained(device: str, steps: int) -> list[Figure]:
    """Train with and without mixed precision, stopped half-way and resumed; print speed and loss."""
    figures, losses = [], {}
    print(f"\n{steps} steps of hyperunet_8_8_64, resumed after {steps // 2}")
    for precision in ("32", "bf16"):
        with tempfile.TemporaryDirectory() as folder:
            usual = {
                "device": device,
                "precision": precision,
                "batch_size": 8,
                "schedule.cosine": False,
                "checkpoint_every": steps // 2,
                "log_every": 1,
                "validation.every": 10 * steps,
                "validation.limit": 1,
            }
            out = Path(folder, "run")
            train("standin_raw2rgb", out, overrides=usual | {"max_steps": steps // 2})
            done = train("standin_raw2rgb", out, overrides=usual | {"max_steps": steps}, resume=True)
            steps_logged = [line for line in read_lines(Path(done["log"])) if line["kind"] == "train"]
        losses[precision] = steps_logged[-1]["loss"]
        name = {"32": "float32", "bf16": "mixed precision"}[precision]
        print(f"{name:16} {done['images_per_s']:8.1f} images/s, loss {losses[precision]:.5f}", flush=True)
        figures.append(Figure(f"training in {name}", done["images_per_s"], "images/s"))
        figures.append(Figure(f"steps in {name}", done["steps"], at_least=steps, at_most=steps))
    figures.append(Figure("loss in mixed precision / float32", losses["bf16"] / losses["32"], "x"))
    return figures
