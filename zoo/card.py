"""The facts about a model besides its code: the card, its input convention, its registry."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from zoo.building import build_network
from zoo.convention import InputSpec
from zoo.errors import UserError
from zoo.identity import digest_of_build
from zoo.options import Option, read_options, resolve_options
from zoo.registry import Registry

if TYPE_CHECKING:
    from torch import nn

Task = Literal["raw2rgb", "denoise_rgb", "denoise_gray", "enhance_rgb"]

# The option of a network with two forms: one to deploy, which is the default, and one or more to train, of which
# TRAINING is the usual one.
FORM, DEPLOY, TRAINING = "form", "deploy", "training"
# How the note of a record begins that says which form was counted.
FORM_NOTE = "costs and times are those of"

_DEFAULT_INPUT: dict[str, InputSpec] = {
    "raw2rgb": InputSpec(layout="bayer_packed"),
    "denoise_rgb": InputSpec(layout="rgb", output_scale=1.0),
    "denoise_gray": InputSpec(layout="gray", output_scale=1.0),
    "enhance_rgb": InputSpec(layout="rgb", output_scale=1.0),
}


def default_input(task: str) -> InputSpec:
    """Return the input convention of a task, for models without their own."""
    return _DEFAULT_INPUT[task]


@dataclass(frozen=True)
class ModelCard:
    """One registered model: how to build it, its input, and its origin.

    ``params`` is the number of parameters with default options (None: not stated). ``licence`` is the licence of
    the code here; ``official_weights`` names the published checkpoints and their licence. ``differences`` lists
    every deliberate difference from the paper; ``reconstruction`` marks layouts that the paper does not give.
    ``input_of`` returns the input convention for all options, where options change it. ``global_ops`` names the
    operations that use the whole image: a model without any is exact under tiling.
    ``unused_params`` are parameters that the official network has but does not use. ``deploy`` turns a network in
    training form (option ``form``) into one in deploy form with the same outputs in evaluation mode: training uses the
    first, costs, scores and exports are those of the second. ``version`` is raised when
    a change outside the code, for example in a data file, changes the model's numbers. ``registered_in`` is the
    module that registered it.
    """

    name: str
    build: Callable[..., nn.Module]
    task: Task
    input: InputSpec
    options: Mapping[str, Option] = field(repr=False)
    summary: str = ""
    params: int | None = None
    paper: str | None = None
    licence: str | None = None
    official_weights: str | None = None
    differences: tuple[str, ...] = ()
    reconstruction: bool = False
    global_ops: tuple[str, ...] = ()
    unused_params: tuple[str, ...] = ()
    input_of: Callable[[Mapping[str, Any]], InputSpec] | None = None
    convert_checkpoint: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    deploy: Callable[[nn.Module], nn.Module] | None = None
    version: int = 1
    registered_in: str = ""

    def input_for(self, options: Mapping[str, Any]) -> InputSpec:
        """Return the input convention with ``options``: some change the levels or the size of the output."""
        return self.input if self.input_of is None else self.input_of(self.all_options(options))

    @property
    def forms(self) -> tuple[str, ...]:
        """The values of the option ``form`` of a network with two forms; empty for all others."""
        return self.options[FORM].choices if self.deploy else ()

    @functools.cached_property
    def conventions(self) -> dict[str, tuple[Any, ...]]:
        """The values of each option that changes the input convention, and so belongs to the weights."""
        found = {}
        for name, option in self.options.items() if self.input_of else ():
            values = (False, True) if option.annotation is bool else option.choices
            if any(self.input_for({name: value}) != self.input for value in values):
                found[name] = values
        return found

    def create(self, options: Mapping[str, Any]) -> nn.Module:
        """Build the network with unchanged ``options``; raises UserError, BuildError or exceptions of its code."""
        return build_network(self.name, self.build, options)

    def all_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return every option: ``given`` values (strings are parsed) replace the defaults."""
        resolved = resolve_options(self.name, self.options, given)
        return {name: resolved.get(name, option.default) for name, option in self.options.items()}

    @functools.cached_property
    def is_builtin(self) -> bool:
        """Whether the model ships with this package (and is not a user's plug-in)."""
        return self.build.__module__.startswith("zoo.models.")

    @functools.cached_property
    def code_digest(self) -> str:
        """Digest of the model's code and its imports (see ``zoo.identity``); records' keys depend on it."""
        return digest_of_build(self.build, self.registered_in, self.version)


def _import_models() -> None:
    package = importlib.import_module("zoo.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"zoo.models.{module.name}")


MODELS: Registry[ModelCard] = Registry("model", load=_import_models)


def register_model(
    *,
    task: Task,
    input: InputSpec | None = None,
    params: int | None = None,
    paper: str | None = None,
    licence: str | None = None,
    official_weights: str | None = None,
    differences: tuple[str, ...] = (),
    reconstruction: bool = False,
    global_ops: tuple[str, ...] = (),
    unused_params: tuple[str, ...] = (),
    input_of: Callable[[Mapping[str, Any]], InputSpec] | None = None,
    convert_checkpoint: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    deploy: Callable[[nn.Module], nn.Module] | None = None,
    version: int = 1,
) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Register a build function as a model; the fields are those of ModelCard.

    The function's name is the model's name, its arguments (each with a default) are the ``--set`` options,
    the first line of its docstring is the summary. Without ``input`` the task's convention is used:
    ``raw2rgb`` takes packed RAW (N, 4, H, W) in PyNET's plane order, counts / 1020 without black level, and
    returns (N, 3, 2H, 2W) in [0, 1]; ``denoise_rgb`` and ``enhance_rgb`` take and return (N, 3, H, W), ``denoise_gray``
    (N, 1, H, W). Where options change the convention, ``input_of`` gives it for all options.
    Raises UserError for an unknown task, a name that is taken, an argument without default, and for ``deploy`` without
    the option ``form`` or the reverse.
    """
    if task not in _DEFAULT_INPUT:
        raise UserError(f"unknown task '{task}'; expected one of {', '.join(_DEFAULT_INPUT)}.")

    registered_in = sys._getframe(1).f_globals.get("__name__", "")

    def register(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        options = read_options(build)
        _check_forms(build.__name__, options.get(FORM), deploy)
        default = input_of({name: option.default for name, option in options.items()}) if input_of else input
        card = ModelCard(
            name=build.__name__,
            build=build,
            task=task,
            input=default or _DEFAULT_INPUT[task],
            options=options,
            summary=(inspect.getdoc(build) or "").partition("\n")[0],
            params=params,
            paper=paper,
            licence=licence,
            official_weights=official_weights,
            differences=differences,
            reconstruction=reconstruction,
            global_ops=global_ops,
            unused_params=unused_params,
            input_of=input_of,
            convert_checkpoint=convert_checkpoint,
            deploy=deploy,
            version=version,
            registered_in=registered_in,
        )
        MODELS.add(card.name, card)
        return build

    return register


def _check_forms(name: str, option: Option | None, deploy: object) -> None:
    has_two = option is not None and {DEPLOY, TRAINING} <= {*option.choices}
    if deploy and not (option and has_two and option.default == DEPLOY):
        raise UserError(f'{name}: deploy needs the option `form: Literal["deploy", "training"] = "deploy"`.')
    if has_two and not deploy:
        raise UserError(
            f"{name}: the option form has the values deploy and training; pass deploy=FUNCTION too, which"
            " turns a network in training form into one in deploy form."
        )


def get_card(name: str) -> ModelCard:
    """Return the card of the model called ``name``; raises UserError with the nearest names."""
    return MODELS.get(name)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the registered models that match a shell ``pattern``, sorted."""
    return MODELS.names(pattern)
