"""A sweep: families of networks, seeds and a recipe, as strict data from a YAML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from benchmark.config import Strict, find_settings, read_settings, read_yaml
from benchmark.training.recipe import find_recipe
from benchmark.units import MAX_SEED, MAX_THREADS

# ``--set recipe.KEY=VALUE`` sets a key of the recipe, whether the recipe has its own file or not.
RECIPE_PREFIX = "recipe."
# The metric that each plotted error comes from.
METRIC_OF_ERROR = {"msssim": "msssim[perchannel]", "mse": "psnr[rgb]"}


class Family(Strict):
    """Networks that differ in one option; without ``option`` and ``values``, one network."""

    name: str = Field(..., pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # The name in tables and figures.
    model: str  # The network.
    option: str | None = None  # The option in which the members differ.
    values: list[Any] = []  # Its values, one for each member.
    options: dict[str, Any] = {}  # Options that are the same for all members.
    # These replace the sweep's, for a network that is too expensive for all of them.
    seeds: list[int] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _members_differ(self) -> Family:
        if (self.option is None) != (not self.values):
            raise ValueError(f"{self.name}: option and values belong together; give both, or neither for one network")
        if len({str(value) for value in self.values}) < len(self.values):
            raise ValueError(f"values of {self.name}: a value occurs twice")
        if self.option in self.options:
            raise ValueError(f"options of {self.name}: {self.option} is the option that varies; leave it out")
        return self


class Search(Strict):
    """The choice of the learning rate for each member, by one rule (``benchmark.sweeping.searching``)."""

    lr: list[float] = Field(..., min_length=2)  # The rates that are tried.
    max_steps: int = Field(..., ge=1)  # The number of steps of each trial.
    metric: str = "psnr[rgb]"  # The score on images of the recipe's validation split that decides.
    limit: int | None = Field(default=None, ge=1)  # The number of these images; null: all.

    @field_validator("lr")
    @classmethod
    def _rates_differ(cls, rates: list[float]) -> list[float]:
        if len(set(rates)) < len(rates) or min(rates) <= 0:
            raise ValueError("expected different rates above 0")
        return sorted(rates)


class Evaluation(Strict):
    """The images on which errors are measured: the first ones of a split."""

    train_images: int | None = Field(default=None, ge=1)  # The number of training images; null: all.
    test_images: int | None = Field(default=None, ge=1)  # The number of test images; null: all.
    test_split: str | None = None  # The split that they are from; null: the dataset's default.
    # Of the test images only a square of this side in the middle, in pixels, as the recipe's ``window`` takes of the
    # training images; null: whole images.
    test_window: int | None = Field(default=None, ge=2, multiple_of=2)
    metrics: list[str] = ["psnr[rgb]", "msssim[perchannel]"]  # The scores.


class Plot(Strict):
    """The contents of the figures."""

    title: str | None = None  # Their title; null: the name of the sweep.
    # The page of the leaderboards that shows the sweep; null: none.
    page: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    error: Literal["msssim", "mse"] = "msssim"  # 1 - MS-SSIM, or the mean squared error.
    # A network whose training error is below this interpolates its training data.
    vanished: float = Field(default=0.01, gt=0)


class Sweep(Strict):
    """The keys of a sweep file; see configs/sweeps for examples."""

    recipe: str | dict[str, Any]  # A file, the name of a shipped recipe, or the keys themselves.
    overrides: dict[str, Any] = {}  # These replace keys of the recipe; a.b is a key inside a.
    # The networks, which replace the recipe's model and options.
    families: list[Family] = Field(..., min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)  # Each member is trained with each of them.
    # The threads of a point. They change the last bits of its numbers, so the file sets them, not the machine.
    threads: int = Field(default=1, ge=1, le=MAX_THREADS)
    gpus: float = Field(default=0.0, ge=0)  # The number of GPUs that Ray reserves for a point; with 0 it sees none.
    search: Search | None = None  # Each member gets the learning rate that it finds; null: the recipe's.
    evaluation: Evaluation = Evaluation()  # The images on which errors are measured.
    plot: Plot = Plot()  # The contents of the figures.

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0 or max(seeds) > MAX_SEED:
            raise ValueError(f"expected different seeds, 0 to {MAX_SEED}")
        return seeds

    @model_validator(mode="after")
    def _consistent(self) -> Sweep:
        names = [family.name for family in self.families]
        if len(set(names)) < len(names):
            raise ValueError("families: two have the same name")
        if self.search is not None and "lr" in self.overrides:
            raise ValueError("overrides: lr: the search decides it")
        taken = {"model", "options", "seed", "threads"} & {key.split(".")[0] for key in self.overrides}
        if taken:
            raise ValueError(f"overrides: {sorted(taken)[0]}: families, seeds or threads of the sweep decide it")
        needed = METRIC_OF_ERROR[self.plot.error]
        if needed not in self.evaluation.metrics:
            raise ValueError(f"plot.error {self.plot.error} needs {needed} among evaluation.metrics")
        for family in self.families:
            if family.seeds and not {*family.seeds} <= {*self.seeds}:
                raise ValueError(f"families: {family.name}: seeds must be among the sweep's, {self.seeds}")
            if self.search and family.seeds and self.seeds[0] not in family.seeds:
                raise ValueError(
                    f"families: {family.name}: seeds must include {self.seeds[0]}, with which the search runs"
                )
        return self


@dataclass(frozen=True)
class SweepPlan:
    """A sweep as it was read: its settings, and the recipe's keys with their source."""

    name: str
    sweep: Sweep
    recipe: Mapping[str, Any]
    recipe_name: str
    recipe_source: str
    # The keys of the recipe that were given on the command line.
    recipe_overrides: Mapping[str, Any]


def load_sweep(sweep: str | Path, overrides: Mapping[str, Any] | None = None) -> SweepPlan:
    """Return a sweep, by file or shipped name, with ``overrides`` by dotted key (``recipe.KEY`` for its recipe).

    Raises UserError with the file and the key for everything that is unknown or wrong.
    """
    path = find_settings(sweep, "sweep", "sweep")
    given = overrides or {}
    of_recipe = {k.removeprefix(RECIPE_PREFIX): v for k, v in given.items() if k.startswith(RECIPE_PREFIX)}
    settings = read_settings(path, Sweep, {k: v for k, v in given.items() if not k.startswith(RECIPE_PREFIX)})
    if isinstance(settings.recipe, str):
        beside = path.parent / settings.recipe
        file = find_recipe(beside if os.path.lexists(beside) else settings.recipe)
        return SweepPlan(path.stem, settings, read_yaml(file), file.stem, str(file), of_recipe)
    return SweepPlan(path.stem, settings, settings.recipe, path.stem, f"{path}: recipe", of_recipe)
