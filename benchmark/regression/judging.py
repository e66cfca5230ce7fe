"""The verdict on one measurement in two records, with its evidence."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from benchmark.leaderboard.runs import between_runs, widened
from benchmark.regression.baseline import Kept
from benchmark.regression.thresholds import Thresholds
from benchmark.regression.timing import FEWEST, ratio_of_intervals, ratio_of_samples, verdict_of
from benchmark.regression.trainings import Between, between
from benchmark.regression.verdicts import Change, FindingKind, Judgement, Verdict
from benchmark.results.paired import paired_difference
from benchmark.timing.exchange import moved_between
from benchmark.types import Measurement, Result
from benchmark.units import counted, shape_text

# Two runs of the same code differ by this much in resident memory.
_MEMORY_FLOOR_BYTES = 8 << 20


def kind_of(measurement: Measurement) -> FindingKind:
    """Return how a measurement is judged; resident memory is a timing in the records, but it has no samples."""
    if measurement.kind == "timing" and measurement.unit == "B":
        return "memory"
    return measurement.kind


def judge(id: str, before: Kept, after: Kept, limits: Thresholds) -> Judgement:
    """Return the verdict on measurement ``id``, which both records have."""
    a, b = before.result.measurements[id], after.result.measurements[id]
    if reason := _other_definition(a, b):
        return Judgement("not comparable", reason)
    kind = kind_of(a)
    if kind == "count":
        return _judge_count(a, b, limits.counts.tolerance)
    if kind == "score":
        return _judge_score(id, before, after, limits.scores.tolerance)
    if reason := _other_place(a, b, before.result, after.result):
        return Judgement("not comparable", reason)
    if a.value is None or b.value is None:
        return _judge_absent(a, b)
    warnings = tuple(
        f"disturbed {when}: {'; '.join(one.tainted)}" for when, one in (("before", a), ("after", b)) if one.tainted
    )
    if kind == "timing" and (moved := _moved(id, before, after)):
        warnings += (moved,)
    if kind == "memory":
        return replace(_judge_memory(a, b, limits.memory.tolerance), warnings=warnings)
    return replace(_judge_time(id, before, after, limits.timings.tolerance), warnings=warnings)


def _other_definition(a: Measurement, b: Measurement) -> str | None:
    """Say why two measurements do not measure the same thing."""
    if a.version != b.version:
        return f"version {a.version} of the definition before, {b.version} after"
    if a.kind != b.kind or a.unit != b.unit:
        return f"{a.kind} in '{a.unit}' before, {b.kind} in '{b.unit}' after"
    if a.input_shape != b.input_shape:
        shapes = [shape_text(one.input_shape) if one.input_shape else "unknown" for one in (a, b)]
        return f"input {shapes[0]} before, {shapes[1]} after"
    if a.definition != b.definition:
        texts = _difference(a.definition, b.definition), _difference(b.definition, a.definition)
        return f"defined before as: {texts[0]}, after as: {texts[1]}"
    return None


def _difference(text: str, other: str) -> str:
    """Return the parts of a definition, split at semicolons, that are not in the other definition."""
    parts = {part.strip() for part in other.split(";")}
    return "; ".join(part.strip() for part in text.split(";") if part.strip() not in parts)[:200] or "less"


def _judge_count(a: Measurement, b: Measurement, tolerance: float) -> Judgement:
    if a.value == b.value:
        return Judgement("same", f"{number(a.value, a.unit)}, exactly")
    evidence = _values(a, b)
    if a.value is None or b.value is None or a.higher_is_better is None:
        return Judgement("not comparable", evidence)
    change = Change(b.value / a.value, "ratio") if a.value else None
    evidence += f" ({change.value - 1:+.2%})" if change else ""
    if change and abs(change.value - 1) <= tolerance:
        return Judgement("same", f"{evidence}, within {tolerance:.2%}", change)
    return Judgement("better" if (b.value > a.value) == a.higher_is_better else "worse", evidence, change)


def _judge_score(id: str, before: Kept, after: Kept, tolerance: float) -> Judgement:
    a, b = before.result.measurements[id], after.result.measurements[id]
    if reason := _other_data(before.result, after.result):
        return Judgement("not comparable", reason)
    if a.value is None or b.value is None or a.higher_is_better is None:
        return Judgement("not comparable", _values(a, b))
    allowed = tolerance * abs(a.value) if math.isfinite(a.value) else 0.0
    difference = 0.0 if a.value == b.value else b.value - a.value
    runs = between(id, before, after)
    images = list(before.scores)
    if images and set(images) == set(after.scores):
        pairs = [(before.scores[image].get(id), after.scores[image].get(id)) for image in images]
        known = [(x, y) for x, y in pairs if x is not None and y is not None]
        if len(known) == len(images):
            scenes = [_scenes_at(side, images) for side in (before, after)]
            return _judge_images(known, scenes, _values(a, b), allowed, a.higher_is_better, runs)
    elif images and after.scores:
        return Judgement("not comparable", f"{len(images)} images before, {len(after.scores)} after, not the same ones")
    change = Change(difference, "difference", **_of_runs(runs)) if math.isfinite(difference) else None
    evidence = f"{_values(a, b)}{runs.text if runs else ''}, means only"
    if chance := _chance(difference, allowed, runs):
        return Judgement("same", f"{evidence}{chance}", change)
    verdict = _direction(difference, allowed, a.higher_is_better)
    return Judgement(verdict, f"{evidence}: differences up to {allowed:.2g} are none", change)


def _of_runs(runs: Between | None) -> dict[str, Any]:
    """Return what a change tells about trainings."""
    return {"runs": runs.runs, "run_std": runs.spread.deviation if runs.spread else None} if runs else {}


def _chance(difference: float, allowed: float, runs: Between | None) -> str:
    """Say that trainings alone differ as much, where no interval over scenes holds that; empty if they do not."""
    half = between_runs(runs.spread, *runs.runs) if runs else 0.0
    return f": within what runs differ by (up to {half:.2g})" if allowed < abs(difference) <= half else ""


def _scenes_at(side: Kept, images: list[str]) -> list[str]:
    """Return the scene of each image; empty if they are unknown."""
    return [side.scenes[image] for image in images] if side.scenes else []


def _judge_images(
    pairs: list[tuple[float, float]],
    scenes: list[list[str]],
    evidence: str,
    allowed: float,
    higher: bool,
    runs: Between | None,
) -> Judgement:
    """Judge the scores (before, after) of each image, and the ``scenes`` of the images before and after.

    The interval over scenes also holds the spread between ``runs``. If few scenes leave no interval, the tolerance
    decides beyond what runs differ by: a gate must not let a change pass in silence.
    """
    # The images are the same, so are their scenes: one side may tell them for a record of an earlier version.
    known = scenes[1] or scenes[0]
    alone = paired_difference([x for x, _ in pairs], [y for _, y in pairs], known or [""] * len(pairs))
    found = widened(alone, runs.spread, *runs.runs) if runs else alone
    number = found.num_scenes if known else None
    change = Change(found.mean, "difference", found.low, found.high, found.n, number, **_of_runs(runs))
    beside = runs.text if runs else ""
    images = counted(found.n, "image")
    if all(x == y for x, y in pairs):
        return Judgement("same", f"{evidence}, each of {images} exactly{beside}", change)
    interval = f" [{found.low:+.4g}, {found.high:+.4g}]" if found.low is not None else ""
    shown = counted(number, "scene") if number else "scenes unknown"
    evidence += f", {found.mean:+.4g}{interval} over {images}, {shown}{beside}"
    if abs(found.mean) <= allowed:
        return Judgement("same", f"{evidence}; up to {allowed:.2g} is rounding", change)
    if all(scenes) and scenes[0] != scenes[1]:
        return Judgement(
            "not comparable", f"{evidence} after, {len(set(scenes[0]))} before: grouped by another rule", change
        )
    if found.low is None and (chance := _chance(found.mean, allowed, runs)):
        return Judgement("same", f"{evidence}{chance}", change)
    if found.low is None:
        why = "too few for an interval" if number else "measure again for an interval"
        evidence += f": {why}, so the tolerance of {allowed:.2g} alone decides"
    elif not found.is_significant:
        why = " beside the spread between runs" if alone.is_significant else ""
        return Judgement("same", f"{evidence}: not significant{why}", change)
    return Judgement(_direction(found.mean, allowed, higher), evidence, change)


def _direction(difference: float, allowed: float, higher_is_better: bool) -> Verdict:
    if not abs(difference) > allowed:
        return "same"
    return "better" if (difference > 0) == higher_is_better else "worse"


def _other_data(a: Result, b: Result) -> str | None:
    """Say why scores of two records come from different images or protocols."""
    if a.part != b.part:
        return f"{a.part or 'all'} images before, {b.part or 'all'} images after"
    if a.spec.dataset_digest != b.spec.dataset_digest:
        return f"other images: digest {a.spec.dataset_digest[:12]} before, {b.spec.dataset_digest[:12]} after"
    if (a.protocol.name, a.protocol.version) != (b.protocol.name, b.protocol.version):
        return f"protocol {a.spec.protocol} before, {b.spec.protocol} after"
    if a.n != b.n:
        return f"{a.n} images before, {b.n} after"
    return None


def _other_place(a: Measurement, b: Measurement, before: Result, after: Result) -> str | None:
    """Say why timings of two records come from different machines or conditions."""
    machines = before.environment.machine, after.environment.machine
    if machines[0] != machines[1]:
        return f"measured on machine {machines[0]} before, {machines[1]} after"
    threads = before.spec.conditions.threads, after.spec.conditions.threads
    if threads[0] != threads[1]:
        return f"{threads[0]} threads before, {threads[1]} after"
    return None


def _judge_absent(a: Measurement, b: Measurement) -> Judgement:
    if a.value is None and b.value is None:
        return Judgement("same", f"not measured, before and after: {b.remark}")
    if b.value is None:
        return Judgement("failed now", f"{number(a.value, a.unit)} before, now {b.remark}")
    return Judgement("fixed now", f"{number(b.value, b.unit)}; before {a.remark}")


def _judge_memory(a: Measurement, b: Measurement, tolerance: float) -> Judgement:
    assert a.value is not None
    assert b.value is not None
    evidence = _values(a, b)
    change = Change(b.value / a.value, "ratio") if a.value else None
    within = max(tolerance * a.value, _MEMORY_FLOOR_BYTES)
    evidence += f" ({change.value - 1:+.1%})" if change else ""
    return Judgement(_direction(b.value - a.value, within, False), f"{evidence}, one pass each", change)


def _judge_time(id: str, before: Kept, after: Kept, tolerance: float) -> Judgement:
    a, b = before.result.measurements[id], after.result.measurements[id]
    if a == b:
        return Judgement("same", f"{number(a.value, a.unit)}, the same measurement")
    change = _time_ratio(id, before, after)
    if change is None:
        few = f"{a.n or 1} and {b.n or 1} samples"
        return Judgement("not comparable", f"{_values(a, b)}, {few}: too few for an interval")
    interval = f"{change.value:.2f}x [{change.low:.2f}, {change.high:.2f}]"
    verdict = verdict_of(change, tolerance, higher_is_better=a.higher_is_better)
    return Judgement(verdict, f"{_values(a, b)}, {interval}", change)


def _moved(id: str, before: Kept, after: Kept) -> str | None:
    """Say that the machine's cores lay elsewhere in one of the two runs, if both have timed their exchange."""
    _, at, size = id.partition("@")
    first, second = (side.samples.get(at + size, {}).get("exchange_ms", ()) for side in (before, after))
    return moved_between(first, second)


def _time_ratio(id: str, before: Kept, after: Kept) -> Change | None:
    """Return the ratio from the samples if both records have them, else from the records' intervals."""
    name, at, size = id.partition("@")
    first, second = (side.samples.get(at + size) for side in (before, after))
    if name == "relative_latency" and first and second:
        sides = [(samples["latency_ms"], samples["calibration_ms"]) for samples in (first, second)]
        return ratio_of_samples(*sides)
    a, b = before.result.measurements[id], after.result.measurements[id]
    intervals = _interval(a), _interval(b)
    if intervals[0] is None or intervals[1] is None:
        return None
    return ratio_of_intervals(intervals[0], intervals[1], min(a.n, b.n) if a.n and b.n else None)


def _interval(one: Measurement) -> tuple[float, float, float] | None:
    """Return value and bounds of a positive measurement with an interval over enough samples."""
    bounds = (one.value, one.ci_low, one.ci_high)
    if (one.n is not None and one.n < FEWEST) or any(bound is None or bound <= 0 for bound in bounds):
        return None
    return bounds  # type: ignore[return-value]


def _values(a: Measurement, b: Measurement) -> str:
    return f"{number(a.value, a.unit)} -> {number(b.value, b.unit)}"


def number(value: float | None, unit: str = "") -> str:
    """Return a number for people: integers in full, others with six digits."""
    if value is None:
        return "nothing"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    return f"{text} {unit}".rstrip()
