"""Build networks by their names, also with the weights that ship; load a file of weights into a module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from zoo.card import FORM, ModelCard, Task, default_input, get_card
from zoo.convention import InputSpec
from zoo.errors import UserError, nearest, shortened, shown
from zoo.options import resolve_options

if TYPE_CHECKING:
    from torch import Tensor, nn

    from zoo.weights import Checkpoint

Network = TypeVar("Network", bound="nn.Module")
# The attribute by which a network built here remembers its name and options; copies and pickles keep it.
_MADE = "_zoo_model"
# The usual task of each layout; of two tasks with one layout, both have images of the same size.
_TASK_OF_LAYOUT: dict[str, Task] = {
    "bayer_packed": "raw2rgb",
    "bayer_rgb": "raw2rgb",
    "rgb": "denoise_rgb",
    "gray": "denoise_gray",
}


def create_model(name: str, *, pretrained: bool | None = None, **options: Any) -> nn.Module:
    """Build the model called ``name`` in training mode, with fresh weights.

    ``pretrained=True`` loads the weights that ship with this package. They were trained on the embedded stand-ins to
    demonstrate the tool, so they say nothing about a network's quality on real data. A model of your own may have an
    option of this name, which then gets the value. Options may be strings, as on the command line. Raises UserError
    for an unknown name or option, and with ``pretrained`` if no weights ship for this model and these options.
    """
    card = get_card(name)
    if pretrained is not None and "pretrained" in card.options:
        options["pretrained"], pretrained = pretrained, None
    given = resolve_options(name, card.options, options)
    shipped = _shipped(card, given) if pretrained else None
    if shipped:
        given = resolve_options(name, card.options, _options_in(shipped))
    network = card.create(given)
    setattr(network, _MADE, (name, given))
    return load_weights(network, shipped.path) if shipped else network


def _shipped(card: ModelCard, given: Mapping[str, Any]) -> Checkpoint:
    """Return the shipped weights of a model; raises UserError if there are none for these options."""
    from zoo.trained import shipped_models, shipped_weights
    from zoo.weights import read_checkpoint

    file = shipped_weights(card.name) if card.is_builtin else None
    if file is None:
        raise UserError(
            f"create_model: no weights of {card.name} ship with this package; expected one of"
            f" {', '.join(shipped_models())}. Load a file of your own with load_weights."
        )
    checkpoint = read_checkpoint(file)
    stored = card.all_options(_options_in(checkpoint))
    for option, value in given.items():
        if value != stored[option]:
            raise UserError(
                f"create_model: {option}={shown(value)}: the weights of {card.name} that ship have"
                f" {option}={shown(stored[option])}; leave the option or pretrained out."
            )
    return checkpoint


def load_weights(module: Network, file: str | Path, *, model: str | None = None, take: str | None = None) -> Network:
    """Load the weights in ``file`` into a module, strictly, and return the module.

    The file is safetensors, ``.npz``, MatConvNet's ``.mat`` or a PyTorch checkpoint that holds only tensors; wrapping
    dictionaries and ``module.`` prefixes are removed, and ``take`` names the weights in a file with several sets. A
    published checkpoint is converted to the names used here if the module was built by ``create_model``, or if
    ``model`` says which registered model it is. Raises UserError, and leaves the module as it was, if the file cannot
    be read or was written for another model or for other options; if a key, shape or type of numbers does not fit; and
    if a value is not finite.
    """
    from zoo.fitting import load_strictly
    from zoo.forms import in_form
    from zoo.weights import official_state, read_checkpoint

    checkpoint = read_checkpoint(file, take=take)
    made, own = made_as(module) or (None, {})
    card = get_card(model) if model is not None else made
    name = card.name if card else type(module).__name__
    written_for = checkpoint.metadata.get("model", name)
    if card and written_for != name:
        raise UserError(f"load_weights: {file} was written for {shortened(written_for)}, not for {name}.")
    state = official_state(card, checkpoint) if card else checkpoint.state
    if card and card is made:
        _check_options(card, own, checkpoint, state)
        state = in_form(card, own, state, file).state
    load_strictly(module, state, name=name, source=file)
    return module


def _check_options(
    card: ModelCard, own: Mapping[str, Any], checkpoint: Checkpoint, state: Mapping[str, Tensor]
) -> None:
    """Raise UserError if a file's weights belong to other options, which shapes need not show."""
    from zoo.official import find_official

    official = find_official(card.name, checkpoint, state)
    known = official.options if official else {}
    mine, stored = card.all_options(own), card.all_options({**_options_in(checkpoint), **known})
    if card.forms:
        # The tensors show their form, and those of the training form can be used in the deploy form.
        stored[FORM] = mine[FORM]
    if (known or checkpoint.metadata.get("options")) and mine != stored:
        option = next(name for name, value in stored.items() if value != mine[name])
        raise UserError(
            f"load_weights: {checkpoint.path} was written with {option}={shown(stored[option])}, the network was built"
            f" with {option}={shown(mine[option])}; build it with create_model('{card.name}',"
            f" {option}={shown(stored[option])})."
        )


def _options_in(checkpoint: Checkpoint) -> dict[str, Any]:
    from zoo.weights import stored_options

    return stored_options(checkpoint.metadata, checkpoint.path)


def made_as(module: nn.Module) -> tuple[ModelCard, dict[str, Any]] | None:
    """Return card and options with which ``create_model`` built a module; None for any other module."""
    made = getattr(module, _MADE, None)
    return made and (get_card(made[0]), made[1])


def card_of_module(module: nn.Module, *, task: Task | None, input: InputSpec | None, asked_by: str) -> ModelCard:
    """Return a card for a module that need not be registered; its build function returns a copy of the module.

    Without ``input`` the convention is that of the registered model if ``create_model`` built the module, else that of
    the ``task``. Raises UserError, which begins with ``asked_by``, if neither says what the module receives.
    """
    from torch import nn

    if not isinstance(module, nn.Module):
        raise UserError(f"{asked_by}: expected the name of a model or a torch.nn.Module, got {shown(module)}.")
    made = made_as(module)
    if task is not None and task not in get_args(Task):
        raise UserError(f"{asked_by}: no task '{shortened(task)}'{nearest(str(task), get_args(Task))}")
    if made is not None:
        card, options = made
        task, input = task or card.task, input or card.input_for(options)
    if input is None and task is None:
        raise UserError(
            f"{asked_by}: what does this {type(module).__name__} receive? Pass task='raw2rgb' (or"
            f" {', '.join(get_args(Task)[1:])}), or input=InputSpec(...) for a convention of its own."
        )
    spec = input or default_input(task or "")
    task = task or _TASK_OF_LAYOUT[spec.layout]
    return ModelCard(type(module).__name__, lambda: copy.deepcopy(module).cpu(), task, spec, options={})
