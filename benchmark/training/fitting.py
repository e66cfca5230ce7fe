"""Check before the first step whether a batch fits in memory, with tensors that hold no data.

One forward pass of the loss runs on the meta device. The tensors that autograd keeps for the backward pass are counted
exactly, storage by storage; weights, gradients, the optimiser's two copies and one copy for the largest operation are
added.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.host.machine import available_memory
from benchmark.training.batches import Batch
from benchmark.training.losses import Objective, total
from benchmark.units import GIB, shape_text
from zoo.errors import UserError, in_one_line

# Gradients of activations and the workspace of convolutions need memory beside the kept tensors. On a CPU the peak was
# 1.3 to 1.9 times the kept tensors for six networks with MSE and MS-SSIM, or VDN's bound (speed/train.py measures two).
BACKWARD_FACTOR = 2.0


@dataclass(frozen=True)
class Footprint:
    """The memory for training: ``fixed_bytes`` for every batch size, plus ``sample_bytes`` for each sample."""

    fixed_bytes: int
    sample_bytes: int

    def bytes(self, batch_size: int) -> int:
        """Return the bytes needed for a batch size."""
        return self.fixed_bytes + batch_size * self.sample_bytes

    def largest_batch(self, available: int) -> int:
        """Return the largest batch that fits, 0 if none does."""
        return max(0, (available - self.fixed_bytes) // self.sample_bytes)


def footprint(
    build: Callable[[], nn.Module], objective: Objective, planes: Tensor, target: Tensor, *, epoch: int
) -> Footprint:
    """Return the memory for a step of ``objective`` with samples shaped like ``planes`` and ``target`` (1, ...).

    ``build`` makes the network; it is called on the meta device. Raises every exception of the network at this size.
    """
    model = _shadow(build)
    kept = [_kept_bytes(model, objective, planes, target, epoch=epoch, count=count) for count in (2, 3)]
    per_sample = max(1, kept[1] - kept[0])
    weights = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    # Weights, gradients, two moments and the update's temporary copy; a running mean of the weights is one more.
    fixed = 6 * weights + max(0, kept[0] - 2 * per_sample)
    return Footprint(int(fixed), int(per_sample * BACKWARD_FACTOR))


def _shadow(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build().to("meta").train()


def check_single(
    build: Callable[[], nn.Module], objective: Objective, planes: Tensor, target: Tensor, *, epoch: int, name: str
) -> None:
    """Raise UserError if the network cannot be trained with one image; arguments as for ``footprint``.

    A batch norm of one value per image and channel, as in a gate, has no variance then.
    """
    try:
        _kept_bytes(_shadow(build), objective, planes, target, epoch=epoch, count=1)
    except ValueError as error:
        raise UserError(
            f"recipe: batch_size: 1 is too small for {name} ({in_one_line(error)}); choose at least 2."
        ) from None


def _kept_bytes(
    model: nn.Module, objective: Objective, planes: Tensor, target: Tensor, *, epoch: int, count: int
) -> int:
    batch = Batch(*(torch.empty(count, *tensor.shape[1:], device="meta") for tensor in (planes, target)))
    known = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers()]}
    # Tensors are held until the end, because otherwise a storage's address could be used again.
    held: list[Any] = [tensor.untyped_storage() for tensor in (batch.planes, batch.target)]
    sizes = {storage._cdata: storage.nbytes() for storage in held}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            sizes[storage._cdata] = storage.nbytes()
            held.append(storage)
        return tensor

    busiest = max(
        range(max(term.every for term in objective.terms)),
        key=lambda step: sum(term.active(epoch, step) for term in objective.terms),
    )
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total(objective(model, batch, epoch=epoch, step=busiest))
    return sum(sizes.values())


def free_bytes(device: torch.device) -> int | None:
    """Return the free bytes of a device, or None if they are not known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()


def check_batch_fits(need: Footprint, batch_size: int, available: int | None, shape: tuple[int, ...]) -> None:
    """Raise UserError naming the largest batch that would fit if a batch does not fit."""
    if available is None or need.bytes(batch_size) <= available:
        return
    largest = need.largest_batch(available)
    advice = f"the largest that fits is {largest}: --set batch_size={largest}" if largest else "not even 1 fits"
    raise UserError(
        f"train: batch_size {batch_size} of {shape_text(shape[1:])} needs about"
        f" {need.bytes(batch_size) / GIB:.2f} GiB, {available / GIB:.2f} GiB are free; {advice},"
        " or choose a smaller crop."
    )
