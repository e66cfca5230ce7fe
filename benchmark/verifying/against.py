"""The user's class as a network that takes and returns what MODEL does; its failures become errors for the user."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.config import parse_value
from benchmark.units import shape_text
from benchmark.verifying.messages import Convention
from zoo.building import build_network
from zoo.convention import InputSpec
from zoo.errors import UserError, shortened, shown, with_place
from zoo.outputs import described
from zoo.plugins import find_object
from zoo.surroundings import kept


@contextmanager
def built(against: str, init: Mapping[str, str]) -> Iterator[nn.Module]:
    """Yield the network that ``against`` names, in evaluation mode on the CPU; in the block its imports work.

    Raises UserError if there is no such class or function, if it fails, or if it makes no network.
    """
    with find_object(against, "--against") as found:
        is_made = isinstance(found, nn.Module)
        if is_made and init:
            raise UserError(f"--init: {shortened(against)} is a network and takes no arguments; leave --init out.")
        if not callable(found):
            raise UserError(f"--against {shortened(against)}: it is {described(found)}; expected a class of a network.")
        values = {name: _value(text) for name, text in init.items()}
        try:
            network = build_network(shortened(against), (lambda: found) if is_made else found, values).cpu()
            # A class may have an ``eval`` of its own.
            nn.Module.eval(network)
        except UserError:
            raise
        except Exception as error:
            arguments = "" if is_made else f"; its arguments: {_arguments(found)} (--init NAME=VALUE gives one)"
            raise UserError(f"--against {shortened(against)} fails: {reason(error)}{arguments}.") from error
        yield network


class Against(nn.Module):
    """A user's network behind MODEL's convention: planes in MODEL's range go in, an image in MODEL's range comes out.

    Raises UserError for what is no image, and whatever the network's code raises (see ``call``).
    """

    def __init__(self, name: str, network: nn.Module, convention: Convention, spec: InputSpec) -> None:
        super().__init__()
        self.name, self.network, self.convention, self.spec = name, network, convention, spec
        # Where the model's last plane is the level of noise, official classes take it as an argument, one per image.
        self.takes_level = spec.noise_level and _num_required(network.forward) > 1

    def forward(self, planes: Tensor) -> Tensor:
        """Return the image for planes (N, C, H, W), which are not changed."""
        how, spec = self.convention, self.spec
        given = _mapped(planes, spec.input_range, how.input_range or spec.input_range)
        seen = given[:, :-1] if spec.noise_level else given
        # Its code may write into its input.
        arguments = (seen.clone(), given[:, -1:, :1, :1]) if self.takes_level else (given.clone(),)
        image = _picked(self.network(*arguments), how.output, self.name)
        if how.noise:
            if image.shape != seen.shape:
                raise UserError(
                    f"--noise: {self.name} returns {shape_text(image.shape)} for {shape_text(seen.shape)};"
                    " noise has the shape of the input."
                )
            image = seen - image
        return _mapped(image, how.output_range or spec.output_range, spec.output_range)


def call(name: str, network: nn.Module, planes: Tensor, *, advice: str = "") -> Any:
    """Return what a network returns for ``planes``; raises UserError, which names it, for whatever its code raises."""
    try:
        with torch.no_grad(), kept():
            return network(planes)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        shape = shape_text(planes.shape)
        raise UserError(f"{name} fails for an input of {shape}: {reason(error)}.{advice}") from error


def _value(text: str) -> Any:
    """Return an argument as Python writes it, as YAML does, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return parse_value(text)


def _mapped(values: Tensor, here: tuple[float, float], there: tuple[float, float]) -> Tensor:
    if here == there:
        return values
    return (values - here[0]) / (here[1] - here[0]) * (there[1] - there[0]) + there[0]


def _picked(value: Any, path: str | None, name: str) -> Tensor:
    """Return the image in what a network returned: the only tensor, or the one at ``path``."""
    if path is None:
        if isinstance(value, Tensor):
            return value
        members = list(value.values() if isinstance(value, Mapping) else value) if _has_members(value) else []
        images = [member for member in members if isinstance(member, Tensor)]
        if len(images) != 1:
            raise UserError(f"{name} returned {described(value)}; say which is the image with --output INDEX or NAME.")
        return images[0]
    found = value
    for part in path.split("."):
        try:
            found = found[int(part)] if isinstance(found, Sequence) and _is_index(part) else _member(found, part)
        except (LookupError, AttributeError, TypeError):
            raise UserError(f"--output {shortened(path)}: {name} returned {described(value)}.") from None
    if not isinstance(found, Tensor):
        raise UserError(f"--output {shortened(path)}: {name} has {described(found)} there; expected a tensor.")
    return found


def _has_members(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def _is_index(part: str) -> bool:
    return part.removeprefix("-").isdecimal() and len(part) < 9


def _member(value: Any, part: str) -> Any:
    if isinstance(value, Mapping):
        return value[part] if part in value else value[int(part)] if _is_index(part) else value[part]
    return getattr(value, part)


def _num_required(function: Any) -> int:
    """Return how many arguments a function needs; 1 if that cannot be known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    return sum(one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters)


def _arguments(found: Any) -> str:
    """Return the arguments of a class or function as text: those without a default by their name alone."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return "not known"
    texts = [one.name if one.default is one.empty else f"{one.name}={shown(one.default)}" for one in parameters]
    return shortened(", ".join(texts) or "none", 300)


def reason(error: BaseException) -> str:
    """Return what was raised, the line of the user's code, and what to do if it asks for a GPU."""
    text = with_place(error)
    if "cuda" in text.lower() or "nvidia" in text.lower():
        text += "; the comparison runs on the CPU, so take .cuda() and device='cuda' out of your copy"
    return text
