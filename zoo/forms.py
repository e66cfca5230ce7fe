"""Networks with two forms: which one is meant, and weights of the training form used in the deploy form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.card import DEPLOY, FORM, FORM_NOTE, TRAINING, ModelCard
from zoo.errors import BuildError, UserError, with_place
from zoo.fitting import keys_of, likeness, load_strictly
from zoo.raw import apply_model, padded_size

# The largest difference between the outputs of both forms, as a share of the largest output. In float32 it was at most
# 1e-5 for all networks here, with random statistics; an epsilon that is ten times too large moves DnCNN's by 6e-4.
TOLERANCE = 1e-4
_SIDE = 16


class InForm(NamedTuple):
    """Tensors for a network in one form; ``held``: the form that a file holds, if it was converted, else empty."""

    state: dict[str, Tensor]
    held: str = ""
    notes: tuple[str, ...] = ()


def training_options(card: ModelCard, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the network to train: that in training form, unless ``options`` name a form."""
    return {FORM: TRAINING, **options} if card.forms else dict(options)


def deploy_options(card: ModelCard, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``options`` without the form if it is the deploy form, so that all its records have the same options."""
    return {key: value for key, value in options.items() if not (card.forms and (key, value) == (FORM, DEPLOY))}


def form_note(card: ModelCard, options: Mapping[str, Any]) -> str:
    """Return which form of a network with two forms is counted and run; empty for all others."""
    if not card.forms:
        return ""
    form = options.get(FORM, DEPLOY)
    if form == DEPLOY:
        return f"{FORM_NOTE} the deploy form, which has the same output as the larger training form"
    return f"{FORM_NOTE} form={form}, not of the smaller deploy form, which has the same output"


def in_form(card: ModelCard, options: Mapping[str, Any], state: dict[str, Tensor], source: object) -> InForm:
    """Return a file's tensors for the network that ``options`` build, converted from the training form if necessary.

    Keys and shapes say which form the file holds; if they fit no form better than the one asked for, the tensors are
    returned unchanged, and the strict loader says what does not fit. Raises UserError for weights in deploy form where
    a training form is asked for, and for a conversion that changes the output.
    """
    form = options.get(FORM, DEPLOY)
    held = _held_form(card, options, state) if card.forms else form
    if held == form:
        return InForm(state)
    if form != DEPLOY:
        why = "cannot be turned back into" if held == DEPLOY else "is not"
        raise UserError(f"{card.name}: {source} holds form={held}, which {why} form={form}; choose form={held}.")
    trained = {**options, FORM: held}
    network = card.create(trained).eval()
    notes = load_strictly(network, state, name=card.name, source=source)
    plain, difference = _deployed(card, trained, network)
    done = f"weights of form={held} are used in the deploy form; on noise the output moves by {difference:.0e} at most"
    return InForm(plain.state_dict(), held, (*notes, done))


def _held_form(card: ModelCard, options: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return the form whose keys and shapes are most like those of ``state``; if none is, that which is asked for."""
    asked = options.get(FORM, DEPLOY)
    best, score = asked, 0.5
    for form in (asked, *(form for form in card.forms if form != asked)):
        found = likeness(keys_of(card, {**options, FORM: form}), state)
        if found > score:
            best, score = form, found
        if score == 1.0:
            break
    return best


def _deployed(card: ModelCard, options: Mapping[str, Any], network: nn.Module) -> tuple[nn.Module, float]:
    """Return ``network`` in deploy form, and how far the output on noise moves, as a share of its largest value.

    Raises UserError if ``card.deploy`` fails or changes the output.
    """
    assert card.deploy is not None
    spec = card.input_for(options)
    height, width = padded_size(max(_SIDE, spec.min_size), max(_SIDE, spec.min_size) + 3, spec)
    planes = torch.rand(2, spec.channels, height, width, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            # Before the conversion, which may change the network itself.
            expected = apply_model(network, planes, spec)
            plain = card.deploy(network).eval()
            difference = float((apply_model(plain, planes, spec) - expected).abs().max())
    except UserError:
        raise
    except Exception as error:
        raise BuildError(f"{card.name} cannot be brought into its deploy form: {with_place(error)}") from error
    difference /= max(float(expected.abs().max()), 1e-12)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{card.name}: in the deploy form the output differs by {difference:.1e} of its largest value, expected at"
            f" most {TOLERANCE:.0e}; use the weights in their own form with --set form={options[FORM]}."
        )
    return plain, difference
