"""Time the models of a run on every machine of a Ray cluster, one machine after the other, each alone.

A table never mixes machines: what a machine measured is a folder of records of its own, in ``machines/`` beside the
records of the run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from benchmark.host.executors import Node, RayExecutor
from benchmark.record import Record
from benchmark.reporting import Note
from benchmark.results.store import Store
from benchmark.running.session import Session
from benchmark.running.timed import Timed, ToTime, time_on_node
from benchmark.selection import Entry
from benchmark.types import Result
from zoo.errors import UserError

FOLDER = "machines"


class _NotTimed(Exception):  # noqa: N818
    """A machine was lost, or could not measure a model."""


def time_on_each(
    session: Session, entries: Sequence[Entry], executor: RayExecutor, sizes: Sequence[str], rerun: str
) -> list[Result]:
    """Return the records of costs and times of all machines; what a lost machine did not measure is told, and missing.

    ``session`` is that of the run, ``sizes`` are the names of the sizes to time. Records that a machine's folder holds
    are not measured again, unless ``rerun`` asks for it. Raises UserError if a machine has other code.
    """
    found: list[Result] = []
    for node in executor.nodes():
        session.reporter.note(f"timing on {node.name}, alone, with {session.threads} of its {node.cpus:g} cores")
        store = Store(session.store.root / FOLDER / file_name(node.name))
        own = replace(session, sizes=sizes, store=store, timer=partial(_timed, executor, node, session))
        for entry in entries:
            try:
                found += [own.result_of(replace(entry, evaluate=False), rerun)] if entry.evaluate else []
            except _NotTimed as error:
                session.reporter.note(f"{entry.label}: not timed on {node.name}: {error}; the same command tries again")
    return found


def file_name(machine: str) -> str:
    """Return the name of a machine's folder; the machine's own may hold what no file's name may."""
    return re.sub(r"[^\w.-]", "_", machine).strip(".") or "_"


def _timed(executor: RayExecutor, node: Node, session: Session, work: ToTime) -> Timed:
    def listen(_: ToTime, event: Record) -> None:
        if isinstance(event, Note):
            session.reporter.note(event.text)

    ((_, outcome),) = executor.run(time_on_node, [work], listen, work.weights or "", node=node)
    if outcome.exception in ("UserError", "DiskError"):
        raise UserError(f"--timings each: {node.name}: {outcome.error}")
    if outcome.status != "ok":
        raise _NotTimed(outcome.error)
    timed: Timed = outcome.value
    return timed
