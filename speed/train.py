"""Training: is the network or the data what a step waits for, and what does a filter bank per sample cost?

    python -m speed train [STEPS]     # goals: over 90 % in the network; HyperConv's convolution within 1.3x;
                                      # the predicted memory covers what is used, less than twice; a training
                                      # form takes less than 6 times its deploy form

The first part trains `hyperunet_8_8_64` at batch 8 on the embedded stand-in of ZRR, 96x96 planes, and prints which
share of the steps was spent waiting for a batch. The second times forward and backward of HyperConv's batched
convolution, one filter bank per sample, beside a plain grouped convolution of the same sizes with the same number
of groups, at the three resolutions of that network; turns are interleaved, medians and quartiles are printed. The
third compares the memory predicted for a step with the growth of the process's resident peak. The fourth times a
step of MobileIE and of SYENet in training form beside one in deploy form.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from benchmark.host import machine
from benchmark.training.batches import Batch
from benchmark.training.fitting import footprint
from benchmark.training.loop import train
from benchmark.training.losses import Objective, total
from benchmark.training.recipe import load_recipe
from speed.figures import Figure
from zoo.card import get_card
from zoo.creating import create_model
from zoo.hyper import conv2d_per_sample

TURNS = 30
BATCH, CHANNELS = 8, 8


def main() -> list[Figure]:
    """Return the figures of the three parts."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    print(f"threads {torch.get_num_threads()}, torch {torch.__version__}")
    figures = [measure_waiting(steps)]
    figures += [measure_convolution(side) for side in (96, 48, 24)]
    figures += [figure for model in ("hyperunet_8_8_64", "unet_w8") for figure in measure_memory(model)]
    return figures + [measure_forms(model) for model in ("mobileie", "syenet")]


def measure_waiting(steps: int) -> Figure:
    """Train some steps; the first load of each sample is part of them."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = {
            "max_steps": steps,
            "batch_size": 8,
            "checkpoint_every": 10 * steps,
            "validation.every": 10 * steps,
            "validation.limit": 1,
        }
        done = train("standin_raw2rgb", folder, overrides=overrides)
    print(f"hyperunet_8_8_64 at batch 8: {done['images_per_s']:.1f} images/s over {steps} steps")
    return Figure("share of the steps in the network", 100 * (1 - done["wait_share"]), "%", at_least=90)


def measure_convolution(side: int) -> Figure:
    """Time both convolutions on planes of ``side``, forward and backward."""
    torch.manual_seed(0)
    planes = torch.randn(BATCH, CHANNELS, side, side, requires_grad=True)
    filters = torch.randn(BATCH, CHANNELS, CHANNELS, 3, 3, requires_grad=True)
    merged = planes.detach().reshape(1, BATCH * CHANNELS, side, side).requires_grad_()
    grouped = filters.detach().flatten(0, 1).requires_grad_()

    def hyper() -> None:
        conv2d_per_sample(planes, filters).sum().backward()

    def plain() -> None:
        F.conv2d(merged, grouped, padding=1, groups=BATCH).sum().backward()

    hyper()
    plain()
    ratios, seconds = [], []
    for _ in range(TURNS):
        plain_time, hyper_time = timed(plain), timed(hyper)
        ratios.append(hyper_time / plain_time)
        seconds.append(hyper_time)
    low, median, high = statistics.quantiles(ratios, n=4)
    name = f"HyperConv {BATCH}x{CHANNELS}x{side}x{side}"
    print(f"{name}: {statistics.median(seconds) * 1e3:.2f} ms, quartiles of the ratio {low:.2f}-{high:.2f}")
    return Figure(f"{name} / a grouped convolution", median, "x", at_most=1.3)


def measure_memory(model: str, *, batch_size: int = 8, side: int = 192) -> list[Figure]:
    """Take two steps after a small one has loaded the libraries; Linux only."""
    recipe, card = load_recipe("standin_raw2rgb", {"model": model}), get_card(model)
    objective = Objective(recipe, card.input, None)
    batch = Batch(torch.rand(batch_size, 4, side, side), torch.rand(batch_size, 3, 2 * side, 2 * side))
    need = footprint(card.build, objective, batch.planes[:1], batch.target[:1], epoch=0).bytes(batch_size)
    network = card.build()
    optimizer = torch.optim.Adam(network.parameters())

    def step(part: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        total(objective(network, part, epoch=0, step=0)).backward()
        optimizer.step()

    step(Batch(batch.planes[:1, :, :96, :96], batch.target[:1, :, :192, :192]))
    machine.return_free_memory()
    before = machine.resident_bytes()
    if before is None or not machine.reset_peak_resident():
        print(f"{model}: memory cannot be measured here")
        return []
    for _ in range(2):
        step(batch)
    used = (machine.peak_resident_bytes() or before) - before
    print(
        f"{model} at batch {batch_size} of {side}x{side}: predicted {need / 2**20:.0f} MiB, used {used / 2**20:.0f} MiB"
    )
    return [Figure(f"{model}: memory predicted / used", need / used, "x", at_least=1, at_most=2)]


def measure_forms(model: str) -> Figure:
    """Time forward and backward at 4x96x96, batch 4, in both forms of a network."""
    planes = torch.rand(4, 4, 96, 96) / 4

    def stepping(form: str) -> Callable[[], None]:
        network = create_model(model, form=form).train()

        def step() -> None:
            network.zero_grad()
            network(planes).square().mean().backward()

        step()
        return step

    training, deploy = stepping("training"), stepping("deploy")
    seconds = [(timed(training), timed(deploy)) for _ in range(TURNS)]
    low, median, high = statistics.quantiles([a / b for a, b in seconds], n=4)
    first, second = (1e3 * statistics.median(column) for column in zip(*seconds))
    print(f"{model}: {first:.0f} and {second:.0f} ms, quartiles of the ratio {low:.2f}-{high:.2f}")
    return Figure(f"{model}: a step in training form / in deploy form", median, "x", at_most=6)


def timed(call: Callable[[], None]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
