"""Check whether ONNX files compute the same outputs as torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

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


def agreement(network: nn.Module, files: Sequence[Path], planes: Tensor) -> Agreement:
    """Compare a network with its ONNX file, or with the two of a hyper-network (forward, filters), on ``planes``.

    The filters are predicted by their file, so that all computations are compared. If the filters' file has another
    size than ``planes``, torch predicts them.
    """
    from benchmark.backends.onnxruntime import pass_of, session_of

    threads = torch.get_num_threads()
    inputs = [planes]
    expected = network(planes)
    if len(files) == 2:
        session = session_of(files[1], threads)
        fits = session.get_inputs()[0].shape == list(planes.shape)
        inputs += pass_of(session)([planes]) if fits else FilterNetwork(network)(planes)
    (output,) = pass_of(session_of(files[0], threads))(inputs)
    return Agreement(list(planes.shape), float((output - expected).abs().max()), float(expected.abs().max()))
