"""A recipe: everything that determines a training's numbers, as strict data from a YAML file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from benchmark.conditions import CLEAN, MAX_SIGMA
from benchmark.config import Strict, find_settings, read_settings, shipped_files
from benchmark.losses import LOSSES
from benchmark.units import MAX_SEED, MAX_THREADS
from zoo.errors import UserError

# Values beyond these limits are typing errors.
_MOST, MAX_STEPS = 1 << 20, 1 << 50
# Keys that may change when a run is resumed: they do not influence the weights.
FREE_KEYS = (
    "data_root",
    "data_name",
    "partial",
    "checkpoint_every",
    "log_every",
    "validation",
    "workers",
    "cache_gib",
    "threads",
    "tensorboard",
    "device",
)


class Term(Strict):
    """One term of the loss, multiplied by its weight; active from an epoch until another, every n-th step."""

    # A loss of ``benchmark.losses`` or of a plug-in, or one that needs more than the output and its target: ``vgg``,
    # ``elbo``, ``levels``, and ``warm_up`` for the training forms of SYENet and MobileIE.
    name: str
    weight: float = Field(default=1.0, ge=0)  # The factor of the term.
    from_epoch: int = Field(default=0, ge=0)  # The first epoch in which it is active, counted from 0.
    until_epoch: int | None = Field(default=None, ge=1)  # The first epoch in which it is not active any more.
    every: int = Field(default=1, ge=1)  # It is active at every n-th step.
    eps2: float = Field(default=1e-6, gt=0)  # For ``elbo``: the variance of the prior.
    levels: list[float] | None = None  # For ``levels``: a weight for each output of PyNET, coarse to fine.
    options: dict[str, Any] = {}  # The options of the loss.
    code: str | None = None  # Filled in: the digest of a plug-in's code.

    @model_validator(mode="before")
    @classmethod
    def _loss_exists(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("name"), str):
            return values
        try:
            loss = LOSSES.get(values["name"])
            for key in loss.options.keys() & values.keys() - cls.model_fields.keys():
                raise ValueError(f"{key} is an option of {loss.name}; expected it as options: {{{key}: ...}}")
            options = values.get("options", {})
            options = loss.resolved(options) if isinstance(options, dict) else options
        except UserError as error:
            text = str(error)
            raise ValueError(text if text.endswith("...") else text.removesuffix(".")) from None
        return values | {"options": options, "code": loss.code}

    @model_serializer(mode="wrap")
    def _without_what_is_not_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Terms had neither key at first, and digests of recipes and keys of sweeps depend on what is written.
        return {key: value for key, value in write(self).items() if value or key not in ("options", "code")}

    @model_validator(mode="after")
    def _levels_belong_to_levels(self) -> Term:
        if (self.name == "levels") != (self.levels is not None):
            raise ValueError("the term levels needs one weight per output in `levels`, and no other term has them")
        return self

    def active(self, epoch: int, step: int) -> bool:
        """Whether the term is active at a step of an epoch, both counted from 0."""
        return (
            self.from_epoch <= epoch
            and (self.until_epoch is None or epoch < self.until_epoch)
            and step % self.every == self.every - 1
        )


class Optimizer(Strict):
    """Adam, AdamW or SGD from an epoch on."""

    name: Literal["adam", "adamw", "sgd"] = "adam"  # The algorithm.
    from_epoch: int = Field(default=0, ge=0)  # The epoch with which it begins, counted from 0.
    lr: float | None = Field(default=None, gt=0)  # The learning rate; null: the recipe's.
    betas: tuple[float, float] = (0.9, 0.999)  # For ``adam`` and ``adamw``: the decay of both running means.
    momentum: float = Field(default=0.0, ge=0, lt=1)  # For ``sgd``.
    weight_decay: float = Field(default=0.0, ge=0)  # As torch's optimiser of this name takes it.


class Schedule(Strict):
    """The learning rate over time, never below ``floor``."""

    milestones: list[int] = []  # Epochs at which the rate is multiplied by ``gamma``.
    gamma: float = Field(default=0.1, gt=0, le=1)  # The factor at each milestone.
    cosine: bool = False  # From the full rate to the floor over the whole run, along a cosine.
    # Instead of over the whole run: once an epoch, over this number of epochs, then again over twice as many, and so
    # on, counted from the start of the optimiser.
    restart_after: int | None = Field(default=None, ge=1)
    floor: float = Field(default=0.0, ge=0)  # The lowest rate.
    warmup: int = Field(default=0, ge=0)  # The number of steps at the start in which the rate rises linearly.

    @model_validator(mode="after")
    def _restarts_belong_to_cosine(self) -> Schedule:
        if self.restart_after is not None and not self.cosine:
            raise ValueError("restart_after needs cosine: true")
        return self


class Clip(Strict):
    """The largest norms of gradients."""

    norms: dict[str, float]  # The largest norm, by the name of a part of the network (``*``: the whole network).
    # After each epoch a limit falls to the mean norm of that epoch if this is smaller, as in VDN.
    tighten: bool = False


class Validation(Strict):
    """Scores during training, on images that it does not train on, at regular steps and at the end."""

    split: str | None = None  # The split; null: the dataset's default.
    data_root: str | None = None  # For a folder of pictures with noise: a folder of other pictures.
    # For a folder of pictures with noise: the level of the noise; null: as in training.
    sigma: float | None = Field(default=None, ge=0, le=MAX_SIGMA)
    every: int | None = Field(default=None, ge=1)  # The number of steps between two; null: ``checkpoint_every``.
    limit: int | None = Field(default=16, ge=1)  # The number of images; null: all.
    metrics: list[str] = ["psnr[rgb]"]  # The scores.
    pictures: int = Field(default=4, ge=0)  # The number of sample pictures that are written.


class Recipe(Strict):
    """The keys of a recipe file; see configs/recipes for examples."""

    model: str  # The network.
    options: dict[str, Any] = {}  # Its options.
    dataset: str  # The dataset.
    data_root: str | None = None  # Its folder; null: as for ``run``.
    partial: bool = False  # Train on the part of the dataset that is there, which the weights' file then says.
    # For a user's own data, as the flags of ``run``: how the name of a target follows from that of its input.
    pairs: str | None = None
    cfa: str | None = None  # The colour filter array of the mosaics.
    black: float | None = None  # The black level in counts.
    white: float | None = None  # The white level in counts.
    raw_size: str | None = None  # The size of .raw files, HxW.
    # For ``awgn``: the level of the noise, or the lowest and the highest; then noise of a level between these is drawn
    # anew for each window.
    sigma: float | tuple[float, float] | None = None
    gray: str | None = None  # For ``awgn``: how gray pictures are made of colour ones, ``matlab`` or ``pillow``.
    data_name: str | None = None  # What records call a user's own data.
    task: str | None = None  # The task of a user's own pairs.
    split: str | None = None  # The split that is trained on; null: ``train``, if there is one, else the default.
    limit: int | None = Field(default=None, ge=1)  # Only the first images of it.
    window: int | None = Field(default=None, ge=2, multiple_of=2)  # Only a square of this side in the middle of each.
    wrong_targets: float | None = Field(default=None, gt=0, le=1)  # The share of images whose target has wrong colours.
    init: str | None = None  # A file of weights to start from.
    epochs: int | None = Field(default=None, ge=1, le=MAX_STEPS)  # The length in epochs; what is reached first counts.
    max_steps: int | None = Field(default=None, ge=1, le=MAX_STEPS)  # The length in steps.
    batch_size: int = Field(..., ge=1, le=_MOST)  # Windows in the batch of one process.
    # The side of the windows in packed planes or, for images, pixels (a mosaic's window is twice as large); null: whole
    # images.
    crop: int | None = Field(default=None, ge=1, le=_MOST)
    crops_per_image: int = Field(default=1, ge=1, le=_MOST)  # Windows of each image in an epoch.
    augment: bool = True  # Flip and transpose windows at random.
    lr: float = Field(..., gt=0)  # The learning rate.
    lr_rule: str | None = None  # The rule by which a sweep chose ``lr``.
    optimizers: list[Optimizer] = [Optimizer()]  # The first one begins at epoch 0, each other one later.
    schedule: Schedule = Schedule()  # The learning rate over time.
    loss: list[Term] = Field(default=[Term(name="mse")], min_length=1)  # The terms of the loss, which are added.
    # The weights of VGG-19 for the term ``vgg``: ``pretrained``, a file, or ``off`` to leave the term out, which is
    # recorded.
    perceptual: str = "pretrained"
    clip: Clip | None = None  # The largest norms of gradients; null: no limit.
    # The decay of a running mean of the weights; if it is set, the mean is scored and written.
    ema: float | None = Field(default=None, gt=0, lt=1)
    # float32, mixed precision with bfloat16, or float32 with the rounding of int8, for weights that lose less by it.
    precision: Literal["32", "bf16", "int8-qat"] = "32"
    seed: int = Field(default=0, ge=0, le=MAX_SEED)  # The seed of all random draws.
    checkpoint_every: int = Field(default=500, ge=1)  # The number of steps between two checkpoints.
    log_every: int = Field(default=20, ge=1)  # The number of steps between two lines of the log.
    # The run ends if a loss is this many times the largest loss of the first 20 steps.
    divergence_factor: float = Field(default=100.0, gt=1)
    validation: Validation = Validation()  # Scores during training.
    device: Literal["auto", "cpu", "cuda"] = "auto"  # ``auto``: a GPU, if there is one.
    devices: int = Field(default=1, ge=1, le=_MOST)  # The number of processes or GPUs, where nothing else gives it.
    threads: int | None = Field(default=None, ge=1, le=MAX_THREADS)  # CPU threads; null: as torch chooses.
    workers: int = Field(default=1, ge=0, le=MAX_THREADS)  # Threads that make batches ahead.
    cache_gib: float = Field(default=2.0, ge=0, le=1e6)  # Memory for decoded images.
    tensorboard: bool = False  # Also write the curves for TensorBoard.

    @field_validator("perceptual", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        # YAML reads a bare `off` as false.
        return "off" if value is False else value

    @field_validator("sigma")
    @classmethod
    def _sigma_is_a_level(cls, sigma: float | tuple[float, float] | None) -> float | tuple[float, float] | None:
        low, high = sigma if isinstance(sigma, tuple) else (sigma or 0.0, sigma or 0.0)
        if not 0 <= low <= high <= MAX_SIGMA:
            raise ValueError(f"expected a level of noise from 0 to {MAX_SIGMA:g}, or the lowest and the highest")
        return sigma

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.epochs is None and self.max_steps is None:
            raise ValueError("epochs or max_steps is needed: when does the training end?")
        changes = {0, *(term.until_epoch for term in self.loss if term.until_epoch is not None)}
        if not all(any(term.active(epoch, 0) and term.every == 1 for term in self.loss) for epoch in changes):
            raise ValueError("loss: at least one term must count at every step of every epoch")
        starts = [optimizer.from_epoch for optimizer in self.optimizers]
        if not starts or starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError("optimizers: the first begins at epoch 0, each other one later than the one before it")
        return self

    def data_options(self) -> dict[str, str | float | None]:
        """Return the options of a user's own data, for ``opening.dataset_card``."""
        own = {key: getattr(self, key) for key in ("cfa", "black", "white", "raw_size", "gray", "task")}
        # Training draws the noise of each window, so it opens the pictures as they are.
        sigma = None if self.sigma is None else CLEAN
        return {"rule": self.pairs, "name": self.data_name, "sigma": sigma, **own}

    def noise_range(self) -> tuple[float, float] | None:
        """Return the lowest and the highest level of the noise, on the scale of 8-bit values."""
        return (self.sigma, self.sigma) if isinstance(self.sigma, float) else self.sigma

    def flat(self) -> dict[str, Any]:
        """Return every value by dotted key, JSON-ready; lists are not flattened."""
        return _flatten(self.model_dump(mode="json"))


def recipe_digest(recipe: Recipe) -> str:
    """Return a digest of all that a recipe prescribes for every network and seed.

    Model, options and seed are left out, and the learning rate if a rule chose it, which then is part of the digest. So
    two trainings with the same digest are comparable. Keys at their default are left out: a key that is added later
    changes no digest.
    """
    own = {"model", "options", "seed", *FREE_KEYS, *({"lr"} if recipe.lr_rule else ())}
    values = {
        key: value for key, value in recipe.model_dump(mode="json", exclude_defaults=True).items() if key not in own
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def load_recipe(recipe: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a file or of a shipped name, with ``overrides`` by dotted key.

    Raises UserError naming file and key for every unknown key or wrong value.
    """
    return read_settings(find_recipe(recipe), Recipe, overrides)


def find_recipe(recipe: str | Path) -> Path:
    """Return the file of a recipe, given as a path or a shipped name; raises UserError with the nearest names."""
    return find_settings(recipe, "recipe", "train")


def recipe_files() -> list[Path]:
    """Return the shipped recipes, sorted by name."""
    return list(shipped_files("recipe").values())


def first_difference(old: Mapping[str, Any], recipe: Recipe) -> tuple[str, Any, Any] | None:
    """Return the first key whose new value would change the weights of a run that began with ``old`` (flat), if any.

    A run may be made longer, unless its learning rate depends on its length.
    """
    new = recipe.flat()
    whole = recipe.schedule.cosine and recipe.schedule.restart_after is None
    free = {*FREE_KEYS} if whole else {*FREE_KEYS, "epochs", "max_steps"}
    for key in [*new, *(key for key in old if key not in new)]:
        if key.split(".")[0] not in free and old.get(key) != new.get(key):
            return key, old.get(key), new.get(key)
    return None
