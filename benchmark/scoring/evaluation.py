"""Evaluate a model on a dataset image by image: load, adapt the input, run, compare, save the scores."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.conditions import ESTIMATE, Sigma, sigma_of
from benchmark.datasets import DATASETS
from benchmark.host.turns import Turn, work_turns
from benchmark.imaging.alignment import Shift, find_shift
from benchmark.imaging.noise import told_sigma
from benchmark.metrics import METRICS, chosen_ids
from benchmark.opening import card_at, divided_sigma, open_dataset
from benchmark.protocols import prepare_pair
from benchmark.reporting import Reporter
from benchmark.results.journal import Journal, Scores
from benchmark.scoring.fastmetrics import FAST_IDS, score_fast
from benchmark.scoring.intervals import over_scenes
from benchmark.scoring.pipeline import Finished, run_pipeline
from benchmark.selection import select
from benchmark.types import Dataset, EvaluationProtocol, Measurement, Sample, scenes_of
from zoo.card import ModelCard, Task, get_card
from zoo.convention import InputSpec
from zoo.creating import card_of_module, made_as
from zoo.errors import UserError, in_one_line
from zoo.raw import apply_model, to_network
from zoo.surroundings import kept

# Tolerance for rounding at the ends of a metric's range.
RANGE_SLACK = 1e-4


@dataclass
class Phases:
    """Seconds by kind of work, so that the overhead of the tool itself is known."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the time spent inside to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


def network_input(sample: Sample, spec: InputSpec) -> Tensor:
    """Return the planes (1, C, H, W) that the network receives for ``sample``, before padding."""
    return to_network(sample.input, spec, black=sample.black, white=sample.white, red=sample.red, sigma=sample.sigma)


def with_sigma(sample: Sample, spec: InputSpec, sigma: Sigma | None) -> Sample:
    """Return a sample with the level of noise that the network is told: the data's own, else ``sigma``."""
    if not spec.noise_level or sample.sigma is not None:
        return sample
    return replace(sample, sigma=told_sigma(sample.input, sigma))


def as_picture(image: Tensor) -> NDArray[np.float64]:
    """Return an image (1, C, H, W) as an array (H, W, C) of float64."""
    return image[0].permute(1, 2, 0).double().numpy()


def run_sample(model: nn.Module, sample: Sample, spec: InputSpec) -> Tensor:
    """Return the model's output (1, C, H, W) in [0, 1], not clipped.

    Raises ValueError if the shape is not the target's or a value is NaN or infinite, and RuntimeError for a plain
    UserError that the model raises, because a failing model must not end a run.
    """
    with torch.inference_mode():
        planes = network_input(sample, spec)
        try:
            output = apply_model(model, planes, spec, red=sample.red)
        except UserError as error:
            if type(error) is not UserError:
                raise
            raise RuntimeError(f"the model raised {in_one_line(error)}") from error
    if output.shape != sample.target.shape:
        raise ValueError(f"image {sample.id}: output is {tuple(output.shape)}, target {tuple(sample.target.shape)}")
    if not torch.isfinite(output).all():
        raise ValueError(f"image {sample.id}: the model returned NaN or infinite values")
    return output


def score_pair(
    output: Tensor, target: Tensor, protocol: EvaluationProtocol, metrics: Sequence[str], scoring: str = "one-pass"
) -> Scores:
    """Return the scores of one output (1, C, H, W) by metric id, under the rules of ``protocol``.

    ``scoring``: "one-pass" shares one float32 pass between metrics, "float64" uses the metrics' definitions.
    """
    if not metrics:
        return {}
    if scoring == "float64":
        prepared, reference = prepare_pair(as_picture(output), as_picture(target), protocol)
        return {id: float(METRICS.get(id).function(prepared, reference)) for id in metrics}
    first, second = (image[0].permute(1, 2, 0).numpy() for image in (output, target))
    return score_fast(*prepare_pair(first, second, protocol), metrics)


def evaluate_images(
    model: nn.Module,
    spec: InputSpec,
    dataset: Dataset,
    count: int,
    *,
    protocol: EvaluationProtocol,
    metrics: Sequence[str],
    scoring: str = "one-pass",
    sigma: Sigma | None = None,
    skip_bad: bool = False,
    leave_out: Mapping[str, str] | None = None,
    workers: int | None = None,
    journal: Journal | None = None,
    phases: Phases | None = None,
    advance: Callable[[], None] = lambda: None,
    note: Callable[[str], None] = lambda message: None,
    keep: Callable[[Sample, Tensor], None] = lambda sample, output: None,
) -> tuple[dict[str, Scores], dict[str, str]]:
    """Score the first ``count`` images; return the scores by image id, and the problems of images left out.

    Images are loaded before and scored after the network in ``workers`` threads (0: none); the results do not depend on
    their number. Images in ``journal`` are not run again, except those whose line is damaged, edited or out of a
    metric's range; ``note`` reports these. Without metrics the model still runs on every image, and shapes and values
    are checked. ``keep`` receives each sample with its output, in order. ``sigma`` is what a network that is told the
    level of the noise is told where the data do not know it; the journal keeps the estimates. A damaged file is a
    UserError; with ``skip_bad`` its image is left out. Images in ``leave_out``, which gives the reasons, are also left
    out. The network waits while this tool measures timings.
    """
    phases = phases or Phases()
    ids = list(dataset.ids[:count])
    left_out = leave_out or {}
    skipped = {id: left_out[id] for id in ids if id in left_out}
    scenes = scenes_of(dataset)
    done = _known(journal, metrics, scenes, note) if journal else {}
    pending = [index for index, id in enumerate(ids) if id not in done and id not in skipped]
    for _ in range(count - len(pending)):
        advance()
    with work_turns() as turn:
        steps = _Steps(model.eval(), spec, dataset, pending, protocol, metrics, scoring, sigma, skip_bad, turn)

        def deliver(image: Done) -> None:
            for phase in ("load", "forward", "score"):
                phases.seconds[phase] += getattr(image, f"{phase}_seconds")
            if isinstance(image.loaded, UserError):
                skipped[image.id] = str(image.loaded)
            elif image.score is not None and image.output is not None:
                with phases.timing("store"):
                    done[image.id], shift = image.score
                    if journal:
                        scene = scenes.get(image.id) or image.loaded.scene
                        estimate = image.loaded.sigma if sigma == ESTIMATE else None
                        journal.append(image.id, done[image.id], shift, scene=scene, sigma=estimate)
                with phases.timing("pictures"):
                    keep(image.loaded, image.output)
            advance()

        run_pipeline(
            [ids[index] for index in pending],
            load=steps.load,
            forward=steps.forward,
            score=steps.score,
            deliver=deliver,
            workers=workers,
        )
    return {id: done[id] for id in ids if id in done and id not in skipped}, skipped


def _known(
    journal: Journal, metrics: Sequence[str], scenes: Mapping[str, str], note: Callable[[str], None]
) -> dict[str, Scores]:
    """Return the valid scores of an earlier run; lines of the journal that are not trusted are removed.

    The others get the ``scenes`` of this run.
    """
    if wrong := journal.mend():
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        note(f"{wrong[0]}{more}; those images are measured again.")
    stored, grouped = journal.read(), journal.scenes()
    if any(scenes.get(id) != grouped.get(id) for id in scenes.keys() & stored):
        journal.copy_to(journal, scenes)
    known = {}
    for id, scores in stored.items():
        odd = next((metric for metric in scores if metric in metrics and not _in_range(metric, scores[metric])), None)
        if odd is not None:
            note(f"{journal.path}: image {id}: {odd} is {scores[odd]:g}, out of its range; it is measured again.")
        elif set(scores) == set(metrics):
            known[id] = scores
    return known


def _in_range(id: str, value: float) -> bool:
    card = METRICS.get(id)
    return card.least - RANGE_SLACK <= value <= card.most + RANGE_SLACK


Done = Finished["Sample | UserError", "Tensor | None", "tuple[Scores, Shift | None] | None"]


@dataclass(frozen=True)
class _Steps:
    """The steps for each image: ``load`` and ``score`` run in threads, ``forward`` in the caller's thread."""

    model: nn.Module
    spec: InputSpec
    dataset: Dataset
    pending: Sequence[int]
    protocol: EvaluationProtocol
    metrics: Sequence[str]
    scoring: str
    sigma: Sigma | None
    skip_bad: bool
    turn: Turn

    def load(self, position: int) -> Sample | UserError:
        """Return a sample, or the error about its files if bad images are left out."""
        try:
            return with_sigma(self.dataset[self.pending[position]], self.spec, self.sigma)
        except UserError as error:
            if not self.skip_bad:
                raise
            return error

    def forward(self, sample: Sample | UserError) -> Tensor | None:
        """Run the network when no timing is measured on this machine."""
        if isinstance(sample, UserError):
            return None
        with self.turn(), kept():
            return run_sample(self.model, sample, self.spec)

    def score(self, sample: Sample | UserError, output: Tensor | None) -> tuple[Scores, Shift | None] | None:
        """Return the scores, and the shift of aligned scores."""
        if output is None or isinstance(sample, UserError):
            return None
        scores = score_pair(output, sample.target, self.protocol, self.metrics, self.scoring)
        if not any("aligned" in id for id in self.metrics):
            return scores, None
        return scores, find_shift(*prepare_pair(as_picture(output), as_picture(sample.target), self.protocol))


def mean_scores(
    per_image: Mapping[str, Scores],
    metrics: Sequence[str],
    protocol: EvaluationProtocol,
    scoring: str = "one-pass",
    scenes: Mapping[str, str] | None = None,
) -> dict[str, Measurement]:
    """Return the mean over images of each metric; infinite values make the mean infinite and are counted.

    If ``scenes`` gives the scene of each image, the mean has an interval over them.
    """
    measurements = {}
    for id in metrics:
        card = METRICS.get(id)
        values = [scores[id] for scores in per_image.values()]
        finite = [value for value in values if math.isfinite(value)]
        infinite = len(values) - len(finite)
        one_pass = "; one float32 pass for all metrics, within 1e-5 of the definition"
        accuracy = one_pass if scoring == "one-pass" and id in FAST_IDS else ""
        measurements[id] = Measurement(
            value=math.fsum(values) / len(values),
            unit=card.unit,
            definition=f"{card.definition}; {protocol.text}{accuracy}",
            kind="score",
            higher_is_better=card.higher_is_better,
            version=card.version,
            n=len(values),
            n_inf=infinite or None,
            finite_mean=math.fsum(finite) / len(finite) if infinite and finite else None,
            **over_scenes(id, values, list(per_image), scenes or {}),
        )
    return measurements


def evaluate(
    model: str | nn.Module,
    dataset: str | None = None,
    *,
    task: Task | None = None,
    data_root: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    input: InputSpec | None = None,
    pairs: str | None = None,
    cfa: str | None = None,
    black: float | None = None,
    white: float | None = None,
    raw_size: str | None = None,
    scene: str | None = None,
    sigma: Sigma | None = None,
    noise_seed: int | None = None,
    clip: bool = False,
    gray: str | None = None,
    metrics: Sequence[str] | None = None,
    exact: bool = False,
    partial: bool = False,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Return the scores of a model on a dataset image by image: [{"id", "scores", "scene"}].

    ``model`` is a registered name, with ``weights`` unless it has no parameters, or your own module, used unchanged
    with the ``input`` convention (default: that of its ``task``; a module that ``create_model`` built knows its own).
    Without ``dataset`` the task says which one. ``exact`` scores by the metrics' float64 definitions, ``partial``
    accepts an incomplete dataset; ``pairs`` to ``gray`` are those of ``run``, ``sigma`` that of its conditions. Nothing
    is stored. Raises UserError for bad input, for a model of another task than the dataset's, and for an untrained
    model by name, whose scores would mean nothing.
    """
    own = get_card(model) if isinstance(model, str) else _card_of(model, task, input, dataset)
    if not isinstance(model, str) and (weights is not None or options):
        raise UserError("evaluate: weights and options are for a model by name; use load_weights(module, file).")
    base = DATASETS.get(dataset or _dataset_of(own.task))
    added, told = divided_sigma(base.name, sigma_of(sigma))
    described = {"rule": pairs, "cfa": cfa, "black": black, "white": white, "raw_size": raw_size, "scene": scene}
    described |= {"sigma": added, "noise_seed": noise_seed, "clip": clip or None, "gray": gray}
    # The task of a user's own pictures is that of the model, if it is not a property of the pictures.
    is_open = "task" in base.options and "raw2rgb" not in (base.task, own.task)
    described |= {"task": own.task if is_open and base.task != own.task else None}
    card = card_at(base.name, data_root, **described)
    if not isinstance(model, str) and card.task != own.task:
        raise UserError(f"evaluate: {card.name} needs {card.task}, and this module is for {own.task}; name another.")
    data = open_dataset(card, data_root, split, reporter, partial=partial)
    if isinstance(model, str):
        given = {f"{model}.{key}": value for key, value in (options or {}).items()}
        files = {model: str(weights)} if weights else {}
        (entry,) = select(card, models=[model], weights=files, options=given, sigma=told)
        if not entry.scored:
            raise UserError(f"{model} is untrained: its scores would mean nothing. Pass weights.")
        network, spec = entry.build(), entry.card.input_for(entry.options)
    else:
        network, spec = model, own.input
    count = min(limit or len(data.ids), len(data.ids))
    ids = chosen_ids(metrics, card.protocol.metrics, gray=card.is_gray)
    how: dict[str, Any] = {"scoring": "float64" if exact else "one-pass", "sigma": told}
    modes = {part: part.training for part in network.modules()}
    try:
        scores, _ = evaluate_images(network, spec, data, count, protocol=card.protocol, metrics=ids, **how)
    finally:
        for part, training in modes.items():
            part.training = training
    scenes = scenes_of(data)
    return [{"id": id, "scores": values, "scene": scenes.get(id)} for id, values in scores.items()]


def _card_of(module: nn.Module, task: Task | None, input: InputSpec | None, dataset: str | None) -> ModelCard:
    if task is None and dataset is not None and made_as(module) is None:
        task = cast(Task, DATASETS.get(dataset).task)
    return card_of_module(module, task=task, input=input, asked_by="evaluate")


def _dataset_of(task: str) -> str:
    """Return the dataset with an embedded stand-in whose models have a task; those of this package come first."""
    found = [card for card in DATASETS if card.task == task and card.standin is not None]
    if not found:
        raise UserError(f"evaluate: there is no embedded dataset for {task} models; name a dataset.")
    return min(found, key=lambda card: not card.open.__module__.startswith("benchmark.datasets.")).name
