"""The points of a sweep: every member of every family with every seed. Each is a training run with its own key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmark.config import settings_of
from benchmark.metrics import METRICS
from benchmark.opening import card_at
from benchmark.reporting import Reporter
from benchmark.selection import jsonable_options
from benchmark.sweeping.settings import Family, SweepPlan
from benchmark.training.preparing import check_noise, open_two
from benchmark.training.recipe import FREE_KEYS, Recipe
from benchmark.training.subset import Subset
from benchmark.types import Dataset, DatasetCard
from zoo.card import ModelCard, get_card
from zoo.errors import UserError
from zoo.options import resolve_options

# Scores follow the metrics' definitions, not the fast pass; this is part of the key because it changes numbers.
SCORING = "float64"
# A member of a sweep: family and value.
Member = tuple[str, str]


@dataclass(frozen=True)
class Point:
    """One network of a family, trained with one seed. ``options``: all options that the network is built with.

    ``rate``: the learning rate that a search tries with it; None: a point of the sweep itself.
    """

    family: Family
    value: Any
    seed: int
    card: ModelCard
    options: dict[str, Any]
    recipe: Recipe
    rate: float | None = None

    @property
    def member(self) -> Member:
        """Family and value, which are the same for all seeds."""
        return self.family.name, str(self.value)

    @property
    def name(self) -> str:
        """The point's name, which can be the name of a folder."""
        value = "".join(sign if sign.isalnum() or sign in ".-" else "-" for sign in str(self.value))
        name = f"{self.family.name}{f'_{value}' if self.family.option else ''}_seed{self.seed}"
        return name if self.rate is None else f"search_{name}_lr{self.rate:g}"


@dataclass(frozen=True)
class Splits:
    """The training and test images of a sweep, and on how many of each the errors are measured."""

    card: DatasetCard
    train: Dataset
    test: Dataset
    train_images: int
    test_images: int


def expand(plan: SweepPlan, rates: Mapping[Member, tuple[float, str]] | None = None) -> list[Point]:
    """Return the points in the order of the file: family by family, value by value, seed by seed.

    ``rates``: the learning rate of each member and the rule that chose it; members without one are left out. Raises
    UserError for unknown models and options and for a recipe that is wrong.
    """
    points = []
    for family in plan.sweep.families:
        card = get_card(family.model)
        for value in family.values or [None]:
            varied = {family.option: value} if family.option else {}
            options = resolve_options(card.name, card.options, {**family.options, **varied})
            for seed in family.seeds or plan.sweep.seeds:
                point = Point(family, value, seed, card, options, _recipe_of(plan, card, options, seed))
                if rates is None:
                    points.append(point)
                elif point.member in rates:
                    rate, rule = rates[point.member]
                    points.append(replace(point, recipe=point.recipe.model_copy(update={"lr": rate, "lr_rule": rule})))
    return points


def _recipe_of(plan: SweepPlan, card: ModelCard, options: Mapping[str, Any], seed: int) -> Recipe:
    if plan.sweep.search is not None and "lr" in plan.recipe_overrides:
        raise UserError("--set recipe.lr: the sweep's search decides it; leave it out, or set search.lr.")
    # With a search, the rate is a placeholder until it has been chosen.
    placeholder = {"lr": plan.sweep.search.lr[0]} if plan.sweep.search is not None else {}
    own = {
        **placeholder,
        "model": card.name,
        "options": jsonable_options(options),
        "seed": seed,
        "threads": plan.sweep.threads,
    }
    flag = f"{plan.name}.yaml: overrides"
    base = settings_of({**plan.recipe, **own}, Recipe, plan.recipe_source, plan.sweep.overrides, flag=flag)
    if not plan.recipe_overrides:
        return base
    taken = sorted(own.keys() & {key.split(".")[0] for key in plan.recipe_overrides})
    if taken:
        raise UserError(f"--set recipe.{taken[0]}: families, seeds or threads of the sweep decide it; leave it out.")
    return settings_of(base.model_dump(), Recipe, plan.recipe_source, plan.recipe_overrides, flag="--set: recipe key")


def open_splits(plan: SweepPlan, points: list[Point], reporter: Reporter) -> Splits:
    """Open the training and test images of the points; raises UserError for wrong data, metrics and tasks."""
    recipe, evaluation = points[0].recipe, plan.sweep.evaluation
    card = card_at(recipe.dataset, recipe.data_root, **recipe.data_options())
    if card.adds_noise:
        raise UserError(f"sweep: {card.name} has no images to test on; train one network with `zoo-bench train`.")
    for point in points:
        if point.card.task != card.task:
            raise UserError(
                f"sweep: family {point.family.name}: {point.card.name} is a {point.card.task} model,"
                f" {card.name} needs {card.task}."
            )
        check_noise(point.recipe, point.card, card)
    for id in evaluation.metrics:
        METRICS.get(id).check()
    train, test = open_two(recipe, card, evaluation.test_split, reporter)
    if plan.sweep.search is not None:
        METRICS.get(plan.sweep.search.metric)
        chosen_on = recipe.validation.split or card.default_split
        if chosen_on == test.split:
            raise UserError(
                f"sweep: search: the validation split is {chosen_on}, the test split; expected other images to choose"
                " on. Set validation.split of the recipe."
            )
    if evaluation.test_window:
        test = Subset(test, window=evaluation.test_window)
    counts = (
        min(limit or len(data.ids), len(data.ids))
        for limit, data in ((evaluation.train_images, train), (evaluation.test_images, test))
    )
    return Splits(card, train, test, *counts)


def point_key(plan: SweepPlan, point: Point, splits: Splits) -> str:
    """Return a digest of all that determines a point's numbers; engine, workers and machine are not part of it."""
    decides = decisive(plan, point, splits) | {
        "train": [splits.train.name, splits.train.split, splits.train.digest(), splits.train_images],
        "test": [splits.test.name, splits.test.split, splits.test.digest(splits.test_images), splits.test_images],
        "protocol": [splits.card.protocol.name, splits.card.protocol.version],
        "scoring": SCORING,
        "metrics": {id: METRICS.get(id).version for id in plan.sweep.evaluation.metrics},
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:20]


def weights_key(plan: SweepPlan, point: Point, splits: Splits) -> str:
    """Return a digest of all that determines a point's weights."""
    return hashlib.sha256(json.dumps(decisive(plan, point, splits), sort_keys=True).encode()).hexdigest()[:20]


def decisive(plan: SweepPlan, point: Point, splits: Splits) -> dict[str, Any]:
    """Return all that determines the weights of a point: recipe, threads, code of the network and training images."""
    # The white level was added later; if it is given, the protocol's name contains it. So were the others.
    flat = point.recipe.flat()
    later = {"limit", "window", "wrong_targets", "lr_rule", "cfa", "black", "raw_size", "schedule.restart_after"}
    later |= {"sigma", "gray"}
    free = {*FREE_KEYS, "white", *(key for key in later if flat.get(key) is None)}
    return {
        "recipe": {key: value for key, value in flat.items() if not free & {key, key.split(".")[0]}},
        "threads": plan.sweep.threads,
        "code": point.card.code_digest,
        "train": [splits.train.name, splits.train.split, splits.train.digest()],
    }
