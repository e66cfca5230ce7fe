"""The terms of a recipe's loss: those of ``benchmark.losses``, VGG-19 features, VDN's bound, PyNET's levels, warm-up.

``Objective`` decides which terms of a recipe are active at a step, and what they need from the network.

Images are (N, 3, H, W) in [0, 1], each loss is a scalar tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.losses import LOSSES, OTHERS
from benchmark.losses.error import charbonnier, cosine_loss, mse
from benchmark.training.batches import Batch
from benchmark.training.recipe import Recipe, Term
from zoo.convention import InputSpec
from zoo.errors import UserError, in_one_line
from zoo.fitting import load_strictly
from zoo.raw import apply_model
from zoo.weights import read_checkpoint

# VDN clamps the logarithms that its networks return to these limits.
LOG_RANGE = (math.log(1e-8), math.log(1e4))
# The terms that use a network's side outputs, and the method of the network that they call.
SIDE_OUTPUTS = {"elbo": "all_outputs", "levels": "all_outputs", "warm_up": "warm_up_outputs"}
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


def warm_up_loss(rgb: Tensor, raw: Tensor, target: Tensor, planes: Tensor) -> Tensor:
    """Return the warm-up loss of SYENet and MobileIE for the two images from ``warm_up_outputs``.

    ``rgb`` (N, 3, 2H, 2W) is compared with the target by Charbonnier and cosine, ``raw`` (N, 4, H, W) with the
    network's input ``planes`` by Charbonnier.
    """
    return charbonnier(raw, planes) + charbonnier(rgb, target) + cosine_loss(rgb, target)


class PerceptualLoss(nn.Module):
    """MSE of VGG-19 features after the last convolution of block 5 and its ReLU (relu5_4), as PyNET uses.

    Images in [0, 1] are normalised by ImageNet's mean and standard deviation; their sides must be at least 16.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared difference of the features."""
        with torch.no_grad():
            wanted = self._embed(target)
        return F.mse_loss(self._embed(output), wanted)

    def _embed(self, image: Tensor) -> Tensor:
        return self.features((image - self.mean) / self.std)


def vgg19_features() -> nn.Module:
    """Return timm's VGG-19 without weights, cut after relu5_4: (N, 3, H, W) to (N, 512, H / 16, W / 16)."""
    layers = timm.create_model("vgg19", pretrained=False).get_submodule("features")
    # The last layer is the pooling of block 5.
    return nn.Sequential(*list(layers.children())[:-1])


def load_perceptual(weights: str) -> PerceptualLoss:
    """Return the perceptual loss with ``weights``: ``pretrained`` (timm downloads them) or a file of VGG-19 weights.

    Raises UserError if the weights are not available; the term is never left out without a message.
    """
    features = vgg19_features()
    state = _fetched_state() if weights == "pretrained" else _state_of(Path(weights))
    own = features.state_dict()
    found = {key.removeprefix("features."): value for key, value in state.items()}
    wrong = [key for key in own if key not in found or found[key].shape != own[key].shape]
    if wrong:
        raise UserError(
            f"loss vgg: {weights} does not fit VGG-19: no features.{wrong[0]} of shape {tuple(own[wrong[0]].shape)};"
            " expected the state_dict of timm's or torchvision's vgg19."
        )
    load_strictly(features, {key: found[key] for key in own}, name="loss vgg", source=weights)
    return PerceptualLoss(features)


def _fetched_state() -> Mapping[str, Tensor]:
    try:
        return timm.create_model("vgg19", pretrained=True).state_dict()
    except Exception as error:
        # Every exception of the hub, the network or the disk means that the weights are not available.
        raise UserError(
            f"loss vgg: the pretrained weights of timm's vgg19 cannot be fetched ({in_one_line(error, 100)})."
            " Pass a file with --set perceptual=vgg19.safetensors, or train without the term with --set perceptual=off."
        ) from error


def _state_of(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise UserError(
            f"loss vgg: perceptual: no file at {path}; expected pretrained, off, or a file with VGG-19's weights."
        )
    return read_checkpoint(path).state


class EvidenceBound(NamedTuple):
    """The three parts of VDN's negative evidence lower bound, each the mean over pixels and channels."""

    likelihood: Tensor
    kl_gauss: Tensor
    kl_inverse_gamma: Tensor

    def total(self) -> Tensor:
        """Return the value that is minimised."""
        return self.likelihood + self.kl_gauss + self.kl_inverse_gamma


def vdn_bound(
    phi_z: Tensor, phi_sigma: Tensor, noisy: Tensor, clean: Tensor, *, eps2: float = 1e-6, window: int = 7
) -> EvidenceBound:
    """Return the negative evidence lower bound of VDN (arXiv 1908.11314) for images (N, 3, H, W).

    ``phi_z`` (N, 6, H, W): the predicted noise and the log variance of the clean image. ``phi_sigma``: log alpha
    and log beta of the noise variance's inverse gamma. The prior of the clean image is normal about ``clean`` with
    variance ``eps2``; that of the noise variance is inverse gamma with alpha0 = (window^2 - 2) / 2 and
    beta0 = window^2 xi / 2, where xi is the local mean of the squared noise (``noise_variance``).
    """
    low, high = LOG_RANGE
    noise, log_variance = phi_z[:, :3], phi_z[:, 3:].clamp(low, high)
    log_alpha, log_beta = phi_sigma[:, :3].clamp(low, high), phi_sigma[:, 3:].clamp(low, high)
    alpha, variance = log_alpha.exp(), log_variance.exp()
    # alpha / beta is computed as one exponential, because beta may be 1e-8.
    precision = (log_alpha - log_beta).exp()
    alpha0 = torch.tensor((window**2 - 2) / 2, dtype=phi_z.dtype, device=phi_z.device)
    beta0 = window**2 / 2 * noise_variance(noisy, clean, window=window)
    digamma = torch.digamma(alpha)

    likelihood = 0.5 * math.log(2 * math.pi) + 0.5 * torch.mean(
        log_beta - digamma + (noise.square() + variance) * precision
    )
    error = noise - (noisy - clean)
    kl_gauss = 0.5 * torch.mean(error.square() / eps2 + variance / eps2 - 1 - log_variance + math.log(eps2))
    kl_inverse_gamma = torch.mean(
        (alpha - alpha0) * digamma
        + torch.lgamma(alpha0)
        - torch.lgamma(alpha)
        + alpha0 * (log_beta - beta0.log())
        + beta0 * precision
        - alpha
    )
    return EvidenceBound(likelihood, kl_gauss, kl_inverse_gamma)


def noise_variance(noisy: Tensor, clean: Tensor, *, window: int = 7, sigma: float = 3.0) -> Tensor:
    """Return the local mean of the squared noise (N, C, H, W): Gaussian window, border mirrored, at least 1e-10."""
    radius = window // 2
    offsets = torch.arange(-radius, radius + 1, dtype=noisy.dtype, device=noisy.device)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels = noisy.shape[1]
    squares = F.pad((noisy - clean).square(), (radius,) * 4, mode="reflect")
    rows = F.conv2d(squares, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    smooth = F.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return smooth.clamp(min=1e-10)


def levels_loss(outputs: Sequence[Tensor], target: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the weighted sum of the MSEs of several resolutions, coarse to fine, each with the resized target.

    Raises ValueError if the numbers of ``weights`` and outputs differ.
    """
    if len(outputs) != len(weights):
        raise ValueError(f"{len(outputs)} outputs, {len(weights)} weights")
    losses = [weight * mse(image, resize_target(target, image)) for image, weight in zip(outputs, weights) if weight]
    return torch.stack(losses).sum()


def resize_target(target: Tensor, output: Tensor) -> Tensor:
    """Return ``target`` resized by area to the size of ``output``: a smaller size averages whole blocks."""
    if target.shape[-2:] == output.shape[-2:]:
        return target
    return F.interpolate(target, size=output.shape[-2:], mode="area")


class Objective:
    """The weighted sum of a recipe's terms; ``dropped`` names the terms that the recipe switches off."""

    def __init__(self, recipe: Recipe, spec: InputSpec, perceptual: PerceptualLoss | None) -> None:
        self.spec = spec
        self.perceptual = perceptual
        kept = [term for term in recipe.loss if term.name != "vgg" or recipe.perceptual != "off"]
        if not kept:
            raise UserError("recipe: perceptual: off leaves no term of the loss; add another one.")
        self.terms: Sequence[Term] = kept
        self.dropped = sorted({term.name for term in recipe.loss} - {term.name for term in kept})

    def check(self, model: nn.Module, batch: Batch) -> None:
        """Raise UserError if a term cannot be computed for this network at this size, or trains nothing."""
        for term in self.terms:
            if term.name not in OTHERS:
                LOSSES.get(term.name).check(*self._trial(batch), term.options)
            if term.name == "vgg" and self.spec.out_channels != 3:
                raise UserError("loss vgg: it compares RGB images, and the network returns gray ones; choose another.")
            method = SIDE_OUTPUTS.get(term.name)
            if method and not hasattr(model, method):
                raise UserError(f"loss {term.name}: the network has no {method}; choose other terms.")
            if term.name == "elbo" and not hasattr(model, "noise_parameters"):
                raise UserError("loss elbo: the network has no noise parameters; it is for vdn and hypervdn models.")

    def _trial(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return a random output in [0.05, 0.95], and the target of the first image of a batch."""
        size = [round(side * self.spec.output_scale) for side in batch.planes.shape[-2:]]
        drawn = torch.rand(1, self.spec.out_channels, *size, generator=torch.Generator().manual_seed(0))
        output = 0.05 + 0.9 * drawn
        return output, resize_target(batch.target[:1].float(), output)

    def __call__(self, model: nn.Module, batch: Batch, *, epoch: int, step: int) -> dict[str, Tensor]:
        """Return the weighted terms that are active at this step, by name; their sum is the loss."""
        active = [term for term in self.terms if term.active(epoch, step)]
        methods = dict.fromkeys(SIDE_OUTPUTS[term.name] for term in active if term.name in SIDE_OUTPUTS)
        side = {method: [image.float() for image in getattr(model, method)(batch.planes)] for method in methods}
        plain = any(term.name not in SIDE_OUTPUTS for term in active)
        image = apply_model(model, batch.planes, self.spec).float() if plain else None
        losses: dict[str, Tensor] = {}
        for term in active:
            if term.name in SIDE_OUTPUTS:
                value = self._value_of_sides(term, batch, side[SIDE_OUTPUTS[term.name]])
            else:
                assert image is not None
                value = self._value(term, image, resize_target(batch.target, image))
            value = term.weight * value
            losses[term.name] = losses[term.name] + value if term.name in losses else value
        return losses

    def _value_of_sides(self, term: Term, batch: Batch, outputs: Sequence[Tensor]) -> Tensor:
        if term.name == "elbo":
            return vdn_bound(outputs[0], outputs[1], batch.planes, batch.target, eps2=term.eps2).total()
        if term.name == "warm_up":
            return warm_up_loss(outputs[0], outputs[1], batch.target, batch.planes)
        return levels_loss(outputs, batch.target, term.levels or [])

    def _value(self, term: Term, image: Tensor, target: Tensor) -> Tensor:
        if term.name == "vgg":
            assert self.perceptual is not None
            return self.perceptual(image, target)
        return LOSSES.get(term.name)(image, target, term.options)


def total(losses: dict[str, Tensor]) -> Tensor:
    """Return the sum of the terms."""
    return torch.stack(list(losses.values())).sum()
