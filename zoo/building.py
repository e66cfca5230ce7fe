"""Build a network from options that may come from a file, with limits on its size and on side effects of its code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zoo.errors import BuildError, UserError, shown, with_place
from zoo.surroundings import kept, staying

if TYPE_CHECKING:
    from torch import nn

# PyNET, the largest network here, has 600 layers and parameters and 48 million values; 2^32 float32 are 16 GiB.
MAX_PARTS = 20_000
MAX_VALUES = 1 << 32


def build_network(name: str, build: Callable[..., nn.Module], options: Mapping[str, Any]) -> nn.Module:
    """Return ``build(**options)``; everything that the call changed in this process is restored.

    Raises UserError for options that would make a network of unreasonable size, and BuildError if the function exits
    the process or returns no module; exceptions of the function itself are not changed.
    """
    from torch import nn

    given = f" with {shown(dict(options))}" if options else ""
    try:
        with kept(), staying(), _bounded(f"{name}{given}"):
            network = build(**options)
    except (SystemExit, GeneratorExit, RecursionError) as error:
        raise BuildError(f"{name} cannot be built: {with_place(error)}") from error
    if not isinstance(network, nn.Module):
        raise BuildError(f"{name} cannot be built: its function returns {shown(network)}; expected a torch.nn.Module.")
    return network


@contextmanager
def _bounded(name: str) -> Iterator[None]:
    """Count the parts that this thread registers in modules; raise UserError beyond the limits."""
    from torch import Tensor
    from torch.nn.modules import module as hooks
    from torch.nn.parameter import is_lazy

    thread, parts, values = threading.get_ident(), 0, 0

    def count(owner: Any, key: str, part: Any) -> None:
        nonlocal parts, values
        if part is None or threading.get_ident() != thread:
            return
        parts += 1
        # Such tensors take no memory: they are on the meta device, or their shape is not known yet.
        values += part.numel() if isinstance(part, Tensor) and not part.is_meta and not is_lazy(part) else 0
        if parts > MAX_PARTS:
            raise UserError(f"{name} has more than {MAX_PARTS:,} layers and parameters; expected smaller options.")
        if values > MAX_VALUES:
            raise UserError(f"{name} has more than {MAX_VALUES:,} weights; expected smaller options.")

    handles = [
        hooks.register_module_module_registration_hook(count),
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
