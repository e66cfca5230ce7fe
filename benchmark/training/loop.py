"""The training loop. Each step is a pure function of the recipe, the data and the previous state.

So a run that is stopped by Ctrl-C or ``kill -9`` continues from its last checkpoint to the same weights, on the CPU to
the last bit: order and windows of the samples, the random numbers of the network's layers and the learning rate are
determined by seed and step, and the checkpoint holds the rest.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmark.host.turns import work_turns
from benchmark.reporting import Reporter
from benchmark.training.batches import Batch, batches
from benchmark.training.checkpoints import WEIGHTS, State, save_checkpoint
from benchmark.training.divergence import DivergedError
from benchmark.training.fakequant import FakeInt8
from benchmark.training.logbook import CURVES, LOG
from benchmark.training.losses import total
from benchmark.training.optimizing import all_finite, follow_mean, learning_rate, make_optimizer, settings_at
from benchmark.training.preparing import process_settings
from benchmark.training.recipe import find_recipe, load_recipe
from benchmark.training.run import Run, begin_run, refuse_to_replace
from zoo.fitting import judged
from zoo.surroundings import put_back

_LAYERS = 3  # the random stream of layers such as dropout; order and windows have 1 and 2


def train(
    recipe: str | Path,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train by a recipe (a file, or the name of a shipped one) into ``out``, by default runs/NAME.

    Returns the outcome: steps, scores and the path of the weights. ``overrides`` replace keys of the recipe.
    Raises UserError for every problem with recipe, data or folder, and DivergedError for a bad loss.
    """
    settings = load_recipe(recipe, overrides)
    name = find_recipe(recipe).stem
    folder = Path(out or Path("runs") / name)
    refuse_to_replace(folder, find_recipe(recipe))
    with (
        process_settings(settings),
        closing(begin_run(settings, name, folder, resume=resume, reporter=reporter)) as run,
    ):
        fit(run)
        return outcome(run)


def fit(run: Run) -> None:
    """Run the remaining steps (load, loss, backward, clip, step), and log, validate and save between them."""
    plan, span = run.data.plan, {"start": run.step, "stop": run.total_steps}
    process, workers = run.fabric.global_rank, run.recipe.workers
    made = batches(run.data.cache, plan, run.data.cut, process=process, workers=workers, **span)
    with closing(made) as source, work_turns() as turn:
        while run.step < run.total_steps:
            begun = time.perf_counter()
            batch = next(source)
            run.wait_seconds += time.perf_counter() - begun

            epoch = run.step // plan.steps_per_epoch
            lr = learning_rate(run.recipe, run.step, epoch=epoch, total_steps=run.total_steps)
            # Training waits while the tool measures timings on this machine.
            with turn():
                run.losses.append(train_step(run, batch, epoch=epoch, lr=lr))
            run.step += 1
            run.trained_steps += 1
            if run.step % plan.steps_per_epoch == 0:
                run.clipper.end_epoch()
            run.seconds += time.perf_counter() - begun
            follow(run, epoch=epoch, lr=lr)


def train_step(run: Run, batch: Batch, *, epoch: int, lr: float) -> float:
    """Take one step on a batch; return the loss before it. Raises DivergedError before a bad loss changes a weight."""
    _switch_optimizer(run, epoch, lr)
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    _seed_layers(run)
    batch = Batch(*run.fabric.to_device((batch.planes, batch.target)))
    run.optimizer.zero_grad(set_to_none=True)
    with FakeInt8() if run.recipe.precision == "int8-qat" else nullcontext():
        terms = run.objective(run.model, batch, epoch=epoch, step=run.step)
    loss = total(terms)
    # The loss is the mean over the processes, so that either all of them stop or none.
    value = float(run.fabric.all_reduce(loss.detach(), reduce_op="mean"))
    bad = [name for name, term in terms.items() if not math.isfinite(value) and not torch.isfinite(term)]
    run.watch.check(value, step=run.step, lr=lr, kept=run.kept, bad=bad)
    run.fabric.backward(loss)
    run.clipper()
    run.optimizer.step()
    if run.ema is not None and run.recipe.ema is not None:
        follow_mean(run.ema, run.module, decay=run.recipe.ema)
    return value


def _seed_layers(run: Run) -> None:
    """Seed the layers' random numbers by seed, step and process: no state is saved, and all processes differ."""
    process = [run.fabric.global_rank] if run.fabric.global_rank else []
    number = int(np.random.SeedSequence([run.recipe.seed, _LAYERS, run.step, *process]).generate_state(1)[0])
    torch.manual_seed(number)
    random.seed(number)
    np.random.seed(number)


def _switch_optimizer(run: Run, epoch: int, lr: float) -> None:
    place, settings = settings_at(run.recipe, epoch)
    if place != run.optimizer_place:
        run.optimizer = run.fabric.setup_optimizers(make_optimizer(settings, run.module.parameters(), lr))
        run.optimizer_place = place
        run.reporter.note(f"step {run.step}/{run.total_steps}  epoch {epoch}: from here on {settings.name}")


def follow(run: Run, *, epoch: int, lr: float) -> None:
    """Do the work after a step: progress and log lines, scores and pictures, the checkpoint."""
    # The folder of the run is relative to the working directory, which a network may change.
    put_back(run.surroundings)
    recipe, last = run.recipe, run.step == run.total_steps
    every = recipe.validation.every or recipe.checkpoint_every
    if run.log is not None:
        rate = run.trained_steps * recipe.batch_size * run.fabric.world_size / max(run.own_seconds, 1e-9)
        left = (run.total_steps - run.step) * run.own_seconds / max(run.trained_steps, 1)
        run.log.progress(run.step, loss=run.losses[-1], epoch=epoch, lr=lr, rate=rate, seconds_left=left)
        if run.step % recipe.log_every == 0 or last:
            mean = sum(run.losses) / len(run.losses)
            run.log.write("train", run.step, epoch=epoch, loss=mean, lr=lr, images_per_s=rate, seconds=run.seconds)
    if run.step % recipe.log_every == 0 or last:
        run.losses = []
    if run.step % every == 0 or last:
        validate(run)
    if run.step % recipe.checkpoint_every == 0 or last:
        save(run)


def validate(run: Run) -> None:
    """Score the network, save sample pictures, log both and draw the curves, only in the first process."""
    if run.log is not None:
        title = f"{run.recipe.model}, {run.name}, step {run.step}"
        sheet = run.folder / "samples" / f"step_{run.step:07d}.png"
        scores = run.data.validator(run.scored_module, title=title, sheet=sheet)
        run.scores = run.data.validator.record(scores, run.step)
        run.log.write("validation", run.step, **{k: v for k, v in run.scores.items() if k != "step"})
        run.log.scored(run.step, scores)
        run.log.draw_curves()
    run.fabric.barrier()


def save(run: Run) -> None:
    """Write the checkpoint in the first process; raises DivergedError, and saves nothing, if weights are not finite."""
    module = run.module
    networks = [module] if run.ema is None else [module, run.ema]
    judged_values = (values for network in networks for _, values in judged(network, network.state_dict()))
    if not all_finite(judged_values):
        raise DivergedError(f"train: the weights are not finite after step {run.step}. {run.kept} Lower the rate.")
    if run.log is not None:
        state = State(
            step=run.step,
            samples=run.step * run.recipe.batch_size * run.fabric.world_size,
            processes=run.fabric.world_size,
            recipe=run.recipe.flat(),
            data_digest=run.data.digest,
            model=_on_cpu(module),
            optimizer=run.optimizer.state_dict(),
            optimizer_place=run.optimizer_place,
            ema=None if run.ema is None else _on_cpu(run.ema),
            clipper=run.clipper.state(),
            watch=run.watch.state(),
            scores=run.scores,
            seconds=run.seconds,
            losses=run.losses,
        )
        # The file must not contain scores of other weights.
        scores = run.scores if run.scores.get("step") == run.step else {}
        metadata = {**run.metadata, "step": str(run.step), "scores": json.dumps(scores, sort_keys=True)}
        save_checkpoint(run.folder, state, _on_cpu(run.scored_module), metadata)
        run.log.write("checkpoint", run.step)
    run.saved_step = run.step
    run.fabric.barrier()


def _on_cpu(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu() for key, value in module.state_dict().items()}


def outcome(run: Run) -> dict[str, Any]:
    """Return the outcome of the run, JSON-ready."""
    seconds = run.own_seconds
    images = run.trained_steps * run.recipe.batch_size * run.fabric.world_size
    return {
        "recipe": run.name,
        "model": run.recipe.model,
        "dataset": run.data.cache.dataset.name,
        "seed": run.recipe.seed,
        "process": run.fabric.global_rank,
        "steps": run.step,
        "steps_of_this_call": run.trained_steps,
        "epochs": run.step / run.data.plan.steps_per_epoch,
        "scores": run.scores,
        "dropped_terms": run.objective.dropped,
        "seconds": seconds,
        "images_per_s": images / seconds if seconds else None,
        "wait_share": run.wait_seconds / seconds if seconds else None,
        "weights": str(run.folder / WEIGHTS),
        "curves": str(run.folder / CURVES),
        "log": str(run.folder / LOG),
    }
