"""Experiment grids: every member of every family with every seed trained and tested, one record each, and figures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.conditions import Conditions
from benchmark.host import machine
from benchmark.host.environment import describe_environment
from benchmark.host.executors import Executor, LocalExecutor, RayExecutor, check_engine
from benchmark.host.isolation import Outcome
from benchmark.leaderboard.sweeps import DATA_FILES, ERROR_LABELS, summary_of, write_data
from benchmark.metrics import METRICS, ON_TRAIN, SWEEP_ERRORS
from benchmark.profilers import PROFILERS
from benchmark.record import Record
from benchmark.replacing import refuse_inputs
from benchmark.reporting import Note, Reporter
from benchmark.results.jsonl import alone
from benchmark.results.store import Store
from benchmark.selection import jsonable_options
from benchmark.sweeping.budget import (
    Costs,
    Estimate,
    budget_document,
    budget_lines,
    count_members,
    estimate,
    wall_seconds,
)
from benchmark.sweeping.child import digests_of, train_point
from benchmark.sweeping.messages import Task, Trained
from benchmark.sweeping.points import (
    SCORING,
    Member,
    Point,
    Splits,
    expand,
    open_splits,
    point_key,
    weights_key,
)
from benchmark.sweeping.searching import (
    Found,
    Probe,
    choose,
    keep_score,
    known_scores,
    missing_rates,
    probes_of,
    rule_text,
    search_record,
    tried_rates,
)
from benchmark.sweeping.settings import SweepPlan, load_sweep
from benchmark.types import Environment, Result, RunSpec
from benchmark.units import GIB, clock
from zoo.errors import UserError, nearest
from zoo.forms import form_note

POINTS = "points"


@dataclass
class _Session:
    """A running sweep: its points with their keys and costs, and the place of its records.

    With a search, ``points`` are those of members whose learning rate is known; ``members`` has a point of each member.
    ``only``: the families to train now (None: all). ``searching``: the keys of the probes that are running.
    """

    plan: SweepPlan
    points: list[Point]
    keys: list[str]
    splits: Splits
    costs: dict[Member, Costs]
    reporter: Reporter
    members: list[Point]
    only: frozenset[str] | None = None
    probes: list[Probe] = field(default_factory=list)
    searching: set[str] = field(default_factory=set)
    scores: dict[str, float | None] = field(default_factory=dict)
    done: dict[str, Result] = field(default_factory=dict)

    def resume(self, folder: Path, known: Mapping[str, Result]) -> None:
        """Take over what earlier runs left in ``folder``: the scores of searches, and the ``known`` good records."""
        self.scores |= known_scores(folder, self.probes)
        self.use_scores()
        self.take(known)

    def take(self, known: Mapping[str, Result]) -> None:
        """Take over the good records of earlier runs."""
        self.done = {key: known[key] for key in self.keys if key in known and known[key].status == "ok"}

    def wanted(self, point: Point) -> bool:
        """Whether a point's family is to be trained now."""
        return self.only is None or point.family.name in self.only

    @property
    def left(self) -> list[Point]:
        """The points without a good record, in the sweep's order."""
        return [point for point, key in zip(self.points, self.keys) if key not in self.done and self.wanted(point)]

    @property
    def probes_left(self) -> list[Probe]:
        """The short trainings that the choice of learning rates needs next, none for a member that waits for some."""
        missing = self._missing
        return [
            one for one in self.probes if self.wanted(one.point) and one.point.rate in (missing[one.point.member] or [])
        ]

    @property
    def _missing(self) -> dict[Member, list[float] | None]:
        """The rates that a member needs next; None while probes of it run, so that their order decides nothing."""
        search = self.plan.sweep.search
        if search is None:
            return {}
        busy = {probe.point.member for probe in self.probes if probe.key in self.searching}
        return {
            member: None if member in busy else missing_rates(search, tried) for member, tried in self.tried.items()
        }

    @property
    def tried(self) -> Found:
        """The scores of the learning rates that were tried, by member."""
        return tried_rates(self.probes, self.scores)

    def use_scores(self) -> None:
        """Make the points of the members whose search is complete, with their rates."""
        search = self.plan.sweep.search
        if search is None:
            return
        recipe = self.members[0].recipe
        rule = rule_text(search, recipe.validation.split or self.splits.card.default_split)
        missing = self._missing
        rates = {member: (choose(search, tried), rule) for member, tried in self.tried.items() if missing[member] == []}
        self.points = expand(self.plan, rates)
        self.keys = [point_key(self.plan, point, self.splits) for point in self.points]

    def searched(self, point: Point) -> list[dict[str, Any]]:
        """Return what the search found for the member of a point; empty without a search."""
        found = self.tried.get(point.member, {})
        return search_record(found, point.recipe.lr) if found else []

    @property
    def shape(self) -> list[int]:
        """The shape of the input for which costs are counted."""
        shapes = [cost.measurements["macs"].input_shape for cost in self.costs.values() if not cost.error]
        return shapes[0] if shapes and shapes[0] else []


def sweep(
    sweep: str | Path,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    families: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Run a sweep (a file, or the name of a shipped one) into ``out``, by default runs/NAME; return its results.

    ``families``: train only these now (empty: all). Points with a good record in ``out`` are not run again; an
    interrupted point continues from its checkpoint; a failed point is tried again. A point that fails becomes a record
    and the others go on. Raises UserError for every fault in the sweep, recipe, data, engine or folder before a point
    starts.
    """
    reporter = reporter or Reporter()
    check_engine(engine, address, workers)
    session = _open(sweep, overrides, reporter, families)
    folder = Path(out or Path("runs") / session.plan.name)
    refuse_inputs(f"sweep: -o {folder}", (folder / name for name in DATA_FILES), [sweep, session.plan.recipe_source])
    store = Store(folder)
    # Two sweeps in it would train the same points.
    with alone(folder / "sweep", f"-o: another sweep is running in {folder}; wait for it or name another folder."):
        session.resume(folder, store.latest())
        if session.left or session.probes_left:
            threads = session.plan.sweep.threads
            executor: Executor = LocalExecutor(workers or default_workers(threads), threads)
            if engine == "ray":
                executor = RayExecutor(address, workers, threads, session.plan.sweep.gpus)
            try:
                _run(session, executor, _announce(session, executor.workers), store, folder)
            finally:
                executor.close()
        known = store.latest()
        recorded = [(point, known[key]) for point, key in zip(session.points, session.keys) if key in known]
        summary = summary_of([result for _, result in recorded])
        files = write_data(folder, summary)
        from benchmark.leaderboard.figures import draw_figures

        files += draw_figures(folder, summary)
    failed = [point.name for point, result in recorded if result.status != "ok"]
    return {**summary, "out": str(folder), "failed": failed, "files": [str(file) for file in files]}


def budget(
    sweep: str | Path,
    out: str | Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    workers: int | None = None,
    families: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Return the budget of the points that ``out`` lacks, as ``--dry-run --json`` prints it; nothing is trained."""
    session = _open(sweep, overrides, reporter or Reporter(), families)
    folder = Path(out or Path("runs") / session.plan.name)
    session.resume(folder, Store(folder).latest() if (folder / "results.jsonl").exists() else {})
    return _estimated(session, workers or default_workers(session.plan.sweep.threads))[1]


def default_workers(threads: int) -> int:
    """Return how many points with ``threads`` each this machine's cores can run at a time."""
    return max(1, machine.usable_cores() // threads)


def _open(
    sweep: str | Path, overrides: Mapping[str, Any] | None, reporter: Reporter, families: Sequence[str] = ()
) -> _Session:
    plan = load_sweep(sweep, overrides)
    for name in families:
        known = [family.name for family in plan.sweep.families]
        if name not in known:
            raise UserError(f"--family {name}: the sweep has no such family{nearest(name, known)}.")
    points = expand(plan)
    splits = open_splits(plan, points, reporter)
    keys = [point_key(plan, point, splits) for point in points]
    only = frozenset(families) or None
    probes = probes_of(plan, points, splits)
    return _Session(
        plan, points, keys, splits, count_members(points, splits), reporter, members=points, only=only, probes=probes
    )


def _estimated(session: _Session, workers: int) -> tuple[list[Estimate], dict[str, Any]]:
    session.reporter.note(f"sweep {session.plan.name}: timing a few steps of each family's smallest and largest point")
    # The points of members without a learning rate are still to come, after their search.
    chosen = {point.member for point in session.points}
    coming = [point for point in session.members if point.member not in chosen and session.wanted(point)]
    searching = [probe.point for probe in session.probes_left]
    left = [*session.left, *coming]
    estimates = estimate([*left, *searching], session.costs, session.splits, threads=session.plan.sweep.threads)
    total = len(session.members)
    return estimates, budget_document(estimates, total=total, workers=workers, shape=session.shape)


def _announce(session: _Session, workers: int) -> list[Estimate]:
    """Report the budget of the sweep, and warn if it needs more memory than there is."""
    estimates, document = _estimated(session, workers)
    for line in budget_lines(document):
        session.reporter.note(line)
    free = machine.available_memory()
    if free is not None and document["memory_bytes"] > free:
        session.reporter.note(
            f"warning: {workers} points at a time need about {document['memory_bytes'] / GIB:.2f} GiB,"
            f" {free / GIB:.2f} GiB are free; lower --workers."
        )
    return estimates


def _listener(session: _Session) -> Callable[[Task, Record], None]:
    def listen(task: Task, event: Record) -> None:
        if isinstance(event, Note):
            session.reporter.detail(f"{task.name}: {event.text}")

    return listen


def _run(session: _Session, executor: Executor, estimates: Sequence[Estimate], store: Store, folder: Path) -> None:
    """Run the trainings that are left and record each as it ends; a member's points follow its own search."""
    pending = {one.point.name: one for one in estimates}
    tasks: list[Task] = []
    asked: dict[str, Point | Probe] = {}

    def ask() -> None:
        """Append what can be trained now: short trainings first, then points, the longest first."""
        estimated = {name: one.seconds or 0.0 for name, one in pending.items()}
        key_of = dict(zip((point.name for point in session.points), session.keys))
        points = sorted(session.left, key=lambda point: -estimated.get(point.name, 0.0))
        probes = session.probes_left
        wanted = [(one.key, one.point, one) for one in probes] + [(key_of[one.name], one, one) for one in points]
        for key, point, one in wanted:
            if key not in asked:
                asked[key] = one
                tasks.append(task_of(session.plan, point, key, session.splits, folder))
        session.searching |= {probe.key for probe in probes}

    ask()
    # Closing the generator stops the processes of an interrupted sweep.
    with contextlib.closing(executor.run(train_point, tasks, _listener(session))) as ended:
        for task, outcome in ended:
            if outcome.exception == "DiskError":
                # This is not the point's fault: finished work is kept, and the same command continues it.
                raise UserError(f"{task.name}: {outcome.error}")
            one = asked[task.key]
            point = one.point if isinstance(one, Probe) else one
            pending.pop(point.name, None)
            if isinstance(one, Probe):
                session.reporter.note(f"{point.name}: {_take_score(session, one, outcome, store, folder)}")
            else:
                found = _record(session, point, task, outcome, store)
                time_left = clock(wall_seconds(list(pending.values()), executor.workers) or 0.0)
                count = f"{len(session.done)}/{len(session.members)}"
                session.reporter.note(f"{count}  {point.name}: {found}; about {time_left} left")
            ask()


def _take_score(session: _Session, probe: Probe, outcome: Outcome, store: Store, folder: Path) -> str:
    """Keep the score of a probe that has ended, make the points whose rate it decides, and return what was found."""
    session.searching.discard(probe.key)
    score = session.scores[probe.key] = keep_score(folder, session.plan, probe, outcome.value, outcome.error)
    session.use_scores()
    session.take(store.latest())
    return str(outcome.error) if score is None else f"{score:.4f} on held-out images"


def _record(session: _Session, point: Point, task: Task, outcome: Outcome, store: Store) -> str:
    """Append the record of a point that has ended, and return what was found."""
    costs, searched = session.costs[point.member], session.searched(point)
    result = result_of(session.plan, point, task, session.splits, costs, outcome, searched)
    store.append(result)
    session.done[task.key] = result
    return _found(session.plan, result)


def _found(plan: SweepPlan, result: Result) -> str:
    if result.status != "ok":
        return f"{result.status}: {result.error}"
    id, label = SWEEP_ERRORS[plan.sweep.plot.error], ERROR_LABELS[plan.sweep.plot.error]
    test, train, seconds = (result.measurements[name].value for name in (id, id + ON_TRAIN, "train_seconds"))
    return f"{label} {test:.4f} on test, {train:.4f} on train images, trained {seconds:.0f} s"


def task_of(plan: SweepPlan, point: Point, key: str, splits: Splits, out: Path) -> Task:
    """Return the request for a child process that trains a point."""
    # A network may change the working directory while it runs.
    root = {"data_root": os.path.abspath(point.recipe.data_root)} if point.recipe.data_root else {}
    return Task(
        key=key,
        name=f"{plan.name}/{point.name}",
        recipe=point.recipe.model_dump(mode="json") | root,
        # What is measured afterwards does not decide the weights: other metrics need no new training.
        folder=str((out / POINTS / f"{point.name}_{weights_key(plan, point, splits)[:8]}").resolve()),
        store=str(out.resolve()),
        test_split=splits.test.split,
        train_images=splits.train_images,
        test_images=splits.test_images,
        data_digests=digests_of(splits.train, splits.test, splits.test_images),
        metrics=list(plan.sweep.evaluation.metrics),
        test_window=plan.sweep.evaluation.test_window,
        is_probe=point.rate is not None,
    )


def result_of(
    plan: SweepPlan,
    point: Point,
    task: Task,
    splits: Splits,
    costs: Costs,
    outcome: Outcome,
    searched: Sequence[Mapping[str, Any]] = (),
) -> Result:
    """Return the record of a point, however it ended; its options contain family and seed beside the network's own."""
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
        num_scenes=done.num_scenes if done else None,
        evidence="trained" if done else "untrained",
        status=outcome.status,
        error=outcome.error,
        seconds=outcome.seconds,
        measurements=costs.measurements | (done.measurements if done else {}),
        per_image=done.per_image if done else None,
        phases=done.phases if done else {},
        notes=_notes(plan, point, f"trained on {train.name} {train.split}{part}"),
        weights={**done.weights, "recipe": plan.recipe_name} if done else None,
        protocol=splits.card.protocol.record(),
        environment=environment,
        data=splits.test.provenance,
        training={
            **(done.training if done else {}),
            "search": [*searched],
            "sweep": _about(plan, point),
            "trained_on": {
                "dataset": train.name,
                "split": train.split,
                "count": len(train.ids),
                # How many of them the training errors are measured on.
                "images": splits.train_images,
                "part": train.provenance.get("part"),
            },
        },
    )


def _notes(plan: SweepPlan, point: Point, trained_on: str) -> list[str]:
    form = form_note(point.card, point.options)
    return [f"sweep {plan.name}, recipe {plan.recipe_name}", trained_on, *([form] if form else [])]


def _about(plan: SweepPlan, point: Point) -> dict[str, Any]:
    """Return the place of a point in its sweep, and what the sweep's figures show."""
    plot = plan.sweep.plot
    return {
        "name": plan.name,
        "title": plot.title or plan.name,
        "page": plot.page,
        "recipe": plan.recipe_name,
        "error": plot.error,
        "vanished": plot.vanished,
        "family": point.family.name,
        "option": point.family.option,
        "value": point.value,
    }


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
