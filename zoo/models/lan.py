"""LAN "Efficient" and "Robust": three 3x3 convolutions from packed RAW to RGB.

Paper: A. Arhire, R. Timofte, "Learned Lightweight Smartphone ISP with Unpaired Data", CVPR Workshops 2025, arXiv
2505.10420. Key names are those of the official PyTorch code (AndreiiArhire/Learned-Lightweight-Smartphone-ISP-with-
Unpaired-Data, no licence file; nothing is copied from it). Written from a layer-by-layer specification for this
project (Apache-2.0).

The input has a level for each plane: (counts - b) / (1023 - b), where b is 62 for blue, 60 for the green beside red, 58
for red and 61 for the green beside blue. The same numbers hold for both data sets of the paper: for the 10-bit counts
of ZRR, and for the files of UltraISP, 10-bit counts times 4, which then run from 0.2 to 4.2. So the option ``counts``
belongs to the weights.

A third network of the repository, RMFA-tiny, is in ``zoo.models.rmfa``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import Counts, InputSpec, of_counts


class LAN(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W) in [0, infinity); any H and W.

    ``first`` and ``second`` are the widths of the two hidden layers. Each convolution has zero padding and a bias.
    """

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.conv3 = nn.Conv2d(second, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W)."""
        x = F.relu(self.conv2(torch.tanh(self.conv1(x))))
        return F.pixel_shuffle(F.relu(self.conv3(x)), 2)


_BLACK = (62.0, 60.0, 58.0, 61.0)
_INPUT = of_counts(
    InputSpec(layout="bayer_packed", black_level=_BLACK, divisor=tuple(1023.0 - level for level in _BLACK))
)
_PAPER = "Arhire and Timofte 2025, CVPRW, arXiv 2505.10420"
_LICENCE = "Apache-2.0 (written from a specification)"


@register_model(
    task="raw2rgb",
    input_of=_INPUT,
    params=3_060,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=(
        "Efficient_ISP_*.pth of AndreiiArhire/Learned-Lightweight-Smartphone-ISP-with-Unpaired-Data, for UltraISP and"
        " for ZRR; no licence stated"
    ),
)
def lan_efficient(counts: Counts = "ultraisp") -> nn.Module:
    """LAN Efficient on packed RAW, 3,060 parameters."""
    return LAN(12, 12)


@register_model(
    task="raw2rgb",
    input_of=_INPUT,
    params=1_616,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights=(
        "Robust_*.pth of AndreiiArhire/Learned-Lightweight-Smartphone-ISP-with-Unpaired-Data, for UltraISP; no licence"
        " stated"
    ),
)
def lan_robust(counts: Counts = "ultraisp") -> nn.Module:
    """LAN Robust on packed RAW, 1,616 parameters."""
    return LAN(16, 4)
