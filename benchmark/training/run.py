"""A training before its first step or at the step of its checkpoint: its parts and how it begins."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.results.jsonl import alone
from benchmark.results.store import make_writable
from benchmark.training.checkpoints import STATE, WEIGHTS, State, check_resumable, read_state, remove_partials
from benchmark.training.divergence import Watch
from benchmark.training.logbook import CURVES, LOG, Logbook
from benchmark.training.losses import SIDE_OUTPUTS, Objective
from benchmark.training.optimizing import Clipper, make_optimizer, settings_at
from benchmark.training.preparing import (
    Data,
    build_model,
    check_step,
    make_fabric,
    make_objective,
    metadata_of,
    open_data,
    total_steps,
)
from benchmark.training.recipe import Recipe
from zoo.card import FORM, get_card
from zoo.errors import UserError, in_one_line
from zoo.fitting import load_strictly
from zoo.forms import training_options
from zoo.surroundings import read as read_surroundings


@dataclass
class Run:
    """A training in progress: its fixed parts, and the state that a step changes."""

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
    # The module as Fabric runs it, its optimiser, and the mean of its weights if the recipe has one.
    model: nn.Module = field(init=False)
    optimizer: Any = field(init=False)
    optimizer_place: int = field(init=False, default=-1)
    ema: nn.Module | None = field(init=False, default=None)
    log: Logbook | None = field(init=False, default=None)
    held: ExitStack = field(init=False, default_factory=ExitStack)
    # State of this process that the network's code must not change.
    surroundings: dict[str, Any] = field(default_factory=read_surroundings)
    step: int = 0
    saved_step: int | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    # Seconds of steps, without validation; ``seconds_before``: those before the run was resumed.
    seconds: float = 0.0
    seconds_before: float = 0.0
    wait_seconds: float = 0.0
    trained_steps: int = 0

    @property
    def scored_module(self) -> nn.Module:
        """The network whose weights are saved: the running mean if there is one."""
        return self.module if self.ema is None else self.ema

    @property
    def own_seconds(self) -> float:
        """Seconds of the steps that this process ran, without those before the run was resumed."""
        return self.seconds - self.seconds_before

    @property
    def kept(self) -> str:
        """A sentence that says which files remain if the run ends here."""
        if self.saved_step is None:
            return "There was no checkpoint yet."
        return f"The checkpoint of step {self.saved_step} is kept in {self.folder}."

    def close(self) -> None:
        """Close the log and release the folder."""
        if self.log is not None:
            self.log.close()
        self.held.close()


def refuse_to_replace(folder: Path, *inputs: str | Path | None) -> None:
    """Raise UserError if a run would overwrite one of its ``inputs``."""
    refuse_inputs(f"train: -o {folder}", (folder / name for name in (WEIGHTS, STATE, LOG, CURVES)), inputs)


def begin_run(recipe: Recipe, name: str, folder: Path, *, resume: bool, reporter: Reporter | None = None) -> Run:
    """Return a run before its first step or at its checkpoint; it holds its folder's lock until it is closed."""
    refuse_to_replace(folder, recipe.init, recipe.perceptual)
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
            # The values have the right types, but another network or optimiser wrote them.
            reason = f"does not fit this run ({in_one_line(error)})"
            raise UserError(f"train: {folder / STATE} {reason}; start in another folder with -o.") from error
        run.held = held.pop_all()
    return run


def _hold(folder: Path, fabric: Any, held: ExitStack) -> None:
    """Lock the folder in the first process, because two trainings in it would damage each other's log and state."""
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
    """Pass the network to Fabric and restore the state of the checkpoint, if there is one."""
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
        form = training_options(get_card(run.recipe.model), run.recipe.options).get(FORM, "")
        started = {"recipe": run.recipe.model_dump(mode="json"), "dropped_terms": run.objective.dropped}
        started |= {"form": form} if form else {}
        run.log.write("start", 0, name=run.name, data_digest=run.data.digest, **started)
        run.reporter.note(
            f"{'no checkpoint yet, training from the start' if resume else 'training'}: {run.recipe.model}"
            f"{f' in form={form}' if form else ''} on {run.data.cache.dataset.name}, {run.total_steps} steps of"
            f" {run.recipe.batch_size} x {run.fabric.world_size}, {run.data.plan.steps_per_epoch} an epoch,"
            f" in {run.folder}"
        )
    else:
        run.reporter.note(f"resuming at step {run.step} of {run.total_steps} in {run.folder}")
        if state.processes is None:
            run.reporter.note(
                f"warning: {STATE} of an older version does not say how many processes wrote it;"
                f" {run.fabric.world_size} is assumed."
            )
