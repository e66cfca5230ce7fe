"""Points as tasks for an engine, and their outcomes as records of the store."""

from __future__ import annotations

import os
from pathlib import Path

from benchmark.conditions import Conditions
from benchmark.host.environment import describe_environment
from benchmark.host.isolation import Outcome
from benchmark.metrics import METRICS
from benchmark.profilers import PROFILERS
from benchmark.selection import jsonable_options
from benchmark.sweeping.budget import Costs
from benchmark.sweeping.child import digests_of
from benchmark.sweeping.messages import Task, Trained
from benchmark.sweeping.points import SCORING, Point, Splits
from benchmark.sweeping.settings import SweepPlan
from benchmark.types import Environment, Result, RunSpec

POINTS = "points"


def task_of(plan: SweepPlan, point: Point, key: str, splits: Splits, out: Path) -> Task:
    """Return a point as a child process takes it; its checkpoints lie in a folder that its key names."""
    # A network may change the working directory while it runs.
    root = {"data_root": os.path.abspath(point.recipe.data_root)} if point.recipe.data_root else {}
    return Task(
        key=key,
        name=f"{plan.name}/{point.name}",
        recipe=point.recipe.model_dump(mode="json") | root,
        folder=str((out / POINTS / f"{point.name}_{key[:8]}").resolve()),
        store=str(out.resolve()),
        test_split=splits.test.split,
        train_images=splits.train_images,
        test_images=splits.test_images,
        data_digests=digests_of(splits.train, splits.test, splits.test_images),
        metrics=list(plan.sweep.evaluation.metrics),
    )


def result_of(plan: SweepPlan, point: Point, task: Task, splits: Splits, costs: Costs, outcome: Outcome) -> Result:
    """Return the record of a point, however it ended; its options say family and seed beside those of the network."""
    done: Trained | None = outcome.value
    train = splits.train
    part = f", {train.provenance['part']} images" if train.provenance.get("part") else ""
    here = describe_environment().model_copy(update={"threads": plan.sweep.threads})
    environment = done.environment if done else here
    return Result.of(
        _spec_of(point, task, splits, done, environment),
        key=task.key,
        options={**jsonable_options(point.options), "family": point.family.name, "seed": point.seed},
        n=done.n if done else 0,
        evidence="trained" if done else "untrained",
        status=outcome.status,
        error=outcome.error,
        seconds=outcome.seconds,
        measurements=costs.measurements | (done.measurements if done else {}),
        per_image=done.per_image if done else None,
        phases=done.phases if done else {},
        notes=[f"sweep {plan.name}, recipe {plan.recipe_name}", f"trained on {train.name} {train.split}{part}"],
        weights={**done.weights, "recipe": plan.recipe_name} if done else None,
        protocol=splits.card.protocol.record(),
        environment=environment,
        data=splits.test.provenance,
    )


def _spec_of(point: Point, task: Task, splits: Splits, done: Trained | None, environment: Environment) -> RunSpec:
    whole = task.test_images == len(splits.test.ids)
    return RunSpec(
        model=point.card.name,
        options=jsonable_options(point.options),
        code=point.card.code_digest,
        weights_digest=done.weights["sha256"] if done else None,
        dataset=splits.test.name,
        dataset_digest=splits.test.digest(None if whole else task.test_images),
        split=splits.test.split,
        limit=None if whole else task.test_images,
        protocol=f"{splits.card.protocol.name}-v{splits.card.protocol.version}",
        metrics={id: METRICS.get(id).version for id in task.metrics},
        profilers=[profiler.name for profiler in PROFILERS if profiler.kind == "count"],
        conditions=Conditions(threads=environment.threads, device=done.device if done else "cpu"),
        seed=point.seed,
        evaluate=True,
        scoring=SCORING,
    )
