"""The floor for denoising gray images: no parameters, no training. ``identity`` is that for colour images."""

from __future__ import annotations

from torch import nn

from zoo.card import register_model


@register_model(task="denoise_gray", params=0, licence="Apache-2.0")
def identity_gray() -> nn.Module:
    """The input unchanged: the floor for denoising gray images."""
    return nn.Identity()
