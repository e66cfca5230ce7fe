"""One file per family of training losses; the registry imports the files when it is first used.

A loss compares the output of a network with its target; a term of a recipe names it, with a weight and options.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zoo.errors import UserError, with_place
from zoo.identity import digest_of_build
from zoo.options import Option, read_options, resolve_options
from zoo.registry import Registry, pieces_of

if TYPE_CHECKING:
    from torch import Tensor

# Terms that need more than the output and its target; ``benchmark.training.losses`` computes them.
OTHERS = {
    "vgg": "Mean squared error of VGG-19 features of block 5, as PyNET's; `perceptual` names the weights.",
    "elbo": "VDN's bound with the variance eps2 of the prior, for networks that also predict the noise.",
    "levels": "Weighted errors of the images that PyNET returns at its coarser levels.",
    "warm_up": "Losses of SYENet's and MobileIE's first epochs, on the two images that they return then.",
}


@dataclass(frozen=True)
class Loss:
    """One registered loss: a function of output and target (N, C, H, W), float32, that returns a scalar tensor."""

    name: str
    function: Callable[..., Tensor] | None = None
    options: Mapping[str, Option] = field(default_factory=dict)
    summary: str = ""
    registered_in: str = ""

    @functools.cached_property
    def code(self) -> str | None:
        """Digest of a plug-in's code (see ``zoo.identity``); None for a loss of this package."""
        if self.function is None or self.function.__module__.startswith(f"{__name__}."):
            return None
        return digest_of_build(self.function, self.registered_in, 1)

    def resolved(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a term with the types of the function; raises UserError for one that does not fit."""
        return resolve_options(f"loss {self.name}", self.options, given)

    def __call__(self, output: Tensor, target: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Return the loss. Raises UserError if the function fails, or returns no scalar tensor with a gradient."""
        import torch

        from zoo.outputs import described

        assert self.function is not None
        try:
            value = self.function(output, target, **options)
        except (UserError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            # Tensors without data only predict the memory; what a function does not do with them is no mistake.
            if output.is_meta:
                raise
            raise UserError(f"loss {self.name}: {with_place(error)}.") from error
        if not isinstance(value, torch.Tensor) or value.ndim or not value.is_floating_point():
            raise UserError(
                f"loss {self.name}: it returned {described(value)}; expected a scalar tensor, as .mean() returns."
            )
        if output.requires_grad and not value.requires_grad:
            raise UserError(
                f"loss {self.name}: its value has no gradient, so it cannot train anything; compute it from `output` by"
                " operations of torch, without detach(), item() or numpy."
            )
        return value

    def check(self, output: Tensor, target: Tensor, options: Mapping[str, Any]) -> None:
        """Raise UserError if the loss of finite images, or its gradient by ``output``, is missing or not finite."""
        import torch

        leaf = output.detach().requires_grad_()
        # A copy, because a function may change an output of a network in place, but no leaf.
        value = self(leaf.clone(), target, options)
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
        if gradient is None:
            raise UserError(f"loss {self.name}: its value does not depend on `output`, so it cannot train anything.")
        if not torch.isfinite(value):
            raise UserError(f"loss {self.name}: its value is {value.item()} for finite images; expected a finite one.")
        if not torch.isfinite(gradient).all():
            raise UserError(
                f"loss {self.name}: its gradient is not finite for finite images, as that of sqrt(x) at 0; add a small"
                " constant there."
            )


def _load() -> None:
    pieces_of(__name__)()
    for name, summary in OTHERS.items():
        LOSSES.add(name, Loss(name, summary=summary))


LOSSES: Registry[Loss] = Registry("loss", load=_load)


def register_loss(name: str | None = None) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function as a loss, which terms of recipes can name; without ``name`` under the function's own.

    The function takes ``output`` and ``target``, (N, C, H, W) with C 3, or 1 of gray images: the target lies in [0, 1],
    the output need not. It returns a scalar tensor that has a gradient. Its other arguments, each with a default, are
    the ``options`` of a term; the first line of its docstring is the summary. Raises UserError for a name that is taken
    and for an argument without default.
    """
    registered_in = sys._getframe(1).f_globals.get("__name__", "")

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        own = name or function.__name__
        options = read_options(function, after=2)
        first = (inspect.getdoc(function) or "").partition("\n")[0].removeprefix("Return ")
        summary = first[:1].upper() + first[1:]
        LOSSES.add(own, Loss(own, function, options, summary, registered_in))
        return function

    return register
