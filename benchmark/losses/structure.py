"""Losses of structure: SSIM and MS-SSIM. Only this module uses pytorch_msssim."""

from __future__ import annotations

from pytorch_msssim import ms_ssim, ssim
from torch import Tensor

from benchmark.losses import register_loss
from zoo.errors import UserError

# The window of both, and the side that halved four times gives it.
WINDOW = 11
MSSSIM_SMALLEST_SIDE = 176


@register_loss("ssim")
def ssim_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 1 - SSIM over channels and images, as the metric ssim[gaussian11,rgb] defines it.

    Raises UserError for a side under 11 pixels, the size of the window.
    """
    check_side("ssim", min(target.shape[-2:]), WINDOW, f"a window of {WINDOW}")
    return 1.0 - ssim(_planes(output), _planes(target), data_range=1.0)


@register_loss("msssim")
def msssim_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of 1 - MS-SSIM over channels and images, with negative contrasts set to 0.

    Raises UserError for a side under 176 pixels, which is too small for five scales of an 11-pixel window.
    """
    check_side("msssim", min(target.shape[-2:]), MSSSIM_SMALLEST_SIDE, f"five scales, window of {WINDOW}")
    return 1.0 - ms_ssim(_planes(output), _planes(target), data_range=1.0)


def _planes(images: Tensor) -> Tensor:
    """Return (N, C, H, W) as the channels of one image, which are independent: torch filters them 3 times as fast."""
    return images.reshape(1, -1, *images.shape[-2:])


def check_side(name: str, side: int, least: int, why: str) -> None:
    """Raise UserError if targets whose shorter side is ``side`` are too small for a loss."""
    if side < least:
        raise UserError(
            f"loss {name}: targets of {side} pixels are too small; expected sides of at least {least} ({why})."
            " Choose a larger crop or another loss, such as mse."
        )
