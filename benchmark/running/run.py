"""Run models on a dataset and make one record for each: the work of ``zoo-bench run``."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmark.conditions import Calibration, Conditions, Limits
from benchmark.host.executors import Executor, LocalExecutor, RayExecutor, check_engine
from benchmark.leaderboard.notebook import Results
from benchmark.metrics import chosen_ids
from benchmark.opening import at_own_size, card_at, divided_sigma, given_options, open_with_root
from benchmark.placing import INT8, check
from benchmark.reporting import Reporter
from benchmark.results.store import Store
from benchmark.running.machines import time_on_each
from benchmark.running.quantizing.for_run import with_digest
from benchmark.running.session import SIZES, Session
from benchmark.selection import Entry, Weights, select, with_shipped_weights
from benchmark.types import Result
from benchmark.units import counted, style_of
from zoo.errors import UserError, nearest

RERUN = ("never", "failed", "always")
NO_SIZE, ALL_SIZES = "none", "all"
TIMINGS = ("none", "here", "each")


def run(
    dataset: str,
    *,
    data_root: str | Path | None = None,
    models: Sequence[str] | str | None = None,
    split: str | None = None,
    limit: int | None = None,
    weights: Weights | None = None,
    options: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
    pairs: str | None = None,
    cfa: str | None = None,
    black: float | None = None,
    white: float | None = None,
    raw_size: str | None = None,
    scene: str | None = None,
    noise_seed: int | None = None,
    clip: bool = False,
    gray: str | None = None,
    name: str | None = None,
    remark: str | None = None,
    task: str | None = None,
    sizes: Sequence[str] = ("dataset",),
    conditions: Conditions | None = None,
    limits: Limits | None = None,
    exact: bool = False,
    skip_bad: bool = False,
    partial: bool = False,
    out: str | Path = "zoo-bench-out",
    rerun: str = "failed",
    seed: int = 0,
    isolate: bool = True,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    cpus_per_worker: int | None = None,
    gpus: float | None = None,
    timings: str = "here",
    mixed_nodes: bool = False,
    reporter: Reporter | None = None,
    on_costs: Callable[[Sequence[Result]], object] = lambda records: None,
) -> Results:
    """Evaluate and profile models on a dataset and return one record per model; the same as ``zoo-bench run``.

    Records that ``out`` already holds are returned and not measured again, unless ``rerun`` asks for it ("never";
    "failed": only records that failed; "always"). Each model runs in child processes under ``conditions`` and
    ``limits`` (seconds: for its images, and for its timing at each size). A model that fails, crashes or runs out of
    memory becomes a record, and the others go on. With ``isolate`` False, and for models that are registered only in
    this process, everything runs in this process. Time is measured at ``sizes`` ("dataset", "1mpix", "12mp", or only
    "none" or "all"). ``on_costs`` receives records of the counted costs before the first image runs, unless a network
    is counted in a process of its own or nothing is left to run. ``exact`` scores by the metrics' float64 definitions
    instead of one float32 pass; ``skip_bad`` leaves out images with damaged files; ``partial`` uses the existing part
    of a dataset, which the records state ("12 of 1204"). ``metrics`` are ids, or "protocol" and "error" for the default
    ones and those that say what the error is made of. ``weights`` gives a file by MODEL or MODEL@LABEL (each label
    makes a record), or by MODEL a list of files that differ only in the seed of one recipe. ``pairs`` is the rule by
    which the datasets "pairs" and "raw-pairs" find partners, ``scene`` a regular expression that finds the scene in the
    names of inputs (default: each pair is one), ``name`` what records call the data: "pairs (name)", and
    ``remark`` a line that stands above its tables. For pairs,
    ``white`` is the count that is 1 in files of 16 bits (default 65535) and ``task`` the task of the models (default
    denoise_rgb). For raw-pairs, ``cfa``, ``black`` and ``white`` describe the mosaics, and ``raw_size`` ("512x512")
    files without a header. ``conditions.sigma`` is the noise that awgn adds, drawn with ``noise_seed`` (default 0),
    with ``clip`` clipped and rounded to 8 bits, to gray pictures if ``gray`` names a conversion; for all other data it
    is what networks are told that take the level of the noise. With several ``workers`` the images of a model are
    divided among processes with the conditions' threads each, of this machine or (``engine`` "ray") of the Ray cluster
    at ``address``, which reserves ``cpus_per_worker`` cores (default: as many as threads) and ``gpus`` for each;
    records do not depend on it. A node with other code or another torch is refused; with ``mixed_nodes`` it is used,
    and the record names it. ``timings`` says where time is measured: "here", "none" (nowhere) or "each" (on every
    machine of the Ray cluster, alone, into records of its own in ``machines/`` in ``out``). Raises UserError for bad
    input before anything is measured.
    """
    reporter, conditions, limits = reporter or Reporter(), conditions or Conditions(), limits or Limits()
    if rerun not in RERUN:
        raise UserError(f"--rerun {rerun}: expected one of {', '.join(RERUN)}.")
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: expected at least 1 image.")
    sizes = {NO_SIZE: (), ALL_SIZES: tuple(SIZES)}.get(",".join(sizes), sizes)
    for size in sizes:
        if size not in SIZES:
            raise UserError(f"--sizes: no size '{size}'{nearest(size, [*SIZES, NO_SIZE, ALL_SIZES])}")
    int8 = conditions.precision == INT8
    # What calibrates a network follows from the data, which are not open yet.
    asked = Calibration(dataset).text if int8 and conditions.calibrate is None else conditions.calibrate
    check(conditions.model_copy(update={"calibrate": asked}), limits)
    if int8 and engine == "ray":
        raise UserError("--precision int8: the nodes of a cluster have no file of the network; leave --engine out.")
    check_engine(engine, address, workers)
    if timings not in TIMINGS:
        raise UserError(f"--timings {timings}: expected one of {', '.join(TIMINGS)}.")
    if timings == "each" and engine != "ray":
        raise UserError("--timings each: only --engine ray has several machines; take --timings here.")
    spreads = engine == "ray" or (workers or 1) > 1
    if engine != "ray" and (cpus_per_worker or gpus):
        raise UserError("--cpus-per-worker, --gpus: only --engine ray reserves them; leave them out.")
    if engine != "ray" and mixed_nodes:
        raise UserError("--mixed-nodes: only --engine ray has nodes; leave it out.")
    if spreads and conditions.is_tiled:
        raise UserError("--tile: tiles depend on the memory of one machine; leave out --engine and --workers.")
    added, told = divided_sigma(dataset, conditions.sigma)
    conditions = conditions.model_copy(update={"sigma": told})
    own = {"rule": pairs, "cfa": cfa, "black": black, "white": white, "raw_size": raw_size, "scene": scene}
    own |= {"sigma": added, "noise_seed": noise_seed, "clip": clip or None, "gray": gray, "name": name}
    own |= {"remark": remark, "task": task}
    named = given_options(**own)
    card = card_at(dataset, data_root, **named)
    patterns = [name for name in models.split(",") if name] if isinstance(models, str) else models
    entries = select(card, models=patterns, weights=weights or {}, options=options or {}, sigma=told)
    ids = chosen_ids(metrics, card.protocol.metrics, gray=card.is_gray)
    store = Store(out)
    data, root = open_with_root(card, data_root, split, reporter, skip_bad=skip_bad, partial=partial)
    card = at_own_size(card, data, reporter)
    if data.provenance.get("standin") and not data.provenance.get("from_photographs"):
        entries = [with_shipped_weights(entry) for entry in entries]
    if int8 and entries:
        first = entries[0].card.input_for(entries[0].options)
        conditions = with_digest(conditions, card, named, root, first, data)
    session = Session(
        card=card,
        dataset_options=named,
        data=data,
        root=root,
        store=store,
        reporter=reporter,
        metrics=ids,
        limit=limit,
        seed=seed,
        sizes=sizes if timings == "here" else (),
        conditions=conditions,
        limits=limits,
        exact=exact,
        skip_bad=skip_bad,
        partial=partial,
        isolate=isolate,
        mixed=mixed_nodes,
    )
    if told is not None and not any(entry.is_told_noise for entry in entries):
        reporter.note("no network of this run is told the level of the noise; --sigma changes nothing.")
    for entry in entries:
        entry.tell_notes(reporter)
    if any(entry.evaluate for entry in entries):
        session.screen()
    with ExitStack() as stack:

        @functools.cache
        def executor() -> Executor:
            threads = session.threads
            if engine == "local":
                return LocalExecutor(workers or 1, threads, limits)
            made = RayExecutor(address, workers, threads, gpus or 0.0, cpus=cpus_per_worker, limits=limits)
            stack.callback(made.close)
            fewer = f" ({workers} were asked for, and no more fit)" if made.workers < (workers or 0) else ""
            reporter.note(f"--engine ray: {made.workers} workers{fewer}, {counted(threads, 'thread')} each")
            return made

        session.executor = executor if spreads else None
        results = Results(_records(session, entries, rerun, on_costs))
        if timings == "each" and isinstance(cluster := executor(), RayExecutor):
            time_on_each(session, entries, cluster, sizes, rerun)
        return results


def _records(
    session: Session, entries: Sequence[Entry], rerun: str, on_costs: Callable[[Sequence[Result]], object]
) -> list[Result]:
    """Count the costs of all models first, then run those that run on the images."""
    # By their places: seeds of one recipe share a label.
    found: dict[int, Result] = {}
    here = [place for place, entry in enumerate(entries) if session.counts_here(entry)]
    due = any(session.is_due(entry, rerun) for entry in entries)
    with session.reporter.progress("counting costs", len(here)) as advance:
        for place in here:
            if due or not entries[place].evaluate:
                found[place] = session.costs_of(entries[place], rerun)
            advance()
    if due and len(here) == len(entries):
        on_costs(list(found.values()))
    rest = {place: entry for place, entry in enumerate(entries) if entry.evaluate or place not in found}
    plan = [(entry.label, session.expected_seconds(entry)) for entry in rest.values()]
    with session.reporter.steps(plan) as finished:
        for place, entry in rest.items():
            begin = time.monotonic()
            found[place] = session.result_of(entry, rerun)
            finished(f"{_outcome(found[place])}, {time.monotonic() - begin:.0f} s")
    return [found[place] for place in range(len(entries))]


def _outcome(record: Result) -> str:
    """Return a few words about a record: its first score and its time, or why there are none."""
    if record.status != "ok":
        return record.status
    texts = []
    scores = [id for id, one in record.measurements.items() if one.kind == "score"]
    for id in (*scores[:1], "latency_ms"):
        one = record.measurements.get(id)
        if one is not None and one.value is not None:
            style = style_of(id, one.unit, is_score=one.kind == "score")
            texts.append(f"{style.title.replace('time', 'a pass')} {style.show(one.value)} {style.unit}".strip())
    return ", ".join([*texts, f"{record.n} images"] if record.n else ["costs"])
