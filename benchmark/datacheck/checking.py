"""Check a dataset's folder: every file is read once, hashed and judged; memory does not grow with the dataset."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from benchmark.datacheck.inspection import VERSION, Facts, inspect_unit
from benchmark.datacheck.judging import Judge
from benchmark.datacheck.memory import Memory
from benchmark.datacheck.plans import CheckPlan, Problem, Unit, make_plan
from benchmark.opening import dataset_card, find_root, given_options, note_partial
from benchmark.replacing import refuse_inputs, replacing
from benchmark.reporting import Reporter
from benchmark.scoring.pipeline import default_workers
from benchmark.standin.cache import MARKER
from benchmark.standin.kinds import original_of
from benchmark.types import DatasetCard
from zoo.errors import UserError, printable

# Units of work per task: enough that the cost of passing them on is small compared with decoding.
_CHUNK = 8


def check_dataset(
    name: str,
    data_root: str | Path | None = None,
    *,
    pairs: str | None = None,
    cfa: str | None = None,
    black: float | None = None,
    white: float | None = None,
    raw_size: str | None = None,
    scene: str | None = None,
    partial: bool = False,
    manifest: Path | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Return the problems of a dataset's folder, as ``zoo-bench data check`` reports them.

    Keys: ``dataset``, ``root``, ``ok``, ``files``, ``bytes``, ``problems`` [{file, kind, what, expected}], ``remarks``
    (the same, for findings that may be correct), ``manifest_digest`` (sha256 of the lines ``<sha256>  <path>``, which
    are written to ``manifest``), ``remembered`` (files known from an earlier check, unchanged in size and time) and for
    RAW ``cfa`` and ``orientation`` votes; ``scenes`` is the number of scenes by split. ``pairs`` is the rule of the
    datasets ``pairs`` and ``raw-pairs``, ``cfa`` to ``raw_size`` say how their files are stored, ``scene`` is their
    rule for scenes. With ``partial`` missing pairs are not a problem, and ``parts`` gives the available part by split
    ({"test": "12 of 1204"}); half a pair is a problem. Raises UserError for an unknown dataset or folder.
    """
    reporter = reporter or Reporter()
    own = given_options(rule=pairs, cfa=cfa, black=black, white=white, raw_size=raw_size, scene=scene)
    card = dataset_card(original_of(name), **own)
    root = _find_root(card, data_root, reporter)
    plan = make_plan(card, root, partial=partial)
    files = (path for unit in plan.units for _, path in unit.files)
    refuse_inputs(f"--manifest {manifest}", [manifest], itertools.chain(files, [root / MARKER]))
    if partial:
        note_partial(card, plan.name, standin=plan.name != card.name, reporter=reporter)
    judge = Judge(plan, root)
    totals = _Totals(root)
    with _manifest(manifest) as lines, reporter.progress(f"checking {plan.name}", len(plan.units)) as advance:
        for unit, facts, remembered in facts_of(plan, root, workers):
            judge.take(unit, facts)
            totals.take(unit, facts, remembered, lines)
            advance()
    problems = [Problem(*map(printable, problem)) for problem in judge.finish()]
    if not plan.units and not problems:
        raise UserError(f"{plan.name}: no files of the dataset in {root}. Pass another --data-root.")
    document = {
        "dataset": plan.name,
        "root": printable(root),
        "ok": not problems,
        "files": totals.files,
        "bytes": totals.bytes,
        "remembered": totals.remembered,
        "scenes": plan.scenes,
        "problems": [problem._asdict() for problem in problems],
        "remarks": [Problem(*map(printable, remark))._asdict() for remark in judge.remarks],
        "manifest_digest": totals.digest.hexdigest(),
    }
    if plan.parts:
        document["parts"] = plan.parts
    if plan.cfa:
        document["cfa"] = {
            "expected": plan.cfa,
            "votes": dict(judge.phases),
            "pairs": judge.pairs,
            "others": judge.others,
        }
        document["orientation"] = {"votes": dict(judge.orientations)}
    return document


class _Totals:
    """Counts and the manifest's digest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = self.bytes = self.remembered = 0
        self.digest = sha256()

    def take(self, unit: Unit, facts: Facts, remembered: bool, lines: TextIO | None) -> None:
        """Count one unit."""
        for (_, path), found in zip(unit.files, facts["files"]):
            self.files += 1
            self.bytes += found.get("bytes", 0)
            self.remembered += remembered
            if "sha256" not in found:
                continue
            name = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            line = f"{found['sha256']}  {name.as_posix()}\n"
            self.digest.update(line.encode("utf-8", "surrogateescape"))
            if lines is not None:
                lines.write(line)


def facts_of(plan: CheckPlan, root: Path, workers: int | None) -> Iterator[tuple[Unit, Facts, bool]]:
    """Yield each unit with its facts, in order; facts are remembered, or measured in threads a few chunks ahead."""
    count = workers or default_workers()
    units = iter(plan.units)
    with closing(Memory(root, VERSION)) as memory, ThreadPoolExecutor(count, "zoo-bench") as pool:

        def start(chunk: Sequence[Unit]) -> tuple[list[_Job], Future[list[Facts]]]:
            jobs = [_Job(plan, unit, memory) for unit in chunk]
            return jobs, pool.submit(lambda: [inspect_unit(job.files) for job in jobs if job.known is None])

        started = map(start, iter(lambda: tuple(islice(units, _CHUNK)), ()))
        waiting = deque(islice(started, 2 * count))
        try:
            while waiting:
                waiting.extend(islice(started, 1))
                done, future = waiting.popleft()
                yield from _settle(done, future.result(), memory)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Job:
    """A unit with its remembered facts."""

    def __init__(self, plan: CheckPlan, unit: Unit, memory: Memory) -> None:
        self.unit = unit
        self.files = [(path, plan.rules[role]) for role, path in unit.files]
        # The role is part of the key: the same file is measured differently as a mosaic and as a picture.
        self.key = f"{plan.name} " + " ".join(f"{role} {printable(path)}" for role, path in unit.files)
        # The white level is part of the key too, because a user may try several, and so is the rest of the sensor.
        for _, rule in self.files:
            if rule is not None and rule.white is not None:
                self.key += f" {rule.sensor.text}" if rule.sensor else f" {rule.white:g}"
        self.state = memory.state([path for path, _ in self.files])
        self.known: Facts | None = memory.recall(self.key, self.state)


def _settle(jobs: Sequence[_Job], measured: Sequence[Facts], memory: Memory) -> Iterator[tuple[Unit, Facts, bool]]:
    new = iter(measured)
    for job in jobs:
        facts = job.known if job.known is not None else next(new)
        if job.known is None:
            memory.keep(job.key, job.state, facts)
        yield job.unit, facts, job.known is not None
    if measured:
        memory.commit()


def _find_root(card: DatasetCard, data_root: str | Path | None, reporter: Reporter) -> Path:
    """Return the folder to check: the given one, that of ZOO_BENCH_DATA, or the embedded stand-in (with a note)."""
    root = find_root(card, data_root, Reporter())
    if root is not None:
        return root
    if card.standin is None:
        raise UserError(f"{card.name}: no data; it has no embedded stand-in. Pass --data-root.")
    reporter.note(f"{card.name}: no --data-root given; checking the embedded stand-in.")
    return card.standin(reporter)


@contextmanager
def _manifest(path: Path | None) -> Iterator[TextIO | None]:
    """Open the manifest under a temporary name; it gets its own name when it is complete."""
    if path is None:
        yield None
        return
    utf8: dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
    with replacing(path, "--manifest") as partial, partial.open("w", **utf8) as lines:
        yield lines
