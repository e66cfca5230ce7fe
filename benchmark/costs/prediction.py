"""Predict by counting what one pass needs: this decides if a measurement can run, and gives its ceilings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmark.conditions import Conditions
from benchmark.costs.profiling import meta_model, trace_or_run
from benchmark.counting.trace import Trace
from benchmark.placing import PRECISIONS
from zoo.card import get_card


@dataclass(frozen=True)
class Predicted:
    """The counted costs of one pass in float32; ``vars`` makes it JSON-ready."""

    shape: Sequence[int]
    output_pixels: int
    flops: int
    moved_bytes: int
    peak_activation_bytes: int
    peak_workspace_bytes: int
    weight_bytes: int
    # Whether ``flops`` includes every operation that multiplies and accumulates.
    complete: bool = True

    def need(self, conditions: Conditions) -> int:
        """Return the bytes of activations, workspace and weights under ``conditions``.

        For an engine this is a guess, because its own buffers are not known; it is enough to refuse what cannot run.
        """
        if not conditions.by_torch:
            # The weights exist three times: in torch, while they are passed to the engine, and in the engine.
            return self.peak_activation_bytes + 3 * self.weight_bytes
        scale = torch.finfo(PRECISIONS[conditions.precision]).bits / 32
        plain = conditions.device == "cpu" and not conditions.channels_last
        activations = self.peak_workspace_bytes if plain else self.peak_activation_bytes
        return int(scale * (activations + self.weight_bytes))


def predicted_of(traced: Trace, network: nn.Module) -> Predicted:
    """Return the prediction for the pass that was traced."""
    return Predicted(
        shape=traced.input_shape,
        output_pixels=math.prod(traced.output_shape[-2:]),
        flops=2 * traced.macs,
        moved_bytes=traced.moved_bytes,
        peak_activation_bytes=traced.peak_activation_bytes,
        peak_workspace_bytes=traced.peak_workspace_bytes,
        weight_bytes=sum(p.nbytes for p in network.parameters()),
        complete=not traced.missing_ops,
    )


def predict(model: str, size: tuple[int, int], options: Mapping[str, Any]) -> Predicted:
    """Count one pass over planes of ``size``; raises UserError or CostError for a model that cannot be counted.

    A model that cannot run on meta tensors is predicted for the small size at which it really ran.
    """
    card = get_card(model)
    network = meta_model(card, options)
    return predicted_of(trace_or_run(card, options, size, network)[0], network)
