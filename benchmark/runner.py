"""Models x dataset -> records: what ``zoo-bench run`` does."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.environment import describe_environment
from benchmark.evaluation import (
    Phases,
    as_picture,
    evaluate_images,
    mean_scores,
    network_input,
    one_forward,
    run_sample,
)
from benchmark.metrics import METRICS
from benchmark.opening import configured, open_dataset
from benchmark.pictures import Row, save_sheet, show_input
from benchmark.profilers import PROFILERS
from benchmark.profiling import CostError, count_costs, meta_model, trace_card
from benchmark.reporting import Reporter
from benchmark.selection import Entry, jsonable_options, select
from benchmark.store import Scores, Store
from benchmark.types import Dataset, DatasetCard, Measurement, Result, RunSpec, Sample, Status
from zoo.errors import BuildError, SizeError, UserError
from zoo.raw import pad_planes

SHEET_ROWS = 4
RERUN = ("never", "failed", "always")


def run(
    dataset: str,
    *,
    data_root: str | Path | None = None,
    models: Sequence[str] | str | None = None,
    split: str | None = None,
    limit: int | None = None,
    weights: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
    pairs: str | None = None,
    task: str | None = None,
    out: str | Path = "zoo-bench-out",
    rerun: str = "failed",
    threads: int | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> list[Result]:
    """Evaluate and profile models on a dataset and return one record per model; the same as ``zoo-bench run``.

    Records that ``out`` holds already are returned, not measured again, unless ``rerun`` says so ("never",
    "failed": those that failed, "always"). A model that fails becomes a record; the others go on. Raises
    UserError for bad input before anything is measured. ``pairs`` is the rule by which the dataset "pairs" finds
    partners, ``task`` what is asked of its models (default denoise_rgb).
    """
    reporter = reporter or Reporter()
    if rerun not in RERUN:
        raise UserError(f"--rerun {rerun}: expected one of {', '.join(RERUN)}.")
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: expected at least 1 image.")
    card = configured(dataset, rule=pairs, task=task)
    patterns = [name for name in models.split(",") if name] if isinstance(models, str) else models
    entries = select(card, models=patterns, weights=weights or {}, options=options or {})
    ids = list(metrics or card.protocol.metrics)
    for id in ids:
        METRICS.get(id)
    store = Store(out)
    if threads is not None:
        torch.set_num_threads(threads)
    data = open_dataset(card, data_root, split, reporter)
    session = _Session(card, data, store, reporter, ids, limit, seed)
    results = []
    for entry in entries:
        spec = session.spec_of(entry)
        previous = session.known().get(spec.key())
        if previous and (rerun == "never" or (rerun == "failed" and previous.status == "ok")):
            reporter.detail(f"{entry.label}: already in {store.results_file}")
            results.append(previous)
            continue
        results.append(session.measure(entry, spec, fresh=rerun == "always"))
    return results


class _Session:
    """What is common to the models of one run."""

    def __init__(
        self,
        card: DatasetCard,
        data: Dataset,
        store: Store,
        reporter: Reporter,
        metrics: list[str],
        limit: int | None,
        seed: int,
    ) -> None:
        self.card, self.data, self.store, self.reporter = card, data, store, reporter
        self.metrics, self.limit, self.seed = metrics, limit, seed
        self.count = min(limit or len(data.ids), len(data.ids))
        self.digest = data.digest(limit)
        self._stamp, self._known = (-1, -1), dict[str, Result]()

    def known(self) -> dict[str, Result]:
        """Return the newest record of each key; the file is read again only if somebody wrote to it."""
        if (stamp := self.store.stamp()) != self._stamp:
            self._stamp, self._known = stamp, self.store.latest()
        return self._known

    def spec_of(self, entry: Entry) -> RunSpec:
        """Return what decides the numbers of ``entry``'s record."""
        metrics = self.metrics if entry.evaluate and entry.scored else []
        profilers = [p.name for p in PROFILERS if p.kind == "count" or entry.evaluate]
        return RunSpec(
            model=entry.card.name,
            options=jsonable_options(entry.options),
            code=entry.card.code_digest,
            weights_digest=entry.checkpoint.digest if entry.checkpoint else None,
            dataset=self.data.name,
            dataset_digest=self.digest,
            split=self.data.split,
            limit=self.count if self.limit else None,
            protocol=f"{self.card.protocol.name}-v{self.card.protocol.version}",
            metrics={id: METRICS.get(id).version for id in metrics},
            profilers=profilers,
            device="cpu",
            precision="float32",
            threads=torch.get_num_threads(),
            seed=self.seed,
            evaluate=entry.evaluate,
        )

    def measure(self, entry: Entry, spec: RunSpec, *, fresh: bool) -> Result:
        """Measure one model and store its record; a failure becomes a record too."""
        journal = self.store.journal(spec.key())
        with journal.lock():
            # Another process may have finished this record while we waited for its lock.
            done = self.known().get(spec.key())
            if done and not fresh and done.status == "ok":
                return done
            if fresh:
                journal.clear()
            result = _Measuring(self, entry, spec).run()
            self.store.append(result)
        if result.error:
            self.reporter.note(f"{entry.label}: {result.status}: {result.error}")
        return result


class _Measuring:
    """One model's record in the making; what was measured before a failure is kept."""

    def __init__(self, session: _Session, entry: Entry, spec: RunSpec) -> None:
        self.session, self.entry, self.spec = session, entry, spec
        self.measurements: dict[str, Measurement] = {}
        self.notes: list[str] = []
        self.phases = Phases()
        self.pictures: str | None = None
        self.n = 0

    def run(self) -> Result:
        """Measure costs, then quality and time; return the record."""
        begin = time.perf_counter()
        status, error = self._guarded()
        entry, session = self.entry, self.session
        journal = session.store.journal(self.spec.key())
        return Result(
            key=self.spec.key(),
            model=entry.card.name,
            options=jsonable_options(entry.options),
            dataset=session.data.name,
            split=session.data.split,
            n=self.n,
            evidence=entry.evidence,
            status=status,
            error=error,
            seconds=round(time.perf_counter() - begin, 3),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            measurements=self.measurements,
            per_image=str(journal.path.relative_to(session.store.root)) if journal.path.exists() else None,
            pictures=self.pictures,
            phases={name: round(seconds, 4) for name, seconds in sorted(self.phases.seconds.items())},
            notes=self.notes,
            weights=entry.weights_record(),
            spec=self.spec,
            protocol=session.card.protocol.record(),
            environment=describe_environment(),
            data=dict(session.data.provenance),
        )

    def _guarded(self) -> tuple[Status, str | None]:
        try:
            with self.phases.timing("costs"):
                self._count_costs()
            if self.entry.evaluate:
                self._evaluate()
        except MemoryError as error:
            return "oom", f"out of memory: {_one_line(error)}"
        except (SizeError, BuildError) as error:
            return "error", str(error)
        except UserError:
            # A damaged file or weights that do not fit: the user mends it and runs again; nothing is recorded.
            raise
        except Exception as error:
            # Whatever a model raises is a result about that model; the other models go on.
            status: Status = "oom" if _is_out_of_memory(error) else "error"
            return status, f"{type(error).__name__}: {_one_line(error)}"
        return "ok", None

    def _count_costs(self) -> None:
        entry = self.entry
        model = meta_model(entry.card, entry.options)
        for size, suffix in ((self.session.card.plane_size, ""), (self.session.card.full_size, "@12mp")):
            try:
                traced = trace_card(entry.card, entry.options, size, model)
            except (CostError, SizeError) as error:
                self.notes.append(str(error))
                continue
            for id, cost in count_costs(model, traced).items():
                if id in _SIZELESS:
                    self.measurements[id] = cost
                else:
                    self.measurements[id + suffix] = cost.model_copy(update={"input_shape": list(traced.input_shape)})

    def _evaluate(self) -> None:
        session, entry = self.session, self.entry
        with self.phases.timing("build"):
            model = entry.build(seed=self.spec.seed)
        spec = entry.card.input_for(entry.options)
        metrics = list(self.spec.metrics)
        journal = session.store.journal(self.spec.key())
        wanted = {session.data.ids[index] for index in _shown(session.count)}
        kept: dict[str, tuple[Sample, Tensor]] = {}

        def keep(sample: Sample, output: Tensor) -> None:
            if sample.id in wanted:
                kept[sample.id] = (sample, output)

        with session.reporter.progress(entry.label, session.count) as advance:
            scores = evaluate_images(
                model,
                spec,
                session.data,
                session.count,
                protocol=session.card.protocol,
                metrics=metrics,
                journal=journal,
                phases=self.phases,
                advance=advance,
                keep=keep,
            )
        self.n = len(scores)
        self.measurements |= mean_scores(scores, metrics, session.card.protocol)
        with self.phases.timing("pictures"):
            self._save_sheet(model, scores, kept)
        self._time(model, session.data[0])

    def _time(self, model: nn.Module, sample: Sample) -> None:
        spec = self.entry.card.input_for(self.entry.options)
        forward = one_forward(model, sample, spec)
        with self.phases.timing("forward"):
            for profiler in PROFILERS:
                if profiler.kind == "timing":
                    timed = profiler.measure(forward, threads=self.spec.threads)
                    shape = self._shape_of(sample)
                    self.measurements |= {id: m.model_copy(update={"input_shape": shape}) for id, m in timed.items()}

    def _shape_of(self, sample: Sample) -> list[int]:
        spec = self.entry.card.input_for(self.entry.options)
        return list(pad_planes(network_input(sample, spec), spec).shape)

    def _save_sheet(
        self, model: nn.Module, scores: Mapping[str, Scores], kept: Mapping[str, tuple[Sample, Tensor]]
    ) -> None:
        session, entry = self.session, self.entry
        rows = []
        for index in _shown(session.count):
            id = session.data.ids[index]
            # After a resumed run the picture is computed once more.
            sample, output = kept.get(id) or self._again(model, index)
            values = (f"{name} {value:.4g}" for name, value in scores[id].items())
            caption = "   ".join([f"image {id}", *values])
            rows.append(Row(caption, show_input(sample), as_picture(output), as_picture(sample.target)))
        path = session.store.root / "images" / session.data.name / f"{_file_name(entry.label)}.png"
        save_sheet(path, f"{entry.label} on {session.data.name} {session.data.split}: {entry.evidence}", rows)
        self.pictures = str(path.relative_to(session.store.root))

    def _again(self, model: nn.Module, index: int) -> tuple[Sample, Tensor]:
        sample = self.session.data[index]
        return sample, run_sample(model, sample, self.entry.card.input_for(self.entry.options))


# The same whatever the image's size: listed once.
_SIZELESS = {"params", "weight_bytes"}


def _shown(count: int) -> list[int]:
    """Return the indices of the images on the contact sheet: first, last and evenly between."""
    rows = min(SHEET_ROWS, count)
    return [index * (count - 1) // max(rows - 1, 1) for index in range(rows)]


def _file_name(label: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in label)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
