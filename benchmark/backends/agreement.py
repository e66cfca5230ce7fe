"""Check whether exported files compute the same outputs as torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.backends import ENGINES
from zoo.splitting import FilterNetwork

# In float32, relative to the largest value of the output.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Agreement:
    """The difference of two outputs for planes of ``shape``; ``largest`` is the largest absolute value of torch's."""

    shape: list[int]
    max_abs_error: float
    largest: float

    @property
    def relative_error(self) -> float:
        """Return the largest difference over the largest value."""
        if self.max_abs_error == 0:
            return 0.0
        return self.max_abs_error / self.largest if self.largest else float("inf")

    @property
    def ok(self) -> bool:
        """Whether the relative error is within the tolerance; False for NaN."""
        return self.relative_error <= TOLERANCE

    @property
    def errors(self) -> dict[str, float]:
        """Return both errors by name."""
        return {"max_abs_error": self.max_abs_error, "relative_error": self.relative_error}


def agreement(
    network: nn.Module,
    files: Sequence[Path],
    planes: Tensor,
    engine: str = "onnxruntime",
    filters: Sequence[int] | None = None,
) -> Agreement:
    """Compare a network with its file, or with the two of a hyper-network (forward, filters), run by ``engine``.

    The filters are predicted by their file, so that all computations are compared. If ``planes`` do not have the shape
    ``filters`` that this file takes, torch predicts them.
    """
    open_file, threads = ENGINES[engine].open_file, torch.get_num_threads()
    inputs = [planes]
    expected = network(planes)
    if len(files) == 2:
        fits = list(filters or []) == list(planes.shape)
        predict = open_file(files[1], [planes.shape], threads) if fits else None
        inputs += predict([planes]) if predict else FilterNetwork(network)(planes)
    run = open_file(files[0], [tensor.shape for tensor in inputs], threads)
    (output,) = run([tensor.contiguous() for tensor in inputs])
    return Agreement(list(planes.shape), float((output - expected).abs().max()), float(expected.abs().max()))
