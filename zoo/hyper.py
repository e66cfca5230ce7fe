"""The HyperConvolution of arXiv 2105.08470: convolutions whose filters an MLP predicts from the image.

The paper's text defines this block completely; the layouts that use it (hyperunet, hypervdn) are reconstructions, as
their cards say.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def normalize_filters(filters: Tensor, eps: float = 1e-12) -> Tensor:
    """Scale predicted filters (..., C_in, k, k) to He's variance 2/n, per output channel (Eqs. 3-5).

    With n = C_in k^2 and zero-mean normal entries, sigma is estimated by mean|W| sqrt(pi/2), so
    W' = W / ||W||_1 * 2 sqrt(n / pi). Only an L1 norm of 1, the literal reading of the equation, loses the signal
    within 20 layers.
    """
    n = filters.shape[-3:].numel()
    norm = filters.abs().sum(dim=(-3, -2, -1), keepdim=True)
    return filters / (norm + eps) * (2.0 * math.sqrt(n / math.pi))


def conv2d_per_sample(x: Tensor, filters: Tensor, padding: int = 1) -> Tensor:
    """Convolve each sample of x (N, C_in, H, W) with its own filters (N, C_out, C_in, k, k).

    A single sample uses the plain convolution. Several samples use one grouped convolution with N groups. In the
    channels-last format this would mean two copies and a slow kernel on a CPU, so there each sample is convolved
    separately. The output has the memory format of x. ``speed/hyper.py`` compares these methods.
    """
    n, c_out = filters.shape[:2]
    if n == 1:
        return F.conv2d(x, filters[0], padding=padding)
    if x.device.type == "cpu" and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.cat([F.conv2d(one, bank, padding=padding) for one, bank in zip(x.split(1), filters)])
    merged = x.reshape(1, n * x.shape[1], *x.shape[2:])
    output = F.conv2d(merged, filters.flatten(0, 1), padding=padding, groups=n)
    return output.reshape(n, c_out, *output.shape[2:])


# The outputs of a linear layer are computed in at most this many blocks, one per thread; small layers are not split.
_BLOCKS, _FEW_WEIGHTS = 64, 1 << 16


def linear_of_one(layer: nn.Linear, code: Tensor) -> Tensor:
    """Return ``layer(code)`` for a single row (1, C), in float32 on a CPU, computed in equal blocks of outputs.

    For one row a layer mainly reads its weights once. The matrix library (MKL in torch 2.14, on an AMD processor) does
    this with one thread only; blocks, as a batch of products, are distributed over all threads.
    """
    blocks = max(count for count in range(1, _BLOCKS + 1) if layer.out_features % count == 0)
    weight, bias = layer.weight.unflatten(0, (blocks, -1)), layer.bias.unflatten(0, (blocks, 1, -1))
    return torch.baddbmm(bias, code.expand(blocks, 1, -1), weight.mT).view(1, -1)


class HyperConv2d(nn.Module):
    """A 3x3 convolution, padding 1, no bias, with one filter bank per sample predicted from ``embedding``.

    The embedding (N, embedding_channels, h, w) is max-pooled to pool x pool, flattened and sent through an
    MLP with two hidden layers; its output is reshaped to (N, C_out, C_in, 3, 3) and normalised.

    If ``fixed_filters`` (1, C_out, C_in, 3, 3) are set, they replace the predicted ones for every sample: the tiles of
    an image, or the frames of a burst, are convolved with filters that were predicted once.
    """

    fixed_filters: Tensor | None = None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        embedding_channels: int,
        hidden: int,
        pool: int = 2,
        activation: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.filter_shape = (out_channels, in_channels, 3, 3)
        self.pool = pool
        last = nn.Linear(hidden, math.prod(self.filter_shape))
        self.mlp = nn.Sequential(
            nn.Linear(embedding_channels * pool * pool, hidden),
            activation(),
            nn.Linear(hidden, hidden),
            activation(),
            last,
        )
        # Predicted filters must have zero mean: with a common offset of half a sigma the signal grows at each layer.
        nn.init.normal_(last.weight, std=1.0 / math.sqrt(hidden))
        nn.init.zeros_(last.bias)

    def predict_filters(self, embedding: Tensor) -> Tensor:
        """Return the normalised filters (N, C_out, C_in, 3, 3) for ``embedding``."""
        return self.filters_of(F.adaptive_max_pool2d(embedding, self.pool))

    def filters_of(self, pooled: Tensor) -> Tensor:
        """Return the normalised filters (N, C_out, C_in, 3, 3) for an embedding's maxima (N, C, pool, pool).

        The MLP computes in the precision of its weights, the normalisation in that of ``pooled``.
        """
        code = pooled.flatten(1)
        bank = self._bank(code.to(next(self.mlp.parameters()).dtype)).to(code.dtype)
        return normalize_filters(bank.unflatten(1, self.filter_shape))

    def _bank(self, code: Tensor) -> Tensor:
        # Code that inspects the layers of a pass (counters, graphs, gradients) must see the real layers.
        plain = code.dtype == torch.float32 and code.device.type == "cpu" and torch.is_inference_mode_enabled()
        if code.shape[0] != 1 or not plain:
            bank: Tensor = self.mlp(code)
            return bank
        for layer in self.mlp:
            if isinstance(layer, nn.Linear) and layer.weight.numel() > _FEW_WEIGHTS:
                code = linear_of_one(layer, code)
            else:
                code = layer(code)
        return code

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        """Convolve x (N, C_in, H, W) with the filters predicted from ``embedding``: (N, C_out, H, W).

        With ``fixed_filters`` the embedding is not used and may be None.
        """
        if self.fixed_filters is not None:
            return F.conv2d(x, self.fixed_filters[0].to(x.dtype), padding=1)
        if embedding is None:
            raise ValueError("a HyperConv without fixed filters needs an embedding")
        return conv2d_per_sample(x, self.predict_filters(embedding))


def embedding_for(network: nn.Module, x: Tensor, *layers: HyperConv2d) -> Tensor | None:
    """Return ``network(x)``, or None if all ``layers`` have fixed filters and would not use it."""
    if all(layer.fixed_filters is not None for layer in layers):
        return None
    return network(x)
