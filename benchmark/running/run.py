"""Run models on a dataset and make one record for each: the work of ``zoo-bench run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark.conditions import Conditions, Limits
from benchmark.leaderboard.notebook import Results
from benchmark.metrics import chosen_ids
from benchmark.opening import dataset_card, given_options, open_with_root
from benchmark.placing import check
from benchmark.reporting import Reporter
from benchmark.results.store import Store
from benchmark.running.session import SIZES, Session
from benchmark.selection import Weights, select, with_shipped_weights
from zoo.errors import UserError, nearest

RERUN = ("never", "failed", "always")
NO_SIZE = "none"


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
    name: str | None = None,
    task: str | None = None,
    sizes: Sequence[str] = tuple(SIZES),
    conditions: Conditions | None = None,
    limits: Limits | None = None,
    exact: bool = False,
    skip_bad: bool = False,
    partial: bool = False,
    out: str | Path = "zoo-bench-out",
    rerun: str = "failed",
    seed: int = 0,
    isolate: bool = True,
    reporter: Reporter | None = None,
) -> Results:
    """Evaluate and profile models on a dataset and return one record per model; the same as ``zoo-bench run``.

    Records that ``out`` already holds are returned and not measured again, unless ``rerun`` asks for it ("never";
    "failed": only records that failed; "always"). Each model runs in child processes under ``conditions`` and
    ``limits`` (seconds: for its images, and for its timing at each size). A model that fails, crashes or runs out of
    memory becomes a record, and the others go on. With ``isolate`` False, and for models that are registered only in
    this process, everything runs in this process. Time is measured at ``sizes`` ("dataset", "1mpix", "12mp", or only
    "none"). ``exact`` scores by the metrics' float64 definitions instead of one float32 pass; ``skip_bad`` leaves out
    images with damaged files; ``partial`` uses the existing part of a dataset, which the records state ("12 of 1204").
    ``metrics`` are ids, or "protocol" and "error" for the default ones and those that say what the error is made of.
    ``weights`` gives a file by MODEL or MODEL@LABEL (each label makes a record), or by MODEL a list of files that
    differ only in the seed of one recipe. ``pairs`` is the rule by which the datasets "pairs" and "raw-pairs" find
    partners, ``scene`` a regular expression that finds the scene in the names of inputs (default: each pair is one),
    ``name`` what records call the data: "pairs (name)". For pairs, ``white`` is the count that is 1 in files of 16 bits
    (default 65535) and ``task`` the task of the models (default denoise_rgb). For raw-pairs, ``cfa``, ``black`` and
    ``white`` describe the mosaics, and ``raw_size`` ("512x512") files without a header. Raises UserError for bad input
    before anything is measured.
    """
    reporter, conditions, limits = reporter or Reporter(), conditions or Conditions(), limits or Limits()
    if rerun not in RERUN:
        raise UserError(f"--rerun {rerun}: expected one of {', '.join(RERUN)}.")
    if limit is not None and limit < 1:
        raise UserError(f"--limit {limit}: expected at least 1 image.")
    if list(sizes) == [NO_SIZE]:
        sizes = ()
    for size in sizes:
        if size not in SIZES:
            raise UserError(f"--sizes: no size '{size}'{nearest(size, [*SIZES, NO_SIZE])}")
    check(conditions, limits)
    named = given_options(
        rule=pairs, cfa=cfa, black=black, white=white, raw_size=raw_size, scene=scene, name=name, task=task
    )
    card = dataset_card(dataset, **named)
    patterns = [name for name in models.split(",") if name] if isinstance(models, str) else models
    entries = select(card, models=patterns, weights=weights or {}, options=options or {})
    ids = chosen_ids(metrics, card.protocol.metrics)
    store = Store(out)
    data, root = open_with_root(card, data_root, split, reporter, skip_bad=skip_bad, partial=partial)
    if data.provenance.get("standin") and not data.provenance.get("from_photographs"):
        entries = [with_shipped_weights(entry) for entry in entries]
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
        sizes=sizes,
        conditions=conditions,
        limits=limits,
        exact=exact,
        skip_bad=skip_bad,
        partial=partial,
        isolate=isolate,
    )
    for entry in entries:
        entry.tell_notes(reporter)
    if any(entry.evaluate for entry in entries):
        session.screen()
    return Results(session.result_of(entry, rerun) for entry in entries)
