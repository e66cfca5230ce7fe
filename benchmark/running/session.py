"""The parent process of a run: what is common to its models, and the work on one model's record."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch

from benchmark.cleaning import encodable
from benchmark.conditions import Conditions, Limits
from benchmark.costs.prediction import Predicted
from benchmark.datacheck.screening import screen
from benchmark.host.environment import code_of_tool, describe_environment
from benchmark.host.executors import Executor
from benchmark.host.isolation import Outcome, can_isolate
from benchmark.metrics import METRICS
from benchmark.placing import resolved
from benchmark.profilers import PROFILERS
from benchmark.record import Record
from benchmark.reporting import Relayed, Reporter
from benchmark.results.store import Store, image_scenes, image_scores
from benchmark.running.child import count_and_evaluate, digest_of_ids
from benchmark.running.messages import Counted, Done, ImageDone, ImageScored, Same, Shard, Work
from benchmark.running.quantizing.for_run import ToQuantize, quantize_for_run
from benchmark.running.spreading import spread
from benchmark.running.timed import Timed, ToTime, time_model
from benchmark.scoring.evaluation import mean_scores
from benchmark.scoring.intervals import over_scenes
from benchmark.selection import Entry, jsonable_options, target_scale
from benchmark.types import Dataset, DatasetCard, Measurement, Result, RunSpec, Status, Tiling, scenes_of
from zoo.convention import InputSpec
from zoo.errors import UserError
from zoo.identity import is_unknown

# The sizes at which costs are counted and time is measured: names on the command line to suffixes of the ids.
SIZES = {"dataset": "", "1mpix": "@1mpix", "12mp": "@12mp"}
SKIPPED_LISTED = 100
# What the time left is reckoned from: starting the processes of a model, its timed passes, and FLOPs per second.
STARTING_SECONDS, TIMED_PASSES, USUAL_SPEED = 6.0, 25, 1e11


@dataclass(eq=False)
class Session:
    """What is common to the models of one run. ``sizes``: names of the sizes at which time is measured."""

    card: DatasetCard
    dataset_options: dict[str, str]
    data: Dataset
    root: Path
    store: Store
    reporter: Reporter
    metrics: list[str]
    limit: int | None
    seed: int
    sizes: Sequence[str]
    conditions: Conditions
    limits: Limits
    exact: bool
    skip_bad: bool
    partial: bool
    isolate: bool
    # Starts the workers among which the images of a model are divided; None: one process takes them all.
    executor: Callable[[], Executor] | None = None
    # Whether workers with other code or another torch are used, and named.
    mixed: bool = False
    # Measures on another machine; its records hold costs and times, without images.
    timer: Callable[[ToTime], Timed] | None = None
    # The costs that this process has counted, by model and options.
    counts: dict[str, Outcome] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """The threads of a process that runs a network."""
        return resolved(self.conditions).threads or 1

    def __post_init__(self) -> None:
        """Derive the values that several models need; no file is read yet."""
        self.scoring = "float64" if self.exact else "one-pass"
        self.timed = [suffix for size, suffix in SIZES.items() if size in self.sizes]
        self.count = min(self.limit or len(self.data.ids), len(self.data.ids))
        self.left_out: dict[str, str] = dict(getattr(self.data, "left_out", {}))
        self.remarks: list[str] = []

    def plane_sizes(self, spec: InputSpec) -> dict[str, list[int]]:
        """Return the sizes of a network's planes at which costs are counted, by suffix."""
        mpix = round(1024 / target_scale(self.card))
        sizes = (self.card.plane_size, (mpix, mpix), self.card.full_size)
        return {suffix: list(spec.plane_size(size)) for suffix, size in zip(SIZES.values(), sizes)}

    @cached_property
    def digest(self) -> str:
        """Return the digest of the images' files."""
        return self.data.digest(self.limit)

    def screen(self) -> None:
        """Find the images whose files are bad; raises UserError for them unless they are to be left out."""
        screening = screen(self.card, self.data, self.root, self.data.ids[: self.count])
        if screening.bad and not self.skip_bad:
            first = next(iter(screening.bad.values()))[0]
            raise UserError(
                f"{self.data.name}: {len(screening.bad)} of {self.count} images are bad, the first one: {first.line()}."
                " `zoo-bench data check` lists all; --skip-bad leaves them out."
            )
        self.left_out |= {id: problems[0].line() for id, problems in screening.bad.items()}
        self.remarks = [problem.line() for problem in screening.remarks]
        for remark in self.remarks:
            self.reporter.note(f"{self.data.name}: {remark}")

    def counts_here(self, entry: Entry) -> bool:
        """Return whether the costs of ``entry`` are counted in this process, where torch is already loaded.

        The package's own models are; others must not crash it.
        """
        return entry.card.is_builtin or not self.isolate or not can_isolate(entry.card.build)

    def costs_of(self, entry: Entry, rerun: str) -> Result:
        """Return a record of one model's costs; a model that runs on the images gets its own record later."""
        if not entry.evaluate:
            return self.result_of(entry, rerun)
        only_costs = replace(entry, evaluate=False)
        return _Recording(self, only_costs, self.spec_of(only_costs), again=False).run()

    def is_due(self, entry: Entry, rerun: str) -> bool:
        """Return whether ``entry`` has yet to run on the images."""
        return entry.evaluate and (rerun == "always" or self.spec_of(entry).key() not in self.store.latest())

    def expected_seconds(self, entry: Entry) -> float:
        """Return about how long the record of ``entry`` takes, to weigh the steps of a run against each other."""
        counted = self.counts.get(_counted_by(entry))
        costs = next((event for event in counted.events if isinstance(event, Counted)), None) if counted else None
        if not entry.evaluate or costs is None or "" not in costs.predicted:
            return STARTING_SECONDS
        passes = self.count + (TIMED_PASSES if self.timed else 0)
        return STARTING_SECONDS + passes * costs.predicted[""].flops / USUAL_SPEED

    def result_of(self, entry: Entry, rerun: str) -> Result:
        """Return the record of one model; it is measured unless ``rerun`` accepts an earlier record."""
        spec = self.spec_of(entry)
        if is_unknown(spec.code):
            self.reporter.note(
                f"{entry.label}: its code is in no file, so nobody can tell whether it is the same next time, and no"
                " earlier record is taken for it. Register it in a file and pass that with --plugin."
            )
        previous = self._grouped(self.store.latest().get(spec.key()))
        if previous and previous.is_edited and rerun != "never":
            self.reporter.note(f"{entry.label}: {previous.source} was edited by hand; measured again.")
        elif previous and (rerun == "never" or (rerun == "failed" and previous.status == "ok")):
            self.reporter.detail(f"{entry.label}: already in {self.store.results_file}")
            return self.named(previous, entry)
        return self.measure(entry, spec, fresh=rerun == "always")

    def _grouped(self, record: Result | None) -> Result | None:
        """Return an earlier record with the scenes of this run, which an older version or another --scene lack.

        Neither key nor scores depend on scenes: nothing is measured again, and the new record holds the intervals.
        """
        scenes = scenes_of(self.data)
        if record is None or record.is_edited or not scenes.keys() >= (scores := image_scores(record)).keys():
            return record
        journal, wanted = self.store.journal(record.key), {id: scenes[id] for id in scores}
        if not scores or image_scenes(record) == wanted or journal.read().keys() != scores.keys():
            return record
        with journal.lock():
            journal.copy_to(journal, wanted)
            means = {
                id: mean.model_copy(update=over_scenes(id, [one[id] for one in scores.values()], list(scores), wanted))
                for id, mean in record.measurements.items()
                if mean.kind == "score"
            }
            update = {"num_scenes": len(set(wanted.values())), "data": encodable(dict(self.data.provenance))}
            return self.store.append(
                record.model_copy(update={**update, "measurements": {**record.measurements, **means}})
            )

    def named(self, record: Result, entry: Entry) -> Result:
        """Return a record under the label of ``entry``; if it has another, it is stored once more, not measured."""
        if record.is_edited or record.label == entry.weights_label:
            return record
        self.reporter.note(f"{entry.label}: the same weights as {record.name} before; renamed, not measured again.")
        return self.store.append(record.labelled(entry.weights_label))

    def spec_of(self, entry: Entry) -> RunSpec:
        """Return everything that determines the numbers in ``entry``'s record."""
        told = entry.evaluate and entry.is_told_noise
        metrics = self.metrics if entry.evaluate and entry.scored else []
        timed = self.timed if entry.evaluate or self.timer else []
        profilers = [p.name for p in PROFILERS if p.kind == "count"]
        profilers += [p.name + suffix for p in PROFILERS if p.kind == "timing" for suffix in timed]
        return RunSpec(
            model=entry.card.name,
            options=jsonable_options(entry.options),
            code=entry.card.code_digest,
            weights_digest=entry.weights_digest,
            dataset=self.data.name,
            dataset_digest=self.digest,
            split=self.data.split,
            limit=self.count if self.limit else None,
            protocol=f"{self.card.protocol.name}-v{self.card.protocol.version}",
            metrics={id: METRICS.get(id).version for id in metrics},
            profilers=profilers,
            conditions=resolved(self.conditions if told else self.conditions.without_sigma()),
            seed=self.seed,
            evaluate=entry.evaluate,
            scoring=self.scoring,
            skip_bad=self.skip_bad,
        )

    def same(self, spec: RunSpec) -> Same:
        """Return what another machine must have in common with this one to work on the record of ``spec``."""
        return Same(
            weights=spec.weights_digest,
            code=spec.code,
            tool=code_of_tool(),
            torch=str(torch.__version__),
            mixed=self.mixed,
        )

    def isolates(self, entry: Entry) -> bool:
        """Return whether ``entry`` runs in child processes; reports it if that is not possible."""
        metrics = (METRICS.get(id).function for id in self.metrics)
        if not self.isolate:
            return False
        if can_isolate(entry.card.build, self.card.open, *metrics):
            return True
        self.reporter.note(
            f"{entry.label}: registered in this process only, so it runs here, without limits and protection from"
            " crashes; models of a file passed with --plugin run in processes of their own."
        )
        return False

    def measure(self, entry: Entry, spec: RunSpec, *, fresh: bool) -> Result:
        """Measure one model and store its record; a failure becomes a record too."""
        journal, anew = self.store.journal(spec.key()), self.store.journal(spec.key(), again=True)
        with journal.lock():
            # Another process may have finished this record while we waited for its lock.
            done = self.store.latest().get(spec.key())
            if done and not fresh and done.status == "ok" and not done.is_edited:
                return self.named(done, entry)
            anew.clear()
            result = self.store.append(_Recording(self, entry, spec, again=fresh).run())
            # Only now are the old scores replaced: they belong to the old record until the new one is stored.
            anew.become(journal)
        if result.error:
            self.reporter.note(f"{entry.label}: {result.status}: {result.error}")
        return result


class _Recording:
    """The work on one model's record; values that were measured before a failure are kept."""

    def __init__(self, session: Session, entry: Entry, spec: RunSpec, *, again: bool) -> None:
        self.session, self.entry, self.spec, self.again = session, entry, spec, again
        self.journal = session.store.journal(spec.key(), again=again)
        self.isolated = entry.evaluate and session.isolates(entry)
        self.measurements: dict[str, Measurement] = {}
        self.predicted: dict[str, Predicted] = {}
        self.output_shapes: dict[str, list[int]] = {}
        self.notes = entry.notes
        self.tilings: list[Tiling] = []
        self.timings: str | None = None
        self.num_scenes: int | None = None
        # What makes the scores of a network in int8 doubtful.
        self.remark: str | None = None
        self.phases: dict[str, float] = {}
        self.environment = describe_environment()

    def run(self) -> Result:
        """Measure costs and quality, then time; return the record."""
        begin = time.perf_counter()
        entry, session = self.entry, self.session
        outcome = self._work()
        if outcome.exception in ("UserError", "DiskError"):
            # A damaged file, weights that do not fit or a full disk: the user corrects it and runs again; nothing is
            # recorded, and the scores so far are kept.
            raise UserError(outcome.error)
        status, error, done = outcome.status, outcome.error, outcome.value or Done()
        kept = session.store.journal(self.spec.key()).path
        left_out = session.left_out | done.skipped if entry.evaluate else {}
        if status == "ok" and entry.evaluate:
            self._score(done, left_out)
        if status == "ok" and (entry.evaluate or session.timer):
            status, error = self._time()
        return Result.of(
            self.spec,
            n=done.n,
            num_scenes=self.num_scenes,
            evidence=entry.evidence,
            status=status,
            error=error,
            seconds=time.perf_counter() - begin,
            measurements=self.measurements,
            per_image=str(kept.relative_to(session.store.root)) if self.journal.path.exists() else None,
            pictures=done.pictures,
            gallery=done.gallery,
            timings=self.timings,
            phases={name: round(seconds, 4) for name, seconds in sorted((self.phases | done.phases).items())},
            notes=self.notes,
            num_skipped=len(left_out),
            skipped=dict(list(left_out.items())[:SKIPPED_LISTED]),
            shift_plot=done.shift_plot,
            fingerprint=done.fingerprint,
            output_shapes=self.output_shapes,
            tilings=self.tilings,
            weights=entry.weights_record(),
            protocol=session.card.protocol.record(),
            environment=self.environment.model_copy(update={"threads": self.spec.conditions.threads}),
            data=session.data.provenance,
        )

    def _work(self) -> Outcome:
        session, entry, request = self.session, self.entry, self._task()
        count, relayed, scored = session.count if entry.evaluate else 0, Relayed(session.reporter), 0
        workers = session.executor() if self.isolated and session.executor else None
        label = f"{entry.label}, {workers.workers} workers" if workers else entry.label
        with session.reporter.progress(label, count) as advance, closing(relayed):

            def take(event: Record) -> None:
                nonlocal scored
                if isinstance(event, ImageScored):
                    scored += 1
                    advance()
                elif isinstance(event, ImageDone):
                    # The process that completes the record finds the images of the workers done.
                    if scored:
                        scored -= 1
                    else:
                        advance()
                elif isinstance(event, Counted):
                    self._take_costs(event)
                else:
                    relayed.take(event)

            if session.counts_here(entry):
                counted = self._count(request)
                for event in counted.events:
                    take(event)
                if counted.status != "ok" or not entry.evaluate:
                    return counted
                request = request.model_copy(update={"sizes": {}})
            if self.spec.conditions.calibrate and entry.evaluate:
                quantized = self._quantize(relayed)
                if quantized.status != "ok":
                    return quantized
            if workers and (failed := self._spread(request, workers, take)):
                return failed
            if self.isolated or not session.counts_here(entry):
                threads = self.spec.conditions.threads
                return count_and_evaluate.isolated(request, limits=session.limits, threads=threads, on_event=take)
            return count_and_evaluate.here(request, on_event=take)

    def _quantize(self, relayed: Relayed) -> Outcome:
        """Write the network in int8 into the cache, where the processes that run it find it."""
        session, spec = self.session, self.spec
        request = ToQuantize(
            model=spec.model,
            options=spec.options,
            weights=self.entry.weights_file and os.path.abspath(self.entry.weights_file),
            root=os.path.abspath(session.root),
            dataset=session.card.name,
            dataset_options=session.dataset_options,
            conditions=spec.conditions,
        )
        if self.isolated:
            threads = spec.conditions.threads
            outcome = quantize_for_run.isolated(request, limits=session.limits, threads=threads, on_event=relayed.take)
        else:
            outcome = quantize_for_run.here(request, on_event=relayed.take)
        if outcome.status == "ok":
            self.notes = [*self.notes, *outcome.value.notes]
            self.remark = outcome.value.remark
            self.measurements |= outcome.value.sizes
        return outcome

    def _spread(self, request: Work, executor: Executor, take: Callable[[Record], None]) -> Outcome | None:
        """Divide the images among workers; return an outcome if the model failed there."""
        session, spec = self.session, self.spec
        ids = list(session.data.ids[: session.count])
        shard = Shard(
            work=request.model_copy(update={"sizes": {}}),
            weights=request.weights,
            images=[index for index, id in enumerate(ids) if id not in session.left_out],
            limit=session.limit,
            digest=session.digest,
            same=session.same(spec),
        )
        seconds = session.expected_seconds(self.entry)
        return spread(shard, ids, self.journal, executor, seconds=seconds, on_event=take)

    def _count(self, request: Work) -> Outcome:
        """Count the costs in this process, once for all weights of a network."""
        counts, name = self.session.counts, _counted_by(self.entry)
        if name not in counts:
            events: list[Record] = []
            request = request.model_copy(update={"evaluate": False})
            counts[name] = replace(count_and_evaluate.here(request, on_event=events.append), events=events)
        if done := counts[name].value:
            self.phases = done.phases
        return counts[name]

    def _task(self) -> Work:
        session, entry, spec = self.session, self.entry, self.spec
        return Work(
            model=spec.model,
            options=spec.options,
            weights=entry.weights_file and os.path.abspath(entry.weights_file),
            label=entry.weights_label,
            seed=spec.seed,
            sizes=session.plane_sizes(entry.card.input_for(entry.options)),
            evaluate=spec.evaluate,
            dataset=session.card.name,
            dataset_options=session.dataset_options,
            root=os.path.abspath(session.root),
            split=spec.split,
            count=session.count,
            metrics=list(spec.metrics),
            scoring=spec.scoring,
            skip_bad=spec.skip_bad,
            partial=session.partial,
            images=digest_of_ids(session.data.ids[: session.count]),
            leave_out=session.left_out,
            store=os.path.abspath(session.store.root),
            key=spec.key(),
            again=self.again,
            conditions=spec.conditions,
            memory_limit=session.limits.memory_bytes,
        )

    def _take_costs(self, counted: Counted) -> None:
        costs = counted.costs
        if not self.spec.conditions.by_torch or self.spec.conditions.is_tiled:
            # This cost is counted for torch's own kernels on a whole image; all others do not depend on how it runs.
            costs = {id: cost for id, cost in costs.items() if not id.startswith("predicted_rss_bytes")}
        self.measurements |= costs
        self.predicted, self.output_shapes = counted.predicted, counted.output_shapes
        self.notes += counted.notes

    def _score(self, done: Done, left_out: Mapping[str, str]) -> None:
        session = self.session
        if not done.n:
            first = next(iter(left_out.values()), "")
            raise UserError(f"{session.data.name}: all {session.count} images were left out, the first one: {first}")
        if left_out:
            self.notes.append(f"{len(left_out)} images or files left out because they are bad")
        self.notes += done.notes
        self.notes += session.remarks
        for machine, count in Counter(self.journal.others().values()).items():
            self.notes.append(f"{count} of {done.n} images scored on {machine}")
        scores = self.journal.read()
        wanted = {id: scores[id] for id in session.data.ids[: session.count] if id not in left_out}
        scenes = self.journal.scenes()
        if wanted.keys() <= scenes.keys():
            self.num_scenes = len({scenes[id] for id in wanted})
        else:
            self.notes.append(f"{session.data.name} names no scenes, so no score has an interval or a rank")
        means = mean_scores(wanted, list(self.spec.metrics), session.card.protocol, self.spec.scoring, scenes)
        self.tilings += done.tilings
        doubts = [*(one.text for one in self.tilings if one.seams), *([self.remark] if self.remark else [])]
        # The scores are not exactly the network's: the number gets a sign, and a note gives the difference.
        remark = {"remark": "; ".join(doubts)} if doubts else {}
        self.measurements |= {id: mean.model_copy(update=remark) for id, mean in means.items()}

    def _time(self) -> tuple[Status, str | None]:
        """Measure time and memory; return the record's status, which does not depend on the larger sizes."""
        session = self.session
        sizes = {suffix: self.predicted[suffix] for suffix in session.timed if suffix in self.predicted}
        if not sizes:
            return "ok", None
        work = self._to_time(sizes)
        timed = session.timer(work) if session.timer else time_model(work, session.reporter, isolate=self.isolated)
        self.environment = timed.environment
        self.measurements |= timed.measurements
        self.tilings += timed.tilings
        self.notes += timed.notes
        if timed.samples:
            self.timings = session.store.save_timings(self.spec.key(), timed.samples)
        return timed.status, timed.error

    def _to_time(self, sizes: dict[str, Predicted]) -> ToTime:
        session, spec = self.session, self.spec
        return ToTime(
            model=spec.model,
            options=spec.options,
            weights=self.entry.weights_file and os.path.abspath(self.entry.weights_file),
            seed=spec.seed,
            sizes=sizes,
            conditions=resolved(session.conditions),
            seconds=session.limits.seconds,
            memory_bytes=session.limits.memory_bytes,
            same=session.same(spec),
        )


def _counted_by(entry: Entry) -> str:
    """Return what the counted costs of a model depend on: they are the same for all its weights."""
    return f"{entry.card.name} {jsonable_options(entry.options)}"
