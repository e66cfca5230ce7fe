"""Batches for training: the samples, their order, their windows and flips.

The order is a pure function of (seed, epoch), and a sample's window of (seed, epoch, place in the epoch). So a resumed
run needs no state of the loader, and the number of threads changes nothing.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from benchmark.training.windows import draw_window
from benchmark.types import Dataset, Sample
from zoo.convention import InputSpec
from zoo.errors import UserError
from zoo.raw import to_network

_ORDER, _WINDOW = 1, 2  # each has its own stream of random numbers
_AHEAD = 3  # the largest number of batches that are made ahead


@dataclass(frozen=True)
class Batch:
    """The input of a step: ``planes`` (N, C, h, w) as the network receives them, ``target`` (N, 3, H, W) or gray."""

    planes: Tensor
    target: Tensor


@dataclass(frozen=True)
class Stored:
    """A sample whose images may be stored as integers; if a scale is not 0, the values must be multiplied by it."""

    sample: Sample
    input_scale: float = 0.0
    target_scale: float = 0.0


@dataclass(frozen=True)
class Cut:
    """How samples become batches. ``side``: side of a window in packed planes (RAW) or pixels; None: whole images.

    ``noise``: the lowest and the highest level of the noise that is added to each window, on the scale of 8-bit values;
    None: the samples are noisy, or have no noise.
    """

    spec: InputSpec
    side: int | None
    augment: bool
    seed: int
    noise: tuple[float, float] | None = None

    def apply(self, stored: Stored, epoch: int, place: int) -> Batch:
        """Return one sample's window as a batch of one; raises UserError naming a sample that is too small."""
        sample = stored.sample
        rng = np.random.default_rng([self.seed, _WINDOW, epoch, place])
        is_raw = self.spec.is_raw
        side = None if self.side is None else self.side * (2 if is_raw else 1)
        height, width = sample.input.shape[-2:]
        try:
            window = draw_window(
                rng, (height, width), side=side, augment=self.augment, red=sample.red if is_raw else None
            )
        except ValueError:
            raise UserError(
                f"recipe: crop: {self.side} needs {side}x{side} pixels, image {sample.id} has {height}x{width};"
                " choose a smaller crop."
            ) from None
        # Windows begin with red for every colour filter.
        image = _restore(window.take(sample.input), stored.input_scale)
        sigma = sample.sigma
        if self.noise is not None:
            sigma = float(rng.uniform(*self.noise))
            drawn = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
            image = image + drawn * (sigma / 255)
        planes = to_network(image, self.spec, black=sample.black, white=sample.white, sigma=sigma)
        return Batch(planes, _restore(window.take(sample.target), stored.target_scale))


class SampleCache:
    """Decoded samples in memory up to a budget; samples beyond it are decoded at each use. Safe for threads.

    Counts and 8-bit pixels are kept as integers if nothing is lost: this takes a quarter or half of the memory.
    """

    def __init__(self, dataset: Dataset, *, budget_bytes: int) -> None:
        self.dataset = dataset
        self._left = budget_bytes
        self._kept: dict[int, Stored] = {}
        self._lock = threading.Lock()

    def __getitem__(self, index: int) -> Stored:
        """Return sample ``index``."""
        return self._kept.get(index) or self._load(index)

    def _load(self, index: int) -> Stored:
        sample = self.dataset[index]
        (image, input_scale), (target, target_scale) = _compact(sample.input), _compact(sample.target)
        size = sum(tensor.numel() * tensor.element_size() for tensor in (image, target))
        stored = Stored(replace(sample, input=image, target=target), input_scale, target_scale)
        with self._lock:
            if index not in self._kept and size <= self._left:
                self._left -= size
                self._kept[index] = stored
        return stored


def _compact(image: Tensor) -> tuple[Tensor, float]:
    """Return integers and their scale if ``_restore`` gives every bit back, else the unchanged image and scale 0."""
    for kind, scale, most in ((torch.uint8, 255.0, 255), (torch.int16, 1.0, 32767)):
        counts = (image * scale).round()
        if counts.min() >= 0 and counts.max() <= most and torch.equal(counts / scale, image):
            return counts.to(kind), scale
    return image, 0.0


def _restore(image: Tensor, scale: float) -> Tensor:
    return image.float() / scale if scale else image


@dataclass(frozen=True)
class EpochPlan:
    """The number of steps in an epoch and the samples of each step, over all processes.

    An epoch shows every sample ``crops`` times, each time in a new window; an incomplete last batch is left out.
    """

    samples: int
    crops: int
    batch_size: int
    seed: int
    processes: int = 1

    def __post_init__(self) -> None:
        """Raise UserError if there is not one whole batch."""
        if not self.steps_per_epoch:
            raise UserError(
                f"recipe: batch_size: {self.batch_size} x {self.processes} process(es) is more than the"
                f" {self.samples * self.crops} windows of an epoch; choose a smaller batch or more crops_per_image."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Number of whole batches in an epoch."""
        return self.samples * self.crops // (self.batch_size * self.processes)

    def places(self, step: int, process: int = 0) -> tuple[int, list[int]]:
        """Return the epoch of ``step`` (from 0) and the places for a process; place p is sample p mod samples.

        An epoch shows its places in a random order.
        """
        epoch, within = divmod(step, self.steps_per_epoch)
        start = (within * self.processes + process) * self.batch_size
        return epoch, _order(self.seed, epoch, self.samples * self.crops)[start : start + self.batch_size].tolist()


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(count)


def make_batch(cache: SampleCache, plan: EpochPlan, cut: Cut, step: int, process: int = 0) -> Batch:
    """Return the batch of a step; raises UserError if its images have different sizes."""
    epoch, places = plan.places(step, process)
    parts = [cut.apply(cache[place % plan.samples], epoch, place) for place in places]
    if len({part.planes.shape for part in parts}) > 1:
        raise UserError("recipe: the images have different sizes; set crop, the side of the planes in a batch.")
    return Batch(torch.cat([part.planes for part in parts]), torch.cat([part.target for part in parts]).contiguous())


def batches(
    cache: SampleCache, plan: EpochPlan, cut: Cut, *, start: int, stop: int, process: int = 0, workers: int = 1
) -> Generator[Batch, None, None]:
    """Yield the batches of steps ``start`` to ``stop`` - 1, made ahead by ``workers`` threads (0: made on demand)."""
    if workers == 0:
        for step in range(start, stop):
            yield make_batch(cache, plan, cut, step, process)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    waiting: deque[Future[Batch]] = deque()
    try:
        for step in range(start, stop):
            while len(waiting) < min(_AHEAD * workers, stop - step):
                waiting.append(pool.submit(make_batch, cache, plan, cut, step + len(waiting), process))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
