"""Optimisers by epoch, the learning rate by step, and clipped gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmark.training.recipe import Clip, Recipe
from benchmark.training.recipe import Optimizer as Settings
from zoo.errors import UserError, nearest


def settings_at(recipe: Recipe, epoch: int) -> tuple[int, Settings]:
    """Return the optimiser that is used in an epoch: its index in the recipe and its settings."""
    place = max(i for i, settings in enumerate(recipe.optimizers) if settings.from_epoch <= epoch)
    return place, recipe.optimizers[place]


def make_optimizer(settings: Settings, params: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """Return a fresh optimiser; the rate is set again at each step."""
    if settings.name == "sgd":
        return torch.optim.SGD(params, lr=lr, momentum=settings.momentum, weight_decay=settings.weight_decay)
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(params, lr=lr, betas=settings.betas, weight_decay=settings.weight_decay)


def learning_rate(recipe: Recipe, step: int, *, epoch: int, total_steps: int) -> float:
    """Return the learning rate of a step (from 0) in an epoch (from 0)."""
    schedule = recipe.schedule
    rate = settings_at(recipe, epoch)[1].lr or recipe.lr
    # A rate that starts below the floor is not changed.
    floor = min(schedule.floor, rate)
    if schedule.restart_after is not None:
        place = _place_in_period(epoch - settings_at(recipe, epoch)[1].from_epoch, schedule.restart_after)
        rate = floor + (rate - floor) * 0.5 * (1.0 + math.cos(math.pi * place))
    elif schedule.cosine:
        rate = floor + (rate - floor) * 0.5 * (1.0 + math.cos(math.pi * step / total_steps))
    rate *= schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    rate = max(rate, floor)
    return rate * (step + 1) / schedule.warmup if step < schedule.warmup else rate


def _place_in_period(epoch: int, period: int) -> float:
    """Return where an epoch lies in its period, from 0 to 1, if each period has twice as many epochs as the last."""
    while epoch >= period:
        epoch, period = epoch - period, 2 * period
    return epoch / period


class Clipper:
    """Scales gradients down to a largest norm, for the whole network or by part; limits may shrink after each epoch."""

    def __init__(self, model: nn.Module, clip: Clip | None) -> None:
        """Find the parts; raises UserError for a part that the network does not have."""
        self.tighten = clip is not None and clip.tighten
        self.limits: dict[str, float] = dict(clip.norms) if clip else {}
        self._parts: dict[str, list[nn.Parameter]] = {}
        parts = {"*": model, **dict(model.named_children())}
        for name in self.limits:
            if name not in parts:
                raise UserError(f"recipe: clip.norms: the network has no part '{name}'{nearest(name, parts)}")
            self._parts[name] = list(parts[name].parameters())
        self._sums = dict.fromkeys(self.limits, 0.0)
        self._count = 0

    def __call__(self) -> dict[str, float]:
        """Clip the gradients; return the norm of each part before clipping."""
        norms = {name: float(nn.utils.clip_grad_norm_(own, self.limits[name])) for name, own in self._parts.items()}
        self._sums = {name: self._sums[name] + norm for name, norm in norms.items()}
        self._count += 1
        return norms

    def end_epoch(self) -> None:
        """Reduce the limits to the mean norms of the epoch if the recipe says so."""
        if self.tighten and self._count:
            self.limits = {name: min(limit, self._sums[name] / self._count) for name, limit in self.limits.items()}
        self._sums = dict.fromkeys(self.limits, 0.0)
        self._count = 0

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        return {"limits": dict(self.limits), "sums": dict(self._sums), "count": self._count}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a state that ``state`` returned."""
        self.limits, self._sums = dict(state["limits"]), dict(state["sums"])
        self._count = int(state["count"])


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all values of all tensors are finite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor.is_floating_point())


@torch.no_grad()
def follow_mean(mean: nn.Module, model: nn.Module, *, decay: float) -> None:
    """Update the running mean of a network's weights and buffers; counters are copied.

    Each tensor is updated once, even if the network uses it under several names.
    """
    pairs = zip([*mean.parameters(), *mean.buffers()], [*model.parameters(), *model.buffers()])
    averaged: list[tuple[Tensor, Tensor]] = []
    for old, new in pairs:
        if new.is_floating_point():
            averaged.append((old, new))
        else:
            old.copy_(new)
    torch._foreach_lerp_([old for old, _ in averaged], [new for _, new in averaged], weight=1.0 - decay)
    for old, new in zip(mean.buffers(), model.buffers()):
        if new.is_floating_point():
            # This may be a mask with infinities, whose mean would be NaN.
            old.copy_(torch.where(torch.isinf(new), new, old))
