"""A model over a dataset, image by image: adapt the input, run, compare, write down."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.metrics import METRICS
from benchmark.opening import configured, open_dataset
from benchmark.protocols import prepare_output
from benchmark.reporting import Reporter
from benchmark.selection import select
from benchmark.store import Journal, Scores
from benchmark.types import Dataset, DatasetCard, EvaluationProtocol, Measurement, Sample
from zoo.card import InputSpec, default_input
from zoo.errors import UserError
from zoo.raw import apply_model, pad_planes, to_network


@dataclass
class Phases:
    """Seconds by kind of work, so that the harness's own share is known."""

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
    return to_network(sample.input, spec, black=sample.black, white=sample.white, red=sample.red)


def as_picture(image: Tensor) -> NDArray[np.float64]:
    """Return an image (1, 3, H, W) as an array (H, W, 3) of float64."""
    return image[0].permute(1, 2, 0).double().numpy()


def run_sample(model: nn.Module, sample: Sample, spec: InputSpec) -> Tensor:
    """Return the model's output (1, 3, H, W) in [0, 1], not clipped.

    Raises ValueError if the shape is not the target's or a value is NaN or infinite.
    """
    with torch.inference_mode():
        output = apply_model(model, network_input(sample, spec), spec, red=sample.red)
    if output.shape != sample.target.shape:
        raise ValueError(f"image {sample.id}: output is {tuple(output.shape)}, target {tuple(sample.target.shape)}")
    if not torch.isfinite(output).all():
        raise ValueError(f"image {sample.id}: the model returned NaN or infinite values")
    return output


def score_pair(
    output: NDArray[np.float64], target: NDArray[np.float64], protocol: EvaluationProtocol, metrics: Sequence[str]
) -> Scores:
    """Return the scores of one output (H, W, 3) by metric id, compared as ``protocol`` says."""
    prepared = prepare_output(output, protocol)
    return {id: float(METRICS.get(id).function(prepared, target)) for id in metrics}


def evaluate_images(
    model: nn.Module,
    spec: InputSpec,
    dataset: Dataset,
    count: int,
    *,
    protocol: EvaluationProtocol,
    metrics: Sequence[str],
    journal: Journal | None = None,
    phases: Phases | None = None,
    advance: Callable[[], None] = lambda: None,
    keep: Callable[[Sample, Tensor], None] = lambda sample, output: None,
) -> dict[str, Scores]:
    """Score the first ``count`` images one by one; returns the scores by image id.

    Images that ``journal`` holds are not run again. Without metrics the model still runs on every image, and
    shapes and values are checked. ``keep`` sees each sample with its output.
    """
    phases = phases or Phases()
    done = journal.read() if journal else {}
    done = {id: scores for id, scores in done.items() if set(scores) == set(metrics)}
    results: dict[str, Scores] = {}
    model.eval()
    for index in range(count):
        id = dataset.ids[index]
        if id in done:
            results[id] = done[id]
            advance()
            continue
        with phases.timing("load"):
            sample = dataset[index]
        with phases.timing("forward"):
            output = run_sample(model, sample, spec)
        with phases.timing("metrics"):
            scores = score_pair(as_picture(output), as_picture(sample.target), protocol, metrics)
        with phases.timing("store"):
            results[id] = scores
            if journal:
                journal.append(id, scores)
        with phases.timing("pictures"):
            keep(sample, output)
        advance()
    return results


def mean_scores(
    per_image: Mapping[str, Scores], metrics: Sequence[str], protocol: EvaluationProtocol
) -> dict[str, Measurement]:
    """Return the mean over images of each metric; infinite values make the mean infinite and are counted."""
    measurements = {}
    for id in metrics:
        card = METRICS.get(id)
        values = [scores[id] for scores in per_image.values()]
        finite = [value for value in values if math.isfinite(value)]
        infinite = len(values) - len(finite)
        measurements[id] = Measurement(
            value=math.fsum(values) / len(values),
            unit=card.unit,
            definition=f"{card.definition}; {protocol.text}",
            kind="score",
            higher_is_better=card.higher_is_better,
            version=card.version,
            n=len(values),
            n_inf=infinite or None,
            finite_mean=math.fsum(finite) / len(finite) if infinite and finite else None,
        )
    return measurements


def one_forward(model: nn.Module, sample: Sample, spec: InputSpec) -> Callable[[], None]:
    """Return a callable that runs the network once on ``sample``'s padded planes, for timing."""
    planes = pad_planes(network_input(sample, spec), spec)

    def forward() -> None:
        with torch.inference_mode():
            model(planes)

    return forward


def evaluate(
    model: str | nn.Module,
    dataset: str,
    *,
    data_root: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    weights: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    input: InputSpec | None = None,
    pairs: str | None = None,
    metrics: Sequence[str] | None = None,
    reporter: Reporter | None = None,
) -> list[dict[str, Any]]:
    """Return the scores of a model on a dataset image by image: [{"id", "scores"}].

    ``model`` is a registered name, with ``weights`` unless it has no parameters, or a module of your own, taken
    as it is with the ``input`` convention (default: that of the dataset's task). Nothing is stored. Raises
    UserError for bad input and for an untrained model, whose scores would mean nothing.
    """
    card = configured(dataset, rule=pairs)
    data = open_dataset(card, data_root, split, reporter)
    if isinstance(model, str):
        network, spec = _trained(card, model, weights, options or {})
    else:
        network, spec = model, input or default_input(card.task)
    count = min(limit or len(data.ids), len(data.ids))
    ids = list(metrics or card.protocol.metrics)
    scores = evaluate_images(network, spec, data, count, protocol=card.protocol, metrics=ids)
    return [{"id": id, "scores": values} for id, values in scores.items()]


def _trained(
    card: DatasetCard, model: str, weights: str | Path | None, options: Mapping[str, Any]
) -> tuple[nn.Module, InputSpec]:
    (entry,) = select(
        card,
        models=[model],
        weights={model: str(weights)} if weights else {},
        options={f"{model}.{key}": value for key, value in options.items()},
    )
    if not entry.scored:
        raise UserError(f"{model} is untrained: its scores would mean nothing. Pass weights.")
    return entry.build(), entry.card.input_for(entry.options)
