"""The models of a run with options and weights, and whether a model runs on the images or only costs are counted."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from benchmark.backends import ENGINES
from benchmark.cache import cache_root
from benchmark.conditions import Conditions, Sigma
from benchmark.costs.profiling import meta_model
from benchmark.fetching import fetch_weights, is_address
from benchmark.reporting import Reporter
from benchmark.types import DatasetCard, Evidence, label_of
from zoo.card import DEPLOY, FORM, MODELS, ModelCard, get_card
from zoo.errors import BuildError, UserError, nearest, printable, shortened, shown
from zoo.fitting import check_fits, load_strictly
from zoo.forms import deploy_options, form_note, in_form
from zoo.official import find_official, mistaken_for, notes_on
from zoo.options import resolve_options
from zoo.outputs import checked
from zoo.trained import shipped_models, shipped_weights
from zoo.weights import Checkpoint, official_state, read_checkpoint, stored_options

_WILDCARDS = "*?["
# Raise it when the quantisers write other files from the same network: those in the cache are not used again.
QUANTIZING = 2
# The word that stands for the weights of a model that ship with this package, where a file is named.
SHIPPED = "shipped"

# What decides whether two trained networks may be compared, and which of them differ only in their seed.
_TRAINING = ("recipe_digest", "lr", "lr_rule", "step")
_LABEL = re.compile(r"[A-Za-z0-9._+-]{1,40}")
# The weights of a run: one file, or several that differ only in the seed of one recipe, by MODEL or MODEL@LABEL.
Weights = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Entry:
    """One model of a run."""

    card: ModelCard
    options: dict[str, Any]
    checkpoint: Checkpoint | None
    evidence: Evidence
    # Whether the model runs on the images; otherwise only its costs are listed.
    evaluate: bool
    # The user's name for these weights, which the names of rows show; empty if there is none.
    weights_label: str = ""

    @property
    def scored(self) -> bool:
        """Whether scores may be shown; they never are for untrained weights."""
        return self.evidence != "untrained"

    def build(self, *, seed: int = 0) -> nn.Module:
        """Build the network in evaluation mode, with its weights or with random ones from ``seed``.

        A call of the network raises OutputError if it does not return one image.
        """
        torch.manual_seed(seed)
        model = checked(self.card.create(self.options))
        if self.checkpoint:
            load_strictly(model, self.checkpoint.state, name=self.card.name, source=self.checkpoint.path)
        return model.eval()

    def quantized_file(self, conditions: Conditions) -> Path | None:
        """Return where the cache keeps the network in int8, by all that decides its content; None without calibration.

        `benchmark.running.quantizing` writes the file.
        """
        if conditions.calibrate is None:
            return None
        engine = ENGINES[conditions.backend]
        network = (self.card.name, jsonable_options(self.options), self.card.code_digest, self.weights_digest)
        parts = [*network, conditions.calibrate, engine.name, QUANTIZING]
        # A program of ExecuTorch may be read only by the version that wrote it.
        parts += [engine.version] if engine.name == "executorch" else []
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
        return cache_root() / "quantized" / f"{digest}{engine.int8_file}"

    def weights_record(self) -> dict[str, str] | None:
        """Return name, sha256 and label of the weights file and, if it states them, recipe, seed and data.

        ``part`` means that they were trained on a part of a dataset, for example "12 of 44487"; ``form`` is the form
        that the file holds, if it was converted to the deploy form.
        """
        if self.checkpoint is None:
            return None
        metadata, stated = self.checkpoint.metadata, ("recipe", "seed", "data_digest", "part", "source", *_TRAINING)
        own = {"name": printable(self.checkpoint.path.name), "sha256": self.checkpoint.digest}
        own |= {"label": self.weights_label} if self.weights_label else {}
        own |= {"form": self.checkpoint.held} if self.checkpoint.held else {}
        return own | {key: metadata[key] for key in stated if key in metadata}

    def tell_notes(self, reporter: Reporter) -> None:
        """Report how the weights were converted for the network, if they were."""
        for line in self.checkpoint.notes if self.checkpoint else ():
            reporter.note(f"{self.weights_file}: {line}")

    @property
    def notes(self) -> list[str]:
        """What a record says of this network: its form, if it has two, and how the weights were converted for it."""
        form = form_note(self.card, self.options)
        return [*([form] if form else []), *(self.checkpoint.notes if self.checkpoint else ())]

    @property
    def is_told_noise(self) -> bool:
        """Whether the network is told the level of the noise."""
        return self.card.input_for(self.options).noise_level

    def check_noise(self, data: object, sigma: Sigma | None) -> None:
        """Raise UserError if the network is told the level of the noise and there is no ``sigma``; ``data`` lack it."""
        if self.is_told_noise and sigma is None:
            raise UserError(
                f"{self.label} is told the level of the noise, which {data} does not say; pass --sigma 15 (on the scale"
                " of 8-bit values), or --sigma estimate for that of each picture."
            )

    @property
    def weights_digest(self) -> str | None:
        """The sha256 of the weights file, if there is one."""
        return self.checkpoint.digest if self.checkpoint else None

    @property
    def weights_file(self) -> str | None:
        """The path of the weights, if there are any."""
        return str(self.checkpoint.path) if self.checkpoint else None

    @property
    def label(self) -> str:
        """The model's name with the options that differ from the defaults, and the label of its weights."""
        return label_of(self.card.name, self.options, self.weights_label)


def select(
    dataset: DatasetCard,
    *,
    models: Sequence[str] | None,
    weights: Weights,
    options: Mapping[str, str],
    sigma: Sigma | None = None,
) -> list[Entry]:
    """Return the models of a run, in the order named; a model with several weights is there once for each of them.

    Without ``models`` all models of the dataset's task are taken; for those without weights only costs are counted.
    Options of MODEL are for all its weights, those of MODEL@LABEL for these alone. ``sigma`` is what networks that are
    told the level of the noise are told. Raises UserError for unknown names, a model of another task, options or
    weights of a model outside the run, weights that nobody could tell apart, and a network whose noise is not known.
    """
    names, explicit = _names(dataset, models), models is not None
    given = _options_by_model(names, options, explicit=explicit)
    files = _files_by_model(weights)
    for key in [*files, *given]:
        name, at, _ = key.partition("@")
        if name not in names:
            get_card(name)
            raise UserError(
                f"'{name}' is not part of this run on {dataset.name}{nearest(name, names)}; add it to --models."
            )
        if at and key not in weights:
            option = f"{key}.{next(f'{one}={value}' for one, value in given[key].items())}"
            raise UserError(f"--set {shortened(option)}: no weights of this run are {key}{nearest(key, weights)}")
    entries = []
    for name in names:
        own = []
        for label, file in files.get(name, [("", None)]):
            set_here = given.get(name, {}) | (given.get(f"{name}@{label}", {}) if label else {})
            own.append(_entry(dataset, name, set_here, file, explicit, label))
            if own[-1].evaluate and not dataset.adds_noise:
                own[-1].check_noise(dataset.name, sigma)
        _check_told_apart(own)
        entries += own
    return entries


def _files_by_model(weights: Weights) -> dict[str, list[tuple[str, str]]]:
    """Return labels and files of each model's weights; raises UserError for a bad label and for two files of one."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key, value in weights.items():
        name, at, label = key.partition("@")
        flag = f"--weights {shortened(key)}"
        if not name:
            raise UserError(f"{flag}: no model is named; expected MODEL=FILE or MODEL@LABEL=FILE.")
        if at and not _LABEL.fullmatch(label):
            raise UserError(
                f"{flag}: expected a label of 1 to 40 letters, digits and signs ._+-, for example {name}@new."
            )
        files = [value] if isinstance(value, (str, os.PathLike)) else list(value)
        if not files or "" in files:
            raise UserError(f"{flag}: no file is named.")
        if at and len(files) > 1:
            raise UserError(f"{flag}: {len(files)} files have this label; give each one of its own.")
        found.setdefault(name, []).extend((label, file) for file in files)
    return found


def _check_told_apart(entries: Sequence[Entry]) -> None:
    """Raise UserError for two equal weights of one model, and for weights without labels but of seeds of one recipe."""
    for one, other in itertools.combinations([entry for entry in entries if entry.checkpoint], 2):
        if (one.options, one.weights_digest) == (other.options, other.weights_digest):
            names = f"{one.label} and {other.label}" if one.label != other.label else f"two files of {one.label}"
            files = f"{one.weights_file}, {other.weights_file}"
            raise UserError(f"--weights: {names} are the same weights ({files}); leave one out.")
    unnamed = [entry for entry in entries if entry.checkpoint and not entry.weights_label]
    if len(unnamed) > 1 and (why := _more_than_seeds(unnamed)):
        name = unnamed[0].card.name
        raise UserError(
            f"--weights {name}: {len(unnamed)} files have no label, which only seeds of one recipe may ({why});"
            f" give each a label: --weights {name}@LABEL=FILE."
        )


def _more_than_seeds(entries: Sequence[Entry]) -> str:
    """Return what else than the seed of one recipe tells trained weights of one model apart; empty if nothing does."""
    about = [{**one.checkpoint.metadata, "options": str(one.options)} for one in entries if one.checkpoint]
    if not all(one.get("recipe_digest") and one.get("seed") for one in about):
        return "not all of them say by which recipe and seed they were trained"
    for key in (*_TRAINING, "data_digest", "part", "options"):
        if len({one.get(key) for one in about}) > 1:
            return f"they differ in {key}"
    seeds = [one["seed"] for one in about]
    twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
    return "" if twice is None else f"two of them have the seed {shortened(twice)}"


def _names(dataset: DatasetCard, patterns: Sequence[str] | None) -> list[str]:
    fitting = [card.name for card in MODELS if card.task == dataset.task]
    if patterns is None:
        return fitting
    names: list[str] = []
    for pattern in patterns:
        if any(sign in pattern for sign in _WILDCARDS):
            found = [name for name in MODELS.names(pattern) if name in fitting]
            if not found:
                raise UserError(f"--models: no {dataset.task} model matches '{pattern}'{nearest(pattern, fitting)}")
        else:
            if "@" in pattern:
                raise UserError(f"--models {shortened(pattern)}: --models takes no labels; they stand in --weights.")
            card = get_card(pattern)
            if card.task != dataset.task:
                raise UserError(
                    f"{pattern} is a {card.task} model, {dataset.name} needs {dataset.task}"
                    f"; models for it: {', '.join(fitting[:12])}"
                )
            found = [pattern]
        names += [name for name in found if name not in names]
    if not names:
        raise UserError("--models: no model named; expected names or patterns separated by commas.")
    return names


def _options_by_model(names: Sequence[str], options: Mapping[str, str], *, explicit: bool) -> dict[str, dict[str, str]]:
    """Group ``MODEL.key=value`` and, if only one model is named, ``key=value`` by model."""
    given: dict[str, dict[str, str]] = {}
    for name, value in options.items():
        model, dot, key = name.rpartition(".")
        if not dot:
            if not explicit or len(names) != 1:
                raise UserError(f"--set {name}={value}: several models run; write MODEL.{name}={value}.")
            model = names[0]
        given.setdefault(model, {})[key] = value
    return given


def _entry(
    dataset: DatasetCard, name: str, options: Mapping[str, str], weights: str | None, named: bool, label: str
) -> Entry:
    entry = entry_of(name, weights, options, label=label)
    spec = entry.card.input_for(entry.options)
    if spec.output_scale != spec.cell:
        raise UserError(
            f"{entry.label} returns images of {spec.output_scale / spec.cell:g} times the size of its input; the"
            f" targets of {dataset.name} have the same size. Choose other options."
        )
    return replace(entry, evaluate=named or entry.scored)


def entry_of(
    name: str, weights: str | Path | None, options: Mapping[str, Any], *, take: str | None = None, label: str = ""
) -> Entry:
    """Return a model with its options and weights; both are checked without building the network.

    ``weights`` are as ``weights_file`` takes them, ``take`` names those in a file with several sets, ``label`` is the
    user's name for them. Raises UserError for unknown names, options that the model refuses and weights that do not
    fit.
    """
    card = get_card(name)
    resolved = deploy_options(card, resolve_options(name, card.options, options))
    if resolved:
        with contextlib.suppress(BuildError):
            meta_model(card, resolved)  # refuses wrong values before anything is measured
    if weights is not None:
        checkpoint, resolved, evidence = _with_weights(card, weights_file(name, weights), resolved, take)
        return Entry(card, resolved, checkpoint, evidence, evaluate=True, weights_label=label)
    free = _is_parameter_free(card, resolved)
    return Entry(card, resolved, None, "parameter-free" if free else "untrained", evaluate=free)


def weights_file(
    model: str, weights: str | Path, *, trust: bool = False, reporter: Reporter | None = None
) -> str | Path:
    """Return the file for weights that a user names: a path, "shipped", or an address, whose file is downloaded.

    Raises UserError if no weights of the model ship, and as ``fetch_weights`` does, which ``trust`` is for.
    """
    if is_address(weights):
        return fetch_weights(str(weights), trust=trust, reporter=reporter)
    if weights != SHIPPED:
        return weights
    file = shipped_weights(model) if get_card(model).is_builtin else None
    if file is None:
        raise UserError(
            f"--weights {SHIPPED}: no weights of {shortened(model)} ship with this package, only those of"
            f" {', '.join(shipped_models())}; `zoo-bench show {shortened(model)}` says what is known."
        )
    return file


def with_shipped_weights(entry: Entry) -> Entry:
    """Return a model of this package with the weights that ship for its options, if there are any and it has no others.

    Use them only for the embedded stand-ins, on which they were trained.
    """
    file = shipped_weights(entry.card.name) if entry.card.is_builtin else None
    if entry.checkpoint or file is None:
        return entry
    shipped = entry_of(entry.card.name, file, {})
    return shipped if shipped.options == entry.options else entry


def target_scale(dataset: DatasetCard) -> float:
    """Return how much larger the targets are than the planes that a network receives."""
    return 2.0 if dataset.task == "raw2rgb" else 1.0


def _is_parameter_free(card: ModelCard, options: Mapping[str, Any]) -> bool:
    if card.params is not None:
        return card.params == 0
    try:
        return not any(True for _ in meta_model(card, options).parameters())
    except BuildError:
        return False  # the error becomes a record when the model's turn comes


def _with_weights(
    card: ModelCard, weights: str | Path, options: dict[str, Any], take: str | None
) -> tuple[Checkpoint, dict[str, Any], Evidence]:
    checkpoint = read_checkpoint(weights, take=take)
    metadata = checkpoint.metadata
    if metadata.get("model", card.name) != card.name:
        raise UserError(f"--weights: {weights} was written for {shortened(metadata['model'])}, not for {card.name}.")
    state = official_state(card, checkpoint)
    official = find_official(card.name, checkpoint, state)
    merged = merge_options(card, metadata, options, weights, official.options if official else {})
    try:
        found = in_form(card, merged, state, weights)
        # This is checked before anything is measured, and without building the network twice.
        fitted = check_fits(meta_model(card, merged), found.state, name=card.name, source=weights)
    except UserError:
        if mistaken := mistaken_for(card.name, checkpoint):
            raise UserError(mistaken) from None
        raise
    # The digest marks official weights and the metadata trained ones; others are just a weights file.
    evidence: Evidence = "trained" if metadata.get("evidence") == "trained" else "weights-file"
    if official:
        evidence = "official-weights"
    notes = (*notes_on(official, checkpoint), *found.notes, *fitted.notes)
    return replace(checkpoint, state=fitted.state, notes=notes, held=found.held), merged, evidence


def options_text(card: ModelCard, options: Mapping[str, Any]) -> str:
    """Return the options of a network as the metadata of its weights, which name the form of one that has two."""
    return json.dumps(jsonable_options({**({FORM: DEPLOY} if card.forms else {}), **options}), sort_keys=True)


def jsonable_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as JSON-ready values: tuples become lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


def merge_options(
    card: ModelCard,
    metadata: Mapping[str, str],
    options: Mapping[str, Any],
    source: object,
    known: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the options of a weights file together with ``options``, if they do not conflict.

    The file's form is left out: its tensors show it, and those of the training form can be used in the deploy form.
    Options that change the input convention belong to the weights: those of a file of this tool that does not name them
    have their defaults. ``known`` options are those of a published file, whatever the metadata say.
    """
    stored = resolve_options(card.name, card.options, stored_options(metadata, source)) | {**known}
    if card.forms:
        stored.pop(FORM, None)
    conventions = {name: card.options[name].default for name in card.conventions} if "model" in metadata else {}
    fixed = {**conventions, **stored}
    for name, value in options.items():
        if fixed.get(name, value) != value:
            given, its = f"--set {name}={shown(value)}", f"{name}={shown(fixed[name])}"
            if name in known:
                raise UserError(f"{given}: {source} is a published file of weights for {its}; leave the option out.")
            step = (
                "leave the option out, or import the original file with it"
                if name in conventions
                else "leave the option out"
            )
            raise UserError(f"{given}: {source} was written with {its}; {step}.")
    # All records of one network have the same options.
    stored = {name: value for name, value in stored.items() if name not in known or value != card.options[name].default}
    return {**stored, **options}
