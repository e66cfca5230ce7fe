"""Losses of detail: gradients, edges, frequencies, total variation."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.losses import register_loss


@register_loss()
def gradient(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of horizontal differences of neighbours plus that of vertical ones."""
    errors = output - target
    return errors.diff(dim=-1).abs().mean() + errors.diff(dim=-2).abs().mean()


@register_loss()
def edge(output: Tensor, target: Tensor, *, eps: float = 1e-3) -> Tensor:
    """Return the Charbonnier loss of the edges: of a pixel times 4 minus its four neighbours, borders replicated."""
    errors = F.pad(output - target, (1, 1, 1, 1), mode="replicate")
    rows, columns = errors[..., 1:-1], errors[..., 1:-1, :]
    edges = -(rows.diff(dim=-2).diff(dim=-2) + columns.diff(dim=-1).diff(dim=-1))
    return torch.sqrt(edges.square() + eps**2).mean()


@register_loss()
def fft(output: Tensor, target: Tensor, *, norm: Literal["backward", "ortho", "forward"] = "backward") -> Tensor:
    """Return the mean absolute error of real and imaginary parts of the 2-D Fourier transform, over all frequencies.

    ``norm`` is that of torch.fft: by default the transform is a sum over the pixels, so the loss grows with the crop.
    """
    return torch.view_as_real(torch.fft.fft2(output - target, norm=norm)).abs().mean()


@register_loss()
def total_variation(output: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of horizontal neighbours plus that of vertical ones (anisotropic, squared).

    It needs no target.
    """
    return output.diff(dim=-1).square().mean() + output.diff(dim=-2).square().mean()
