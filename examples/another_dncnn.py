"""DnCNN as somebody else may have written it, to show how ``zoo-bench verify`` checks a port; nothing is downloaded.

    zoo-bench verify dncnn_20_color --against examples/another_dncnn.py:Denoiser --noise
    zoo-bench verify dncnn_20_color --against examples/another_dncnn.py:Denoiser --noise --init padding=replicate

The network is ``dncnn_20_color``, but its weights have other names and another order, it pads and clips without
modules, and it returns the noise. The first command maps the weights and exits with 0. The second is a mistake that is
easily made, another padding: it exits with 1, and names the first layer that shows it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Denoiser(nn.Module):
    """Noisy image (N, 3, H, W) to its noise."""

    def __init__(self, width: int = 64, depth: int = 20, padding: str = "constant") -> None:
        super().__init__()
        # Not in the order in which they run.
        self.tail = nn.Conv2d(width, 3, 3)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3) for _ in range(depth - 2))
        self.head = nn.Conv2d(3, width, 3)
        self.padding = padding

    def forward(self, image: Tensor) -> Tensor:
        """Return the noise of ``image``."""
        features = self._padded(image)
        for layer in (self.head, *self.body):
            features = self._padded(layer(features).clamp(min=0))
        return self.tail(features)

    def _padded(self, features: Tensor) -> Tensor:
        return F.pad(features, (1, 1, 1, 1), mode=self.padding)
