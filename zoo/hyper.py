"""The HyperConvolution of arXiv 2105.08470: convolutions whose filters an MLP predicts from the image.

The block is certain from the paper's text; the layouts that use it (hyperunet, hypervdn) are
reconstructions and say so on their cards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


def normalize_filters(filters: Tensor, eps: float = 1e-12) -> Tensor:
    """Scale predicted filters (..., C_in, k, k) to He's variance 2/n, per output channel (Eqs. 3-5).

    With n = C_in k^2 and zero-mean normal entries, sigma is estimated by mean|W| sqrt(pi/2), so
    W' = W / ||W||_1 * 2 sqrt(n / pi). The L1 norm of 1 alone, the equation read literally, loses the signal
    within 20 layers.
    """
    n = filters.shape[-3:].numel()
    norm = filters.abs().sum(dim=(-3, -2, -1), keepdim=True)
    return filters / (norm + eps) * (2.0 * math.sqrt(n / math.pi))


def conv2d_per_sample(x: Tensor, filters: Tensor, padding: int = 1) -> Tensor:
    """Convolve each sample of x (N, C_in, H, W) with its own filters (N, C_out, C_in, k, k).

    One grouped convolution with N groups; a single sample takes the plain, faster path.
    """
    n, c_out = filters.shape[:2]
    if n == 1:
        return F.conv2d(x, filters[0], padding=padding)
    merged = x.reshape(1, n * x.shape[1], *x.shape[2:])
    output = F.conv2d(merged, filters.flatten(0, 1), padding=padding, groups=n)
    return output.reshape(n, c_out, *output.shape[2:])


class HyperConv2d(nn.Module):
    """A 3x3 convolution, padding 1, no bias, with one filter bank per sample predicted from ``embedding``.

    The embedding (N, embedding_channels, h, w) is max-pooled to pool x pool, flattened and sent through an
    MLP with two hidden layers; its output is reshaped to (N, C_out, C_in, 3, 3) and normalised.
    """

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
        # Predicted filters need mean zero: a common offset of half a sigma overflows float32 in 20 layers.
        nn.init.normal_(last.weight, std=1.0 / math.sqrt(hidden))
        nn.init.zeros_(last.bias)

    def predict_filters(self, embedding: Tensor) -> Tensor:
        """Return the normalised filters (N, C_out, C_in, 3, 3) for ``embedding``."""
        pooled = F.adaptive_max_pool2d(embedding, self.pool).flatten(1)
        return normalize_filters(self.mlp(pooled).unflatten(1, self.filter_shape))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Convolve x (N, C_in, H, W) with the filters predicted from ``embedding``: (N, C_out, H, W)."""
        return conv2d_per_sample(x, self.predict_filters(embedding))
