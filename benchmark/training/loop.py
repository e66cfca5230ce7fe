"""The training loop. Each step is a pure function of the recipe, the data and the state before it.

So a run that is stopped, by Ctrl-C or ``kill -9``, goes on from its last checkpoint to the same weights, on the
CPU to the last bit: order and windows of the samples, the random numbers of the network's layers and the learning
rate all follow from seed and step, and the checkpoint holds the rest.
"""

from __future__ import annotations

import copy
import json
import random
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmark.host.turns import work_turns
from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.results.jsonl import alone
from benchmark.results.store import make_writable
from benchmark.training.batches import Batch, batches
from benchmark.training.checkpoints import (
    STATE,
    WEIGHTS,
    State,
    check_resumable,
    read_state,
    remove_partials,
    save_checkpoint,
)
from benchmark.training.divergence import DivergedError, Watch
from benchmark.training.logbook import CURVES, LOG, Logbook
from benchmark.training.objective import SIDE_OUTPUTS, Objective, total
from benchmark.training.optimizing import Clipper, all_finite, follow_mean, learning_rate, make_optimizer, settings_at
from benchmark.training.preparing import (
    Data,
    build_model,
    check_step,
    conditions,
    make_fabric,
    make_objective,
    metadata_of,
    open_data,
    total_steps,
)
from benchmark.training.recipe import Recipe, find_recipe, load_recipe
from zoo.card import get_card
from zoo.errors import UserError, in_one_line
from zoo.fitting import judged, load_strictly
from zoo.surroundings import put_back
from zoo.surroundings import read as read_surroundings

_LAYERS = 3  # the stream of random numbers that layers such as dropout draw from; order and windows have 1 and 2


@dataclass
class Run:
    """A training under way: what does not change, and what a step changes."""

    recipe: Recipe
    name: str
    folder: Path
    fabric: Any
    data: Data
    objective: Objective
    metadata: dict[str, str]
    total_steps: int
    module: nn.Module
    clipper: Clipper
    watch: Watch
    reporter: Reporter
    # The module as Fabric runs it, its optimiser, and the mean of its weights where asked for.
    model: nn.Module = field(init=False)
    optimizer: Any = field(init=False)
    optimizer_place: int = field(init=False, default=-1)
    ema: nn.Module | None = field(init=False, default=None)
    log: Logbook | None = field(init=False, default=None)
    held: ExitStack = field(init=False, default_factory=ExitStack)
    # What of this process the network's code must leave as it is.
    surroundings: dict[str, Any] = field(default_factory=read_surroundings)
    step: int = 0
    saved_step: int | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    # Of steps, without validation; the second: those of the run's earlier parts.
    seconds: float = 0.0
    seconds_before: float = 0.0
    wait_seconds: float = 0.0
    trained_steps: int = 0

    @property
    def scored_module(self) -> nn.Module:
        """The network whose weights are kept: the mean over time where there is one."""
        return self.module if self.ema is None else self.ema

    def close(self) -> None:
        """End the log and let go of the folder."""
        if self.log is not None:
            self.log.close()
        self.held.close()


def train(
    recipe: str | Path,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Train by a recipe (a file, or the name of a shipped one) into ``out``, by default runs/NAME.

    Returns what was reached: steps, scores, where the weights are. ``overrides`` replace keys of the recipe.
    Raises UserError for everything that is wrong with recipe, data or folder, DivergedError for a bad loss.
    """
    settings = load_recipe(recipe, overrides)
    name = find_recipe(recipe).stem
    folder = Path(out or Path("runs") / name)
    _refuse_to_replace(folder, find_recipe(recipe))
    with conditions(settings), closing(prepare(settings, name, folder, resume=resume, reporter=reporter)) as run:
        fit(run)
        return outcome(run)


def _refuse_to_replace(folder: Path, *inputs: str | Path | None) -> None:
    refuse_inputs(f"train: -o {folder}", (folder / name for name in (WEIGHTS, STATE, LOG, CURVES)), inputs)


def prepare(recipe: Recipe, name: str, folder: Path, *, resume: bool, reporter: Reporter | None = None) -> Run:
    """Return a run before its first step, or at the step of its checkpoint; it holds its folder until it is closed."""
    _refuse_to_replace(folder, recipe.init, recipe.perceptual)
    reporter, card = reporter or Reporter(), get_card(recipe.model)
    fabric = make_fabric(recipe)
    fabric.launch()
    if not fabric.is_global_zero:
        reporter = Reporter()
    data = open_data(recipe, card, fabric.device, fabric.world_size, reporter)
    objective = make_objective(recipe, data, reporter)
    module = build_model(recipe, card, reporter)
    objective.check(module, data.batch(0))
    with ExitStack() as held:
        _hold(folder, fabric, held)
        state = read_state(folder)
        check_resumable(folder, state, recipe, data.digest, processes=fabric.world_size, resume=resume, part=data.part)
        before = state.scores.get("part", "") if state is not None and state.scores else data.validator.part
        if before != data.validator.part:
            reporter.note(
                f"train: validation had {before or 'all'} images before, it has {data.validator.part or 'all'} now;"
                " its scores before and after cannot be compared."
            )
        check_step(recipe, card, objective, data, fabric.device, reporter)
        if objective.perceptual is not None:
            objective.perceptual = objective.perceptual.to(fabric.device)
        run = Run(
            recipe=recipe,
            name=name,
            folder=folder,
            fabric=fabric,
            data=data,
            objective=objective,
            metadata=metadata_of(recipe, name, card, data, objective),
            total_steps=total_steps(recipe, data.plan),
            module=module,
            clipper=Clipper(module, recipe.clip),
            watch=Watch(recipe.divergence_factor),
            reporter=reporter,
        )
        try:
            _start(run, state, resume=resume)
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            if state is None:
                raise
            # Of the right types, but not what this network and optimiser wrote.
            reason = f"does not fit this run ({in_one_line(error)})"
            raise UserError(f"train: {folder / STATE} {reason}; start in another folder with -o.") from error
        run.held = held.pop_all()
    return run


def _hold(folder: Path, fabric: Any, held: ExitStack) -> None:
    """Hold the folder, by the first process for all: two trainings in it would spoil each other's log and state."""
    refusal = ""
    if fabric.is_global_zero:
        try:
            make_writable(folder, "-o")
            busy = f"train: another training runs in {folder}; wait for it or name another folder with -o."
            held.enter_context(alone(folder / "train", busy))
            remove_partials(folder)
        except UserError as error:
            refusal = str(error)
    if refusal := fabric.broadcast(refusal):
        raise UserError(refusal)


def _start(run: Run, state: State | None, *, resume: bool) -> None:
    """Hand the network to Fabric and take up the state of the checkpoint, if there is one."""
    recipe, module, source = run.recipe, run.module.train(), run.folder / STATE
    if state is not None:
        load_strictly(module, state.model, name=recipe.model, source=source)
        run.step = run.saved_step = state.step
        run.clipper.load(state.clipper)
        run.watch.load(state.watch)
        run.scores, run.losses, run.seconds = dict(state.scores), list(state.losses), state.seconds
        run.seconds_before = state.seconds
    place, settings = settings_at(recipe, run.step // run.data.plan.steps_per_epoch)
    if state is not None and state.optimizer_place != place:
        place, settings = state.optimizer_place, recipe.optimizers[state.optimizer_place]
    optimizer = make_optimizer(settings, module.parameters(), recipe.lr)
    run.model, run.optimizer = run.fabric.setup(module, optimizer)
    run.optimizer_place = place
    for method in {SIDE_OUTPUTS[term.name] for term in run.objective.terms if term.name in SIDE_OUTPUTS}:
        fabric_module: Any = run.model
        fabric_module.mark_forward_method(method)
    if state is not None:
        run.optimizer.load_state_dict(state.optimizer)
    if recipe.ema is not None:
        run.ema = copy.deepcopy(module).eval()
        if state is not None and state.ema is not None:
            load_strictly(run.ema, state.ema, name=recipe.model, source=source)
    if run.fabric.is_global_zero:
        _open_log(run, state, resume=resume)


def _open_log(run: Run, state: State | None, *, resume: bool) -> None:
    run.log = Logbook(run.folder, run.reporter, total_steps=run.total_steps, tensorboard=run.recipe.tensorboard)
    run.log.rewind(run.step if state is not None else -1)
    if state is None:
        started = {"recipe": run.recipe.model_dump(mode="json"), "dropped_terms": run.objective.dropped}
        run.log.write("start", 0, name=run.name, data_digest=run.data.digest, **started)
        run.reporter.note(
            f"{'no checkpoint yet, training from the start' if resume else 'training'}: {run.recipe.model} on"
            f" {run.data.cache.dataset.name}, {run.total_steps} steps of {run.recipe.batch_size} x"
            f" {run.fabric.world_size}, {run.data.plan.steps_per_epoch} an epoch, in {run.folder}"
        )
    else:
        run.reporter.note(f"resuming at step {run.step} of {run.total_steps} in {run.folder}")
        if state.processes is None:
            run.reporter.note(
                f"warning: {STATE} of an older version does not say how many processes wrote it;"
                f" {run.fabric.world_size} is assumed."
            )


def fit(run: Run) -> None:
    """Run the remaining steps: load, loss, backward, clip, step; log, validate and save on the way."""
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
            # Timings of the tool on this machine have it to themselves.
            with turn():
                run.losses.append(train_step(run, batch, epoch=epoch, lr=lr))
            run.step += 1
            run.trained_steps += 1
            if run.step % plan.steps_per_epoch == 0:
                run.clipper.end_epoch()
            run.seconds += time.perf_counter() - begun
            follow(run, epoch=epoch, lr=lr)


def train_step(run: Run, batch: Batch, *, epoch: int, lr: float) -> float:
    """Take one step on a batch; return the loss before it. Raises DivergedError before a bad loss moves a weight."""
    _switch_optimizer(run, epoch, lr)
    for group in run.optimizer.param_groups:
        group["lr"] = lr
    _seed_layers(run)
    batch = Batch(*run.fabric.to_device((batch.planes, batch.target)))
    run.optimizer.zero_grad(set_to_none=True)
    loss = total(run.objective(run.model, batch, epoch=epoch, step=run.step))
    # The mean over the processes: all of them stop, or none.
    value = float(run.fabric.all_reduce(loss.detach(), reduce_op="mean"))
    run.watch.check(value, step=run.step, lr=lr, kept=_kept(run))
    run.fabric.backward(loss)
    run.clipper()
    run.optimizer.step()
    if run.ema is not None and run.recipe.ema is not None:
        follow_mean(run.ema, run.module, decay=run.recipe.ema)
    return value


def _seed_layers(run: Run) -> None:
    """Seed what layers draw from, by seed, step and process: nothing needs to be kept, and no two processes agree."""
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


def _kept(run: Run) -> str:
    if run.saved_step is None:
        return "There was no checkpoint yet."
    return f"The checkpoint of step {run.saved_step} is kept in {run.folder}."


def follow(run: Run, *, epoch: int, lr: float) -> None:
    """After a step: progress and log lines, scores and pictures, the checkpoint."""
    # A network may change the working directory, to which the folder of the run is relative.
    put_back(run.surroundings)
    recipe, last = run.recipe, run.step == run.total_steps
    every = recipe.validation.every or recipe.checkpoint_every
    if run.log is not None:
        rate = run.trained_steps * recipe.batch_size * run.fabric.world_size / max(_own_seconds(run), 1e-9)
        left = (run.total_steps - run.step) * _own_seconds(run) / max(run.trained_steps, 1)
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


def _own_seconds(run: Run) -> float:
    """Return the seconds of the steps that this process took, those before a resumption apart."""
    return run.seconds - run.seconds_before


def validate(run: Run) -> None:
    """Score the network, save sample pictures, log both and draw the curves; the first process only."""
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
    """Write the checkpoint, on the first process; raises DivergedError rather than keep weights that are not finite."""
    module = run.module
    networks = [module] if run.ema is None else [module, run.ema]
    judged_values = (values for network in networks for _, values in judged(network, network.state_dict()))
    if not all_finite(judged_values):
        raise DivergedError(f"train: the weights are not finite after step {run.step}. {_kept(run)} Lower the rate.")
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
        # Scores of other weights than these have no place in the file.
        scores = run.scores if run.scores.get("step") == run.step else {}
        metadata = {**run.metadata, "step": str(run.step), "scores": json.dumps(scores, sort_keys=True)}
        save_checkpoint(run.folder, state, _on_cpu(run.scored_module), metadata)
        run.log.write("checkpoint", run.step)
    run.saved_step = run.step
    run.fabric.barrier()


def _on_cpu(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().cpu() for key, value in module.state_dict().items()}


def outcome(run: Run) -> dict[str, Any]:
    """Return what was reached, as JSON takes it."""
    seconds = _own_seconds(run)
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
        "log": str(run.folder / "log.jsonl"),
    }
