"""The loss of a recipe at a step: which terms count, what they need from the network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.training.batches import Batch
from benchmark.training.losses import (
    PerceptualLoss,
    check_msssim_side,
    levels_loss,
    mse,
    msssim_loss,
    resize_target,
    vdn_bound,
)
from benchmark.training.recipe import Recipe, Term
from zoo.card import InputSpec
from zoo.errors import UserError
from zoo.raw import apply_model

# Terms that read a network's side outputs: which method of it they call.
SIDE_OUTPUTS = {"elbo": "all_outputs", "levels": "all_outputs"}


class Objective:
    """The weighted sum of a recipe's terms; ``dropped`` names those left out because the recipe said so."""

    def __init__(self, recipe: Recipe, spec: InputSpec, perceptual: PerceptualLoss | None) -> None:
        self.spec = spec
        self.perceptual = perceptual
        kept = [term for term in recipe.loss if term.name != "vgg" or recipe.perceptual != "off"]
        if not kept:
            raise UserError("recipe: perceptual: off leaves no term of the loss; add another one.")
        self.terms: Sequence[Term] = kept
        self.dropped = sorted({term.name for term in recipe.loss} - {term.name for term in kept})

    def check(self, model: nn.Module, batch: Batch) -> None:
        """Raise UserError where a term cannot be computed for this network at this size."""
        for term in self.terms:
            if term.name == "msssim":
                check_msssim_side(round(min(batch.planes.shape[-2:]) * self.spec.output_scale))
            method = SIDE_OUTPUTS.get(term.name)
            if method and not hasattr(model, method):
                raise UserError(f"loss {term.name}: the network has no {method}; choose other terms.")
            if term.name == "elbo" and not hasattr(model, "noise_parameters"):
                raise UserError("loss elbo: the network has no noise parameters; it is for vdn and hypervdn models.")

    def __call__(self, model: nn.Module, batch: Batch, *, epoch: int, step: int) -> dict[str, Tensor]:
        """Return the weighted terms that count at this step, by name; their sum is the loss."""
        active = [term for term in self.terms if term.active(epoch, step)]
        side = any(term.name in SIDE_OUTPUTS for term in active)
        plain = any(term.name not in SIDE_OUTPUTS for term in active)
        outputs: Sequence[Tensor] | None = getattr(model, "all_outputs")(batch.planes) if side else None  # noqa: B009
        image = apply_model(model, batch.planes, self.spec).float() if plain else None
        losses: dict[str, Tensor] = {}
        for term in active:
            value = term.weight * self._value(term, batch, image, outputs)
            losses[term.name] = losses[term.name] + value if term.name in losses else value
        return losses

    def _value(self, term: Term, batch: Batch, image: Tensor | None, outputs: Sequence[Tensor] | None) -> Tensor:
        if outputs is not None and term.name in SIDE_OUTPUTS:
            parts = [output.float() for output in outputs]
            if term.name == "elbo":
                return vdn_bound(parts[0], parts[1], batch.planes, batch.target, eps2=term.eps2).total()
            return levels_loss(parts, batch.target, term.levels or [])
        assert image is not None
        target = resize_target(batch.target, image)
        if term.name == "vgg":
            assert self.perceptual is not None
            return self.perceptual(image, target)
        return {"mse": mse, "msssim": msssim_loss}[term.name](image, target)


def total(losses: dict[str, Tensor]) -> Tensor:
    """Return the sum of the terms."""
    return torch.stack(list(losses.values())).sum()
