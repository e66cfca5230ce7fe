"""Give a model and the user's network the same weights: by loading a file into both, or by a map from one to the other.

Without a file the weights are random, and such that a mistake shows. What a constructor makes constant is random too:
zeros for a bias, ones for a scale or fresh running statistics hide that a layer is missing or in another place. And all
layers return values of about the same spread: in many networks an image fades with the weights that training begins
with, and with it the difference between two images.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.selection import Entry, entry_of
from benchmark.units import listed
from benchmark.verifying.layers import execution_order
from benchmark.verifying.mapping import match
from benchmark.verifying.messages import Mapped, Transfer
from zoo.errors import UserError, in_one_line, shortened
from zoo.fitting import fixed_buffers, load_strictly
from zoo.weights import Checkpoint

# Vectors of spectral norms are buffers, and random: without them the same weights give another network.
_ITERATED = ("_u", "_v")
# The layers whose output grows with their weight.
_SCALED = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_FLAT = 1e-9
_COUNTER = "num_batches_tracked"
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Side:
    """A network, what to call it, and how to run it once; ``renames`` replaces the beginnings of its keys."""

    name: str
    network: nn.Module
    run: Callable[[], object]
    renames: Mapping[str, str] = field(default_factory=dict)

    @functools.cached_property
    def order(self) -> dict[str, int]:
        """When each module begins, by its name."""
        return execution_order(self.network, self.run)

    def state(self) -> dict[str, Tensor]:
        """Return all tensors but counters by their renamed keys, in the order in which the network uses them."""
        return {self.renamed(key): value for key, value in self._own().items()}

    def learned(self) -> dict[str, Tensor]:
        """Return the parameters and statistics of ``state``: no buffers that are constants."""
        fixed = {self.renamed(key) for key in fixed_buffers(self.network) if not key.endswith(_ITERATED)}
        return {key: value for key, value in self.state().items() if key not in fixed}

    def renamed(self, key: str) -> str:
        """Return the key with its beginning replaced."""
        begin = max((one for one in self.renames if key.startswith(one)), key=len, default="")
        return self.renames.get(begin, "") + key[len(begin) :]

    def check_renames(self) -> None:
        """Raise UserError for a beginning that no key has, and for keys that become one."""
        own = self._own()
        for begin in self.renames:
            if not any(key.startswith(begin) for key in own):
                keys = listed(list(own), 3) or "none"
                raise UserError(f"--map {shortened(begin)}: no weight of {self.name} begins so; it has {keys}.")
        if len(self.state()) < len(own):
            raise UserError(f"--map: several weights of {self.name} get one name; expected names that stay apart.")

    def vary(self, generator: torch.Generator) -> None:
        """Make weights that are constant random: near to their value, variances between 0.5 and 1.5."""
        with torch.no_grad():
            for key, value in self.learned().items():
                if value.is_floating_point() and value.numel() and bool((value == value.flatten()[0]).all()):
                    if key.endswith("running_var"):
                        value.copy_(0.5 + torch.rand(value.shape, generator=generator))
                    else:
                        value.add_(0.1 * torch.randn(value.shape, generator=generator))

    def enliven(self) -> None:
        """Scale each convolution and norm so that its channels have a mean spread of 1 over the image."""

        def scale(module: nn.Module, given: Any, output: Any) -> Any:
            weight = module._parameters.get("weight")
            spread = float(output.std(dim=(2, 3), correction=0).mean()) if output.ndim == 4 else 0.0
            # This is also false for NaN.
            if weight is None or not _FLAT < spread < math.inf:
                return output
            weight.data /= spread
            return module.forward(*given)

        linear = [module for module in self.network.modules() if isinstance(module, _SCALED)]
        hooks = [module.register_forward_hook(scale) for module in linear]
        try:
            self.run()
        finally:
            for hook in hooks:
                hook.remove()

    def take(self, state: State, plan: Transfer) -> Transfer:
        """Copy the mapped tensors of ``state`` into the network; return the plan."""
        own = self.network.state_dict()
        names = {self.renamed(key): key for key in own}
        try:
            for one in plan.mapped:
                key = names[one.target]
                own[key] = state[one.source].reshape(own[key].shape).to(own[key].dtype)
            self.network.load_state_dict(own)
        except RuntimeError as error:
            raise UserError(f"{self.name} does not take the weights of {plan.source}: {in_one_line(error)}.") from None
        return plan

    def _own(self) -> dict[str, Tensor]:
        own = {k: v for k, v in self.network.state_dict().items() if isinstance(v, Tensor) and not k.endswith(_COUNTER)}
        never = len(self.order)
        return {key: own[key] for key in sorted(own, key=lambda key: self.order.get(key.rpartition(".")[0], never))}


def share_random(entry: Entry, ours: Side, theirs: Side, generator: torch.Generator) -> list[Transfer]:
    """Give theirs the random weights of ours, or, if they are in the form of published ones, ours those of theirs."""
    for side in (ours, theirs):
        side.vary(generator)
        side.enliven()
    plan = _plan(ours.name, ours.learned(), theirs)
    if (plan.unused or plan.unfilled) and (imported := _imported(entry, ours, theirs)):
        return [imported]
    return [theirs.take(ours.learned(), _some(plan, theirs))]


def _imported(entry: Entry, ours: Side, theirs: Side) -> Transfer | None:
    """Load what theirs holds into ours as if it were a published file; None if it does not fit."""
    if entry.card.convert_checkpoint is None and entry.card.deploy is None:
        return None
    with TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        try:
            torch.save(theirs.state(), file)
            found = entry_of(entry.card.name, file, entry.options).checkpoint
            assert found is not None
            load_strictly(ours.network, found.state, name=ours.name, source=theirs.name)
        except Exception:
            # A conversion may fail in any way for keys that it was not written for.
            return None
    return Transfer(source=theirs.name, target=ours.name, strictly=True)


def share_file(
    file: Checkpoint, refusal: str | None, ours: Side, theirs: Side, generator: torch.Generator
) -> list[Transfer]:
    """Give theirs the weights of a file that ours has loaded, by the names of the file or of ours.

    With a ``refusal``, ours has not loaded it: then ours gets the weights of theirs, if these fit one to one.
    """
    theirs.vary(generator)
    name = shortened(file.path.name)
    # A safetensors file does not keep the order of its tensors.
    in_order = _plan(name, file.state, theirs, ordered=file.path.suffix != ".safetensors")
    if refusal is None:
        loaded = Transfer(source=name, target=ours.name, strictly=True)
        plans = [
            (file.state, _plan(name, file.state, theirs, ordered=False)),
            (ours.learned(), _plan(ours.name, ours.learned(), theirs)),
            (file.state, in_order),
        ]
        state, plan = min(plans, key=lambda one: len(one[1].unfilled))
        return [loaded, theirs.take(state, _some(plan, theirs))]
    first = theirs.take(file.state, in_order)
    second = _plan(theirs.name, theirs.learned(), ours)
    if missing := [*first.unfilled, *second.unfilled, *second.unused]:
        raise UserError(
            f"{refusal} By the names and shapes of {theirs.name} it does not either: {listed(missing, 3)} have no"
            " counterpart."
        )
    return [first, ours.take(theirs.learned(), second)]


def _plan(source: str, state: State, target: Side, *, ordered: bool = True) -> Transfer:
    """Map a state to a network's tensors, without loading it; constants of the network are filled but not needed."""
    wanted = target.learned()
    everything = target.state()
    found = match(
        {key: value.shape for key, value in state.items()},
        {key: value.shape for key, value in wanted.items()},
        ordered=ordered,
    )
    constants = [key for key in everything.keys() - wanted.keys() if key in state]
    found |= {key: (key, "name") for key in constants if state[key].shape == everything[key].shape}
    used = {source for source, _ in found.values()}
    return Transfer(
        source=source,
        target=target.name,
        mapped=[Mapped(source=found[key][0], target=key, rule=found[key][1]) for key in everything if key in found],
        unused=[key for key in state if key not in used and not key.endswith(_COUNTER)],
        unfilled=[key for key in wanted if key not in found],
    )


def _some(plan: Transfer, theirs: Side) -> Transfer:
    if plan.unfilled and not plan.mapped:
        raise UserError(
            f"no weight of {theirs.name} ({listed(plan.unfilled, 3)}) has a counterpart in {plan.source}"
            f" ({listed(plan.unused, 3) or 'which has none'}); check --init, --set and --weights, or name the"
            " counterparts with --map."
        )
    return plan
