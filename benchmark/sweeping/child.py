"""The work of a sweep's child process: train one point and measure its errors, or time a few training steps."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmark.host import machine
from benchmark.host.calls import Emit, child_call
from benchmark.host.environment import describe_environment
from benchmark.metrics import ON_TRAIN, SWEEP_ERRORS
from benchmark.opening import open_dataset
from benchmark.reporting import Relay
from benchmark.results.journal import Scores
from benchmark.results.jsonl import read_lines
from benchmark.results.store import Store
from benchmark.scoring.evaluation import Phases, evaluate_images, mean_scores
from benchmark.scoring.intervals import over_scenes
from benchmark.selection import entry_of
from benchmark.sweeping.messages import Probes, StepsFailed, StepsTimed, Task, Trained
from benchmark.sweeping.points import SCORING
from benchmark.sweeping.settings import METRIC_OF_ERROR
from benchmark.training.checkpoints import WEIGHTS
from benchmark.training.logbook import LOG
from benchmark.training.loop import fit, train_step
from benchmark.training.optimizing import learning_rate
from benchmark.training.preparing import process_settings
from benchmark.training.recipe import Recipe, recipe_digest
from benchmark.training.run import Run, begin_run
from benchmark.training.subset import Subset
from benchmark.types import Dataset, DatasetCard, Measurement
from zoo.errors import UserError, words_of

# The first step loads code and allocates.
_WARMUP_STEPS, _TIMED_STEPS = 1, 3
# Long steps vary little: one is enough.
_ENOUGH_SECONDS = 5.0


@child_call()
def train_point(request: Task, emit: Emit) -> Trained:
    """Train a point from its last checkpoint, if there is one, then measure its errors."""
    recipe = Recipe.model_validate(request.recipe)
    with process_settings(recipe):
        run = begin_run(recipe, request.name, Path(request.folder), resume=True, reporter=Relay(emit))
        with closing(run):
            if request.is_probe:
                fit(run)
                return _trained(run, phases={"train": round(run.seconds, 4)})
            test = _test_data(request, run)
            fit(run)
            return _measure(request, run, test)


def digests_of(train: Dataset, test: Dataset, test_images: int) -> list[str]:
    """Return digests of the images that a point is trained on and of those that it is tested on."""
    return [train.digest(), test.digest(test_images)]


def _test_data(work: Task, run: Run) -> Dataset:
    """Open the test split; raises UserError if its images have changed since the sweep began."""
    train = run.data.cache.dataset
    test = open_dataset(run.data.card, run.recipe.data_root, work.test_split, partial=run.recipe.partial)
    if work.test_window:
        test = Subset(test, window=work.test_window)
    if digests_of(train, test, work.test_images) != work.data_digests:
        raise UserError(
            f"{train.name}: the images are not those with which this sweep began. Wait until nothing is added or"
            " removed there and run it again."
        )
    return test


def _measure(work: Task, run: Run, test: Dataset) -> Trained:
    # Trained in training form, it is measured in deploy form, unless the sweep names a form.
    entry = entry_of(run.recipe.model, Path(work.folder) / WEIGHTS, run.recipe.options)
    assert entry.checkpoint is not None
    model, spec, phases = entry.build(), entry.card.input_for(entry.options), Phases()
    phases.seconds["train"] = run.seconds
    measurements: dict[str, Measurement] = {}
    for data, count, suffix in (
        (test, work.test_images, ""),
        (run.data.cache.dataset, work.train_images, ON_TRAIN),
    ):
        if not count:
            continue
        # The name contains the weights' digest, so that scores of other weights are never used for these.
        journal = Store(work.store).journal(f"{work.key}{suffix}-{entry.checkpoint.digest[:8]}")
        # No threads besides the network's: a point uses only those that the sweep gives it.
        settings: dict[str, Any] = {"protocol": run.data.card.protocol, "metrics": work.metrics, "workers": 0}
        settings |= {"scoring": SCORING, "journal": journal, "phases": phases, "note": run.reporter.note}
        scores, _ = evaluate_images(model, spec, data, count, **settings)
        scenes = journal.scenes()
        found = mean_scores(scores, work.metrics, run.data.card.protocol, SCORING, scenes)
        found |= errors(scores, found, run.data.card, scenes)
        part = data.provenance.get("part")
        where = f"the first {count} {f'of {part} ' if part else ''}images of {data.name} {data.split}"
        for id, one in found.items():
            # How many of the test images there are stands in the record and in the titles of tables.
            text = f"{one.definition}; {where}" if suffix else one.definition
            measurements[id + suffix] = one.model_copy(update={"definition": text})
    measurements |= _costs_of_training(run)
    return _trained(
        run,
        measurements=measurements,
        n=work.test_images,
        num_scenes=next((measurements[id].num_scenes for id in work.metrics if id in measurements), None),
        per_image=f"scores/{work.key}-{entry.checkpoint.digest[:8]}.jsonl",
        phases={name: round(seconds, 4) for name, seconds in sorted(phases.seconds.items())},
        weights=entry.weights_record() or {},
    )


def _trained(run: Run, **found: Any) -> Trained:
    curves = read_lines(run.folder / LOG)
    training = {
        "steps": run.step,
        "batch_size": run.recipe.batch_size,
        "lr": run.recipe.lr,
        "lr_rule": run.recipe.lr_rule,
        "recipe_digest": recipe_digest(run.recipe),
        "scores": run.scores.get("scores", {}),
        "loss": [[line["step"], line["loss"]] for line in curves if line["kind"] == "train"],
        "validation": [[line["step"], line["scores"]] for line in curves if line["kind"] == "validation"],
    }
    empty: dict[str, Any] = {"measurements": {}, "n": 0, "per_image": "", "weights": {}}
    here = {"device": run.fabric.device.type, "environment": describe_environment()}
    return Trained(**{**empty, **found}, training=training, **here)


def errors(
    scores: dict[str, Scores], means: dict[str, Measurement], card: DatasetCard, scenes: Mapping[str, str]
) -> dict[str, Measurement]:
    """Return the errors that follow from the scores, lower is better: ``mse[rgb]``, ``one_minus_msssim[perchannel]``.

    The mean squared error of an image follows from its PSNR: 10 ** (-PSNR / 10).
    """
    found: dict[str, Measurement] = {}
    psnr, msssim = METRIC_OF_ERROR["mse"], METRIC_OF_ERROR["msssim"]
    mse_id, msssim_id = SWEEP_ERRORS["mse"], SWEEP_ERRORS["msssim"]
    common: dict[str, Any] = {"unit": "", "kind": "score", "higher_is_better": False, "n": len(scores)}
    if psnr in means:
        values = [10.0 ** (-image[psnr] / 10.0) for image in scores.values()]
        text = f"mean squared error over pixels and channels of one image, peak 1; {card.protocol.text}"
        beside = over_scenes(mse_id, values, list(scores), scenes)
        found[mse_id] = Measurement(value=statistics.fmean(values), definition=text, **common, **beside)
    if msssim in means:
        value = means[msssim].value
        assert value is not None
        text = f"1 - {msssim}: {means[msssim].definition}"
        beside = over_scenes(msssim_id, [1.0 - image[msssim] for image in scores.values()], list(scores), scenes)
        found[msssim_id] = Measurement(value=1.0 - value, definition=text, **common, **beside)
    return found


def _costs_of_training(run: Run) -> dict[str, Measurement]:
    threads = run.recipe.threads
    text = f"seconds of {run.step} training steps of batch {run.recipe.batch_size}, validation and checkpoints apart"
    seconds = Measurement(value=run.seconds, unit="s", definition=text, kind="timing", threads=threads)
    peak = machine.peak_resident_bytes()
    text = "largest resident memory of the process that trained and evaluated (its last one, if it was resumed)"
    memory = Measurement(value=peak, unit="B", definition=text, kind="timing", threads=threads)
    return {"train_seconds": seconds} | ({"peak_rss_bytes": memory} if peak is not None else {})


@child_call(StepsTimed, StepsFailed)
def time_steps(request: Probes, emit: Emit) -> None:
    """Take a few training steps by each recipe and score one image; emits the result of each recipe."""
    for name, values in request.recipes.items():
        recipe = Recipe.model_validate(values)
        try:
            with (
                process_settings(recipe),
                tempfile.TemporaryDirectory() as folder,
                closing(begin_run(recipe, "timing", Path(folder), resume=False)) as run,
            ):
                emit(_time_steps(name, run))
        except Exception as error:
            # If a point fails here, it fails again when its turn comes, and that becomes its record.
            emit(StepsFailed(name=name, error=words_of(error), type=type(error).__name__))


def _time_steps(name: str, run: Run) -> StepsTimed:
    recipe, seconds = run.recipe, list[float]()
    for step in range(_WARMUP_STEPS + _TIMED_STEPS):
        begin = time.perf_counter()
        rate = learning_rate(recipe, step, epoch=0, total_steps=run.total_steps)
        train_step(run, run.data.batch(step), epoch=0, lr=rate)
        run.step += 1
        seconds.append(time.perf_counter() - begin)
        if step >= _WARMUP_STEPS and sum(seconds[_WARMUP_STEPS:]) > _ENOUGH_SECONDS:
            break
    run.module.eval().cpu()
    validation, settings = run.data.validator, recipe.validation
    protocol = run.data.card.protocol
    begin = time.perf_counter()
    metrics = list(protocol.metrics)
    evaluate_images(run.module, validation.spec, validation.dataset, 1, protocol=protocol, metrics=metrics)
    image = time.perf_counter() - begin
    rounds = -(-run.total_steps // (settings.every or recipe.checkpoint_every))
    return StepsTimed(
        name=name,
        step_seconds=statistics.median(seconds[_WARMUP_STEPS:]),
        timed_seconds=sum(seconds),
        image_seconds=image,
        steps=run.total_steps,
        validation_images=rounds * validation.count,
        peak_bytes=machine.peak_resident_bytes(),
    )
