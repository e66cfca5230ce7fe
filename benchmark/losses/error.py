"""Losses of the difference in each pixel: squared, absolute, smooth, by colour direction, outlier-aware, PSNR."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.losses import register_loss


@register_loss()
def mse(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error."""
    return F.mse_loss(output, target)


@register_loss()
def l1(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error."""
    return F.l1_loss(output, target)


@register_loss()
def charbonnier(output: Tensor, target: Tensor, *, eps: float = 1e-8) -> Tensor:
    """Return the mean of sqrt(d^2 + eps^2) over all differences d; the absolute error, but smooth at 0."""
    return torch.sqrt((output - target).square() + eps**2).mean()


@register_loss("cosine")
def cosine_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean over pixels of 1 - cosine between the colours of the output, clipped to [0, 1], and the target.

    Each norm is at least 1e-8, so a black pixel counts 1.
    """
    return 1.0 - F.cosine_similarity(output.clamp(0.0, 1.0), target, dim=1).mean()


@register_loss("outlier_aware")
def outlier_aware_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return SYENet's outlier-aware loss: the mean of each absolute error times 1 - exp(-z).

    z is the distance of an error from the mean error of its image and channel, over their standard deviation / sqrt 2.
    The weights have no gradient.
    """
    # SYENet states no constant; this one only prevents 0 / 0 for equal errors.
    distance = _distance_from_mean(output - target, eps=1e-12)
    return ((output - target).abs() * (1.0 - torch.exp(-distance))).mean()


@register_loss("outlier_aware_tanh")
def outlier_aware_tanh_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return MobileIE's outlier-aware loss: as SYENet's, with the weights tanh(z)."""
    distance = _distance_from_mean(output - target, eps=1e-6)
    return ((output - target).abs() * torch.tanh(distance)).mean()


@torch.no_grad()
def _distance_from_mean(errors: Tensor, *, eps: float) -> Tensor:
    spread = errors.std(dim=(-2, -1), keepdim=True) / math.sqrt(2)
    return (errors - errors.mean(dim=(-2, -1), keepdim=True)).abs() / (spread + eps)


@register_loss("psnr")
def psnr_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return (50 - PSNR) / 100, with the mean over the images of each one's PSNR in dB, peak 1, not clipped.

    1e-8 is added to each mean squared error, so the PSNR is at most 80 dB.
    """
    errors = (output - target).square().mean(dim=(1, 2, 3))
    return (50.0 + 10.0 * torch.log10(errors + 1e-8).mean()) / 100.0
