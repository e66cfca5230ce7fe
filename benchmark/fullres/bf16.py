"""The networks that predict filters in bfloat16, and what that costs in exactness."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.backends import has_bf16
from benchmark.fullres.checking import probe_planes
from benchmark.fullres.hyper import hyper_layers
from benchmark.fullres.subject import Subject
from zoo.errors import UserError
from zoo.hyper import HyperConv2d
from zoo.splitting import predicting


@dataclass(frozen=True)
class Bf16Error:
    """By how much bfloat16 changes the filters and the output for an image of noise: RMS of the difference over RMS.

    ``filters`` is the largest error of any layer, where each layer gets the embedding of the float32 network;
    ``output`` is the error of the whole network, where a layer's embedding may depend on the filters of earlier layers.
    """

    filters: float
    output: float

    @property
    def text(self) -> str:
        """Return the error as a text for the user."""
        return (
            f"filters predicted in bf16 differ by at most {100 * self.filters:.2g} % RMS,"
            f" the output by {100 * self.output:.2g} % RMS (on an image of noise)"
        )


def filters_in_bf16(subject: Subject) -> Bf16Error:
    """Convert the networks that predict filters to bfloat16 in place and return the error; they read half the bytes.

    Raises UserError for a network that predicts no filters, and on a processor where bfloat16 would only be slower.
    """
    layers = hyper_layers(subject.network)
    if not layers:
        raise UserError("--mlp-precision bf16: this network predicts no filters; leave the option out.")
    if not has_bf16():
        raise UserError("--mlp-precision bf16: this processor has no bf16 instructions; leave the option out.")
    embeddings: dict[HyperConv2d, Tensor] = {}
    filters: dict[HyperConv2d, Tensor] = {}

    def predict(layer: HyperConv2d, embedding: Tensor) -> Tensor:
        embeddings[layer], filters[layer] = embedding, HyperConv2d.predict_filters(layer, embedding)
        return filters[layer]

    side = subject.side(64)
    planes = probe_planes(subject.channels, (side, side))
    with torch.inference_mode():
        with predicting(subject.network, predict):
            exact = subject.network(planes)
        for layer in layers:
            layer.mlp.to(torch.bfloat16)
        worst = max(_relative(layer.predict_filters(embeddings[layer]), bank) for layer, bank in filters.items())
        return Bf16Error(worst, _relative(subject.network(planes), exact))


def _relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).square().mean().sqrt() / exact.square().mean().sqrt())
