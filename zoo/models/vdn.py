"""VDN, a denoiser for sRGB whose second network estimates the noise: Table 2's baseline.

Paper: Z. Yue, H. Yong, Q. Zhao, L. Zhang, D. Meng, "Variational Denoising Network: Toward Blind Noise
Modeling and Removal", NeurIPS 2019, arXiv 1908.11314. Key names are those of the official PyTorch code
(zsyOAOA/VDNet, no licence file seen; nothing is copied from it). Written from a layer-by-layer
specification for this project (Apache-2.0).

``forward`` runs only the denoising net and does not clip; ``all_outputs`` runs both nets, as training and
the paper's FLOPs do; ``noise_parameters`` runs only the noise net. The modules are in ``zoo.layers``.
"""

from __future__ import annotations

from torch import nn

from zoo.card import register_model
from zoo.convention import InputSpec
from zoo.layers import VariationalDenoiser

_INPUT = InputSpec(layout="rgb", output_scale=1.0, multiple=8, min_size=8)
_PAPER = "Yue et al. 2019, NeurIPS, arXiv 1908.11314; row of arXiv 2105.08470, Table 2"
_LICENCE = "Apache-2.0 (written from a specification)"
_DIFFERENCES = (
    "sizes that are no multiples of 8 are refused (the adapter pads); the official net returns a smaller image there",
    "the denoised image is not clipped to [0, 1] by the network",
)


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=7_816_780,
    paper=_PAPER,
    licence=_LICENCE,
    official_weights="model_state_SIDD, model_state_niidgauss of zsyOAOA/VDNet; no licence file seen",
    differences=_DIFFERENCES,
)
def vdn(width: int = 64, noise_width: int = 64) -> nn.Module:
    """VDN denoiser for sRGB, 7.8 M parameters (both nets)."""
    return VariationalDenoiser(width, noise_width)


@register_model(
    task="denoise_rgb",
    input=_INPUT,
    params=123_668,
    paper=_PAPER,
    licence=_LICENCE,
    differences=(*_DIFFERENCES, "width 8 instead of 64, in both nets: for machines and tests"),
)
def vdn_w8(width: int = 8, noise_width: int = 8) -> nn.Module:
    """VDN denoiser for sRGB at width 8; for machines and tests."""
    return VariationalDenoiser(width, noise_width)
