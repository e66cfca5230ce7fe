"""Predict the costs of every member of a sweep before it starts, and its time from a few steps of two of them.

The smallest and the largest member of each family are timed. The seconds per step of the others lie on the line between
these two over the number of parameters; wider networks and wider hyper-networks both follow it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmark.costs.profiling import CostError, count_costs, meta_model, trace_card
from benchmark.sweeping.child import time_steps
from benchmark.sweeping.messages import Probes, StepsFailed, StepsTimed
from benchmark.sweeping.points import Point, Splits
from benchmark.training.fitting import footprint
from benchmark.training.losses import Objective
from benchmark.types import Measurement
from benchmark.units import GIB, clock, shape_text
from zoo.errors import UserError
from zoo.forms import training_options

# For each parameter a checkpoint holds the weight twice and two moments, all in float32.
_CHECKPOINT_BYTES_PER_PARAM = 16


@dataclass(frozen=True)
class Costs:
    """The costs of a member, counted without running it: measurements by id, and the bytes of one training step.

    ``trained_params``: the parameters of the form that is trained.
    """

    measurements: dict[str, Measurement]
    step_bytes: int | None
    trained_params: int = 0
    error: str | None = None

    def value(self, id: str) -> int | None:
        """Return a count; None if the member could not be traced."""
        value = self.measurements[id].value if id in self.measurements else None
        return None if value is None else int(value)

    @property
    def incomplete(self) -> dict[str, str]:
        """The operations missing in the FLOPs, under the key "incomplete"; empty if nothing is missing."""
        remark = self.measurements["flops"].remark if "flops" in self.measurements else None
        return {"incomplete": remark} if remark else {}


@dataclass(frozen=True)
class Estimate:
    """The work that is left for a point: predicted ``seconds`` and peak ``memory_bytes``; None if not predicted."""

    point: Point
    costs: Costs
    seconds: float | None
    memory_bytes: int | None


def count_members(points: Sequence[Point], splits: Splits) -> dict[tuple[str, str], Costs]:
    """Return the costs of each member for one image of the dataset, by family and value."""
    return {member: _count(point, splits) for member, point in {point.member: point for point in points}.items()}


def _count(point: Point, splits: Splits) -> Costs:
    try:
        model = meta_model(point.card, point.options)
        size = point.card.input_for(point.options).plane_size(splits.card.plane_size)
        traced = trace_card(point.card, point.options, size, model)
        costs = count_costs(model, traced)
    except (CostError, UserError) as error:
        # The point fails when its turn comes and becomes a record; the others go on.
        return Costs({}, None, error=str(error))
    shape = list(traced.input_shape)
    sized = {
        id: cost if id in ("params", "weight_bytes") else cost.model_copy(update={"input_shape": shape})
        for id, cost in costs.items()
    }
    trained = meta_model(point.card, training_options(point.card, point.options))
    return Costs(sized, _step_bytes(point, splits), sum(params.numel() for params in trained.parameters()))


def _step_bytes(point: Point, splits: Splits) -> int | None:
    recipe, spec = point.recipe, point.card.input_for(point.options)
    if any(term.name == "vgg" for term in recipe.loss):
        return None
    height, width = spec.plane_size((recipe.crop, recipe.crop) if recipe.crop else splits.card.plane_size)
    planes = torch.empty(1, spec.channels, height, width, device="meta")
    scale = round(spec.output_scale)
    target = torch.empty(1, spec.out_channels, height * scale, width * scale, device="meta")
    options = training_options(point.card, point.options)
    try:
        need = footprint(lambda: point.card.create(options), Objective(recipe, spec, None), planes, target, epoch=0)
    except Exception:
        # A network may need real tensors; then the memory is not predicted, and the table shows this.
        return None
    return need.bytes(recipe.batch_size)


def estimate(
    points: Sequence[Point], costs: Mapping[tuple[str, str], Costs], splits: Splits, *, threads: int
) -> list[Estimate]:
    """Return the predictions for ``points`` in their order, from steps timed in one child process.

    Raises UserError, with the message of the first failure, if the recipe cannot train a network of any family.
    """
    probes = _probes(points, costs)
    if not probes:
        return []
    recipes = {name: point.recipe.model_dump(mode="json") for name, point in probes.items()}
    outcome = time_steps.isolated(Probes(recipes=recipes), threads=threads)
    broken = [event for event in outcome.events if isinstance(event, StepsFailed)]
    if len(broken) == len(probes) and all(failed.type == "UserError" for failed in broken):
        raise UserError(broken[0].error)
    found = {event.name: event for event in outcome.events if isinstance(event, StepsTimed)}
    # The child's time minus the timed steps is the time that a child needs before its first step.
    start = max(0.0, outcome.seconds - sum(one.timed_seconds for one in found.values()))
    return [
        Estimate(point, costs[point.member], *_predict(point, probes, found, costs, splits, start)) for point in points
    ]


def _probes(points: Sequence[Point], costs: Mapping[tuple[str, str], Costs]) -> dict[str, Point]:
    """Return the smallest and the largest point of each family, by name."""
    chosen: dict[str, Point] = {}
    for family in dict.fromkeys(point.family.name for point in points):
        known = [p for p in points if p.family.name == family and costs[p.member].value("params") is not None]
        known.sort(key=lambda point: costs[point.member].value("params") or 0)
        chosen |= {point.name: point for point in (known[:1] + known[-1:])}
    return chosen


def _predict(
    point: Point,
    probes: Mapping[str, Point],
    found: Mapping[str, StepsTimed],
    costs: Mapping[tuple[str, str], Costs],
    splits: Splits,
    start: float,
) -> tuple[float | None, int | None]:
    """Return seconds and bytes of a point."""
    timed = [
        (costs[probe.member].value("params") or 0, found[name])
        for name, probe in probes.items()
        if probe.family.name == point.family.name and name in found
    ]
    params = costs[point.member].value("params")
    if not timed or params is None:
        return None, None
    about = timed[0][1]
    step = _on_line([(x, one.step_seconds) for x, one in timed], params)
    image = _on_line([(x, one.image_seconds) for x, one in timed], params)
    if point.rate is not None and point.recipe.max_steps is not None:
        return start + point.recipe.max_steps * step, _memory(costs[point.member].step_bytes, probes, found, costs)
    images = about.validation_images + splits.test_images + splits.train_images
    memory = _memory(costs[point.member].step_bytes, probes, found, costs)
    return start + about.steps * step + images * image, memory


def _memory(
    step_bytes: int | None,
    probes: Mapping[str, Point],
    found: Mapping[str, StepsTimed],
    costs: Mapping[tuple[str, str], Costs],
) -> int | None:
    """Return the peak of a point: that of the first probe, with the probe's counted step bytes replaced by its own."""
    # We take the first, because later probes run while memory of earlier ones is still in use.
    name = next(iter(found))
    peak, counted = found[name].peak_bytes, costs[probes[name].member].step_bytes
    return None if peak is None or counted is None or step_bytes is None else peak - counted + step_bytes


def _on_line(pairs: Sequence[tuple[int, float]], x: float) -> float:
    """Return y at ``x`` on the line through the first and the last (x, y)."""
    (x0, y0), (x1, y1) = pairs[0], pairs[-1]
    return y0 if x1 == x0 else y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def wall_seconds(estimates: Sequence[Estimate], workers: int) -> float | None:
    """Return how long the points take with ``workers``, the longest first, each by the first free worker."""
    free = [0.0] * max(1, workers)
    for seconds in sorted((one.seconds or 0.0 for one in estimates), reverse=True):
        free.sort()
        free[0] += seconds
    known = any(one.seconds is not None for one in estimates)
    return max(free) if known else None


def budget_document(estimates: Sequence[Estimate], *, total: int, workers: int, shape: Sequence[int]) -> dict[str, Any]:
    """Return the budget as JSON-ready values; costs are for an input of ``shape``."""
    rows = [
        {
            "point": one.point.name,
            "family": one.point.family.name,
            "option": one.point.family.option,
            "value": one.point.value,
            "seed": one.point.seed,
            **{id: one.costs.value(id) for id in ("params", "macs", "flops")},
            "seconds": one.seconds,
            "memory_bytes": one.memory_bytes,
            "error": one.costs.error,
            **one.costs.incomplete,
        }
        for one in estimates
    ]
    return {
        "points": total,
        "points_left": len(rows),
        "workers": workers,
        "input_shape": list(shape),
        "seconds": wall_seconds(estimates, workers),
        "core_seconds": sum(one.seconds or 0.0 for one in estimates),
        "memory_bytes": sum(sorted((one.memory_bytes or 0 for one in estimates), reverse=True)[:workers]),
        "disk_bytes": sum(_CHECKPOINT_BYTES_PER_PARAM * one.costs.trained_params for one in estimates),
        "estimates": rows,
    }


def budget_lines(document: Mapping[str, Any]) -> list[str]:
    """Return the budget as lines for people."""
    width = max([28, *(len(row["point"]) for row in document["estimates"])])
    lines = [
        f"{document['points_left']} of {document['points']} points are left to train; costs of one image of"
        f" {shape_text(document['input_shape'])}; time and memory predicted",
        f"{'point':{width}} {'params':>12} {'FLOPs [G]':>10} {'time':>9} {'memory':>9}",
    ]
    for row in document["estimates"]:
        flops = "?" if row["flops"] is None else f"{row['flops'] / 1e9:.3f}"
        params = "?" if row["params"] is None else f"{row['params']:,}"
        memory = "?" if row["memory_bytes"] is None else f"{row['memory_bytes'] / GIB:.2f} GiB"
        lines.append(f"{row['point']:{width}} {params:>12} {flops:>10} {_clock(row['seconds']):>9} {memory:>9}")
        lines += [f"  {row[key]}" for key in ("error", "incomplete") if row.get(key)]
    lines.append(
        f"about {_clock(document['seconds'])} with {document['workers']} worker(s), {_clock(document['core_seconds'])}"
        f" for all points in turn; {document['memory_bytes'] / GIB:.2f} GiB at once;"
        f" {document['disk_bytes'] / GIB:.2f} GiB of checkpoints"
    )
    return lines


def _clock(seconds: float | None) -> str:
    return "?" if seconds is None else clock(seconds)
