"""SPADE generator on packed RAW, the starred SPADE row of the paper's Table 1.

Core: Park et al., "Semantic Image Synthesis with Spatially-Adaptive Normalization", CVPR 2019, arXiv 1903.07291,
without VAE, "normal" upsampling. Written from a layer-by-layer specification for this project (Apache-2.0); the
official code (NVlabs/SPADE) is CC BY-NC-SA and nothing is copied from it. Attributes carry the names of its
checkpoints' keys.

The PyNET paper (arXiv 2002.05509), whose scores the row repeats, does not give its configuration. Ours: the
packed RAW takes the place of the label map, and the start size follows the input, so that the output is twice
as large as the planes.

Free choices:

- conditioning: the four planes as they are, in place of 184 label channels, at the start and in all 18 norms.
- sizes: the start is 1/16 of the planes, whose height and width are padded to multiples of 16.
- configuration: 64 channels, "normal" upsampling, no encoder of a style image. The printed 97 M belong to 184 label
  channels, the printed 0.8 T to one patch or to another network, so neither confirms this one.
- output: (tanh + 1) / 2.
- initialisation: Xavier normal with gain 0.02 and zero biases, as in the official code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.card import register_model
from zoo.convention import InputSpec


def _initialise(weight: Tensor, bias: Tensor | None) -> None:
    nn.init.xavier_normal_(weight, gain=0.02)
    if bias is not None:
        nn.init.zeros_(bias)


def _conv3(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    _initialise(conv.weight, conv.bias)
    return conv


class SpectralConv2d(nn.Module):
    """A convolution, zero padding, whose weight is divided by its largest singular value sigma = u^T W v.

    W is the weight as a matrix (out, in k k). Training takes one power iteration per forward pass, evaluation
    uses the stored u and v. Keys are those of ``torch.nn.utils.spectral_norm``, which is not used because it
    leaves a computed tensor on the module, so that a network cannot be deep-copied once it ran.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.weight_orig = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        _initialise(self.weight_orig, self.bias)
        u = F.normalize(torch.randn(out_channels), dim=0, eps=1e-12)
        self.register_buffer("weight_u", u)
        # If v were random too, sigma could be near zero before the first training step.
        self.register_buffer("weight_v", F.normalize(self.weight_orig.detach().flatten(1).T @ u, dim=0, eps=1e-12))

    @torch.no_grad()
    def _power_iteration(self) -> tuple[Tensor, Tensor]:
        """Take one step, store it and return u and v; the backward pass needs copies separate from the buffers."""
        matrix = self.weight_orig.flatten(1)
        v = F.normalize(matrix.T @ self.weight_u, dim=0, eps=1e-12)
        u = F.normalize(matrix @ v, dim=0, eps=1e-12)
        self.weight_u.copy_(u)
        self.weight_v.copy_(v)
        return u, v

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, a, H, W) to (N, b, H, W)."""
        u, v = self._power_iteration() if self.training else (self.weight_u, self.weight_v)
        sigma = torch.dot(u, self.weight_orig.flatten(1) @ v)
        return F.conv2d(x, self.weight_orig / sigma, self.bias, padding=self.padding)


class SPADE(nn.Module):
    """Batch norm without parameters, then scale and shift per pixel from the RAW planes: (N, C, H, W) -> same."""

    def __init__(self, channels: int, map_channels: int) -> None:
        super().__init__()
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(_conv3(map_channels, 128), nn.ReLU())
        self.mlp_gamma = _conv3(128, channels)
        self.mlp_beta = _conv3(128, channels)

    def forward(self, x: Tensor, raw: Tensor) -> Tensor:
        """Normalise x and modulate it by the planes, resized to the size of x."""
        shared = self.mlp_shared(F.interpolate(raw, size=x.shape[-2:], mode="nearest"))
        # Computed in place, because in the last block at 12 MP every tensor here takes 6 GiB.
        modulated = 1 + self.mlp_gamma(shared)
        modulated *= self.param_free_norm(x)
        modulated += self.mlp_beta(shared)
        return modulated


class SPADEBlock(nn.Module):
    """Residual block a -> b of two modulated convolutions; a third on the shortcut where a differs from b."""

    def __init__(self, in_channels: int, out_channels: int, map_channels: int) -> None:
        super().__init__()
        a, b = in_channels, out_channels
        mid = min(a, b)
        self.conv_0 = SpectralConv2d(a, mid, 3)
        self.conv_1 = SpectralConv2d(mid, b, 3)
        self.conv_s = SpectralConv2d(a, b, 1, bias=False) if a != b else None
        self.norm_0 = SPADE(a, map_channels)
        self.norm_1 = SPADE(mid, map_channels)
        self.norm_s = SPADE(a, map_channels) if a != b else None

    def forward(self, x: Tensor, raw: Tensor) -> Tensor:
        """Map (N, a, H, W) to (N, b, H, W), modulated by the planes; neither path ends in an activation."""
        shortcut = x
        if self.norm_s is not None and self.conv_s is not None:
            shortcut = self.conv_s(self.norm_s(x, raw))
        t = self.conv_0(F.leaky_relu(self.norm_0(x, raw), 0.2))
        t = self.conv_1(F.leaky_relu(self.norm_1(t, raw), 0.2))
        return shortcut + t


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class SPADEGenerator(nn.Module):
    """Packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W) in (-1, 1); H and W multiples of 16.

    ``map_channels`` is the number of input planes; the official networks have one per label there.
    """

    def __init__(self, width: int, *, map_channels: int = 4) -> None:
        super().__init__()
        w, s = width, map_channels
        self.fc = _conv3(s, 16 * w)
        self.head_0 = SPADEBlock(16 * w, 16 * w, s)
        self.G_middle_0 = SPADEBlock(16 * w, 16 * w, s)
        self.G_middle_1 = SPADEBlock(16 * w, 16 * w, s)
        self.up_0 = SPADEBlock(16 * w, 8 * w, s)
        self.up_1 = SPADEBlock(8 * w, 4 * w, s)
        self.up_2 = SPADEBlock(4 * w, 2 * w, s)
        self.up_3 = SPADEBlock(2 * w, w, s)
        self.conv_img = _conv3(w, 3)

    def forward(self, raw: Tensor) -> Tensor:
        """Map packed RAW (N, 4, H, W) to RGB (N, 3, 2H, 2W) in (-1, 1); H and W multiples of 16.

        Raises ValueError for other sizes.
        """
        height, width = raw.shape[-2:]
        if height % 16 or width % 16 or min(height, width) < 16:
            raise ValueError(f"SPADE takes planes with multiples of 16, at least 16; got {height}x{width}")
        t = self.fc(F.interpolate(raw, size=(height // 16, width // 16), mode="nearest"))
        t = self.head_0(t, raw)
        t = _double(t)
        t = self.G_middle_0(t, raw)
        t = self.G_middle_1(t, raw)
        t = _double(t)
        t = self.up_0(t, raw)
        t = _double(t)
        t = self.up_1(t, raw)
        t = _double(t)
        t = self.up_2(t, raw)
        t = _double(t)
        t = self.up_3(t, raw)
        return torch.tanh(self.conv_img(F.leaky_relu(t, 0.2)))


def convert_checkpoint(state: dict[str, Any]) -> dict[str, Any]:
    """Return ``state`` with every ``weight_v``; PyTorch before 1.0.1 stored ``weight`` = W / sigma in its place.

    Any v with u^T W v = sigma gives the stored weight; the first training step replaces it.
    """
    converted = dict(state)
    for key, weight in state.items():
        stem, _, leaf = key.rpartition("weight")
        original, u = state.get(f"{stem}weight_orig"), state.get(f"{stem}weight_u")
        if leaf or original is None or u is None or f"{stem}weight_v" in state:
            continue
        matrix = original.flatten(1)
        direction = matrix.T @ u
        sigma = (matrix * weight.flatten(1)).sum() / weight.square().sum()
        converted[f"{stem}weight_v"] = direction * (sigma / direction.square().sum())
        del converted[key]
    return converted


@register_model(
    task="raw2rgb",
    input=InputSpec(layout="bayer_packed", multiple=16, min_size=16, output_range=(-1.0, 1.0)),
    params=92_089_539,
    paper="Park et al., CVPR 2019, arXiv 1903.07291 (core); row of arXiv 2105.08470, Table 1",
    licence="Apache-2.0 (written from a specification)",
    official_weights="none for RAW; the COCO-Stuff generators of NVlabs/SPADE (CC BY-NC-SA) have other input channels",
    differences=(
        "the packed RAW is the conditioning map (4 channels); the official networks take label maps",
        "the start size is 1/16 of the planes instead of fixed, so that the output is twice their size",
        "batch statistics in training are those of one device; the official code synchronises them",
        "the table's 97 M parameters are the official COCO-Stuff generator with 184 label channels",
    ),
    reconstruction=True,
    convert_checkpoint=convert_checkpoint,
)
def spade(width: int = 64) -> nn.Module:
    """SPADE generator conditioned on packed RAW, 92.1 M parameters."""
    return SPADEGenerator(width)
