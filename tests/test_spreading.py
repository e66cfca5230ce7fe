"""The images of a model among several workers: the records of one process, nothing twice, three tries."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark import run as evaluate
from benchmark.host.environment import code_of_tool
from benchmark.host.executors import RayExecutor
from benchmark.host.isolation import Outcome
from benchmark.record import Record
from benchmark.results.journal import Journal
from benchmark.results.store import Store
from benchmark.running.child import digest_of_ids, score_shard
from benchmark.running.messages import ImageScored, Same, Shard, Work
from benchmark.running.spreading import TRIES, spread
from tests.conftest import TINY
from zoo import UserError, get_card

ROOT = Path(__file__).parent.parent
IDS = [str(index) for index in range(20)]


def shard_of(**changes: Any) -> Shard:
    work = Work(
        model="tiny_free", options={}, weights=None, label="", seed=0, sizes={}, evaluate=True, dataset="tiny",
        dataset_options={}, root="/", split="test", count=20, metrics=["psnr[rgb]"], scoring="one-pass",
        skip_bad=False, partial=False, images="", leave_out={}, store="", key="KEY",
    )  # fmt: skip
    usual = {
        "work": work, "weights": None, "images": list(range(20)), "limit": None, "digest": "d",
        "same": Same(weights=None, code="c", tool="t", torch="2"),
    }  # fmt: skip
    return Shard(**{**usual, **changes})


class Scripted:
    """An executor of three workers whose part ``fails`` says how many of its images it scores, and how it ends."""

    workers, by = 3, ""

    def __init__(self, fails: Callable[[int, list[int]], tuple[int, Outcome] | None]) -> None:
        self.fails, self.scored, self.rounds = fails, Counter[int](), 0

    def run(self, call, parts, listen, weights=""):
        self.rounds += 1
        for part in reversed(parts):
            done, outcome = self.fails(self.rounds, part.images) or (len(part.images), Outcome("ok"))
            for index in part.images[:done]:
                self.scored[index] += 1
                scores = {"psnr[rgb]": 20.0 + index}
                listen(part, ImageScored(id=IDS[index], scores=scores, shift=None, scene="s", sigma=None, by=self.by))
            yield part, outcome


def spread_by(executor: Scripted, journal: Journal, seen: list[Record] | None = None) -> Outcome | None:
    events = [] if seen is None else seen
    return spread(shard_of(), IDS, journal, executor, seconds=1.0, on_event=events.append)  # type: ignore[arg-type]


def test_scores_that_arrive_together_are_written_together_and_all_of_them(tmp_path, monkeypatch) -> None:
    """One write to the disk costs more than a free network; an exception of the listener loses no scores."""
    journal, writes, append_all = Journal(tmp_path / "KEY.jsonl"), [], Journal.append_all

    def count(self: Journal, entries: list) -> None:
        writes.append(len(entries))
        append_all(self, entries)

    monkeypatch.setattr(Journal, "append_all", count)
    monkeypatch.setattr("benchmark.running.spreading.WRITE_SECONDS", 60.0)
    assert spread_by(Scripted(lambda number, images: None), journal) is None
    assert writes == [20]
    assert sorted(journal.read()) == sorted(IDS)

    stopped = Journal(tmp_path / "OTHER.jsonl", run="KEY")

    class Full(list):
        def append(self, event: Record) -> None:
            super().append(event)
            if len(self) == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        spread_by(Scripted(lambda number, images: None), stopped, Full())
    assert len(stopped.read()) == 5
    monkeypatch.setattr("benchmark.running.spreading.WRITE_SECONDS", 0.0)
    assert spread_by(Scripted(lambda number, images: None), stopped) is None
    assert writes == [20, 5] + [1] * 15


def test_every_image_is_scored_once_whatever_fails(tmp_path) -> None:
    lost = Outcome("error", error="Ray lost it")
    # Every part of the first two rounds dies behind its second image.
    executor, journal = (
        Scripted(lambda number, images: (2, lost) if number < 3 else None),
        Journal(tmp_path / "KEY.jsonl"),
    )
    seen: list[Record] = []
    assert spread_by(executor, journal, seen) is None
    assert executor.scored == Counter(range(20))
    assert journal.read() == {id: {"psnr[rgb]": 20.0 + int(id)} for id in IDS}
    assert set(journal.scenes().values()) == {"s"}
    assert next(event.text for event in seen if not isinstance(event, ImageScored)) == (
        "images 14 to 20: Ray lost it; what is left of them is tried again"
    )
    # What is there is not sent out again, except what was edited.
    journal.path.write_text(journal.path.read_text().replace("23.0", "24.5"))
    again = Scripted(lambda number, images: None)
    assert spread_by(again, journal) is None
    assert again.scored == Counter([3])


def test_workers_may_be_killed_as_often_as_the_work_advances(tmp_path) -> None:
    killed = Outcome("error", error="killed by SIGKILL")
    # Every part of ten rounds is killed behind its first image, and each time another image is the next.
    executor = Scripted(lambda number, images: (1, killed) if number <= 10 else None)
    assert spread_by(executor, Journal(tmp_path / "KEY.jsonl")) is None
    assert executor.scored == Counter(range(20))
    assert executor.rounds > TRIES


def test_the_third_failure_is_the_models_the_first_image_first(tmp_path) -> None:
    executor = Scripted(lambda number, images: (0, Outcome("oom", error=f"at {images[0]}")) if images[0] < 10 else None)
    outcome = spread_by(executor, Journal(tmp_path / "KEY.jsonl"))
    assert outcome == Outcome("oom", error="at 0")
    assert executor.rounds == TRIES


def test_a_mistake_of_the_user_is_not_tried_again(tmp_path) -> None:
    executor = Scripted(lambda number, images: (0, Outcome("error", error="no data", exception="UserError")))
    assert spread_by(executor, Journal(tmp_path / "KEY.jsonl")) == Outcome(
        "error", error="no data", exception="UserError"
    )
    assert executor.rounds == 1


def test_a_machine_with_other_code_or_data_is_refused_by_name(tiny) -> None:
    code = get_card("tiny_free").code_digest
    same = Same(weights=None, code=code, tool=code_of_tool(), torch=str(torch.__version__))
    work = shard_of().work.model_copy(update={"count": 4, "images": digest_of_ids(IDS[:4])})
    good = {"work": work, "images": [1, 3], "digest": tiny_digest(), "same": same}
    assert [(event.id, event.by) for event in scored_by(shard_of(**good))] == [("1", ""), ("3", "")]
    with pytest.raises(UserError, match="the content of the images in / is"):
        score_shard(shard_of(**{**good, "digest": "other"}))
    for name, text in (
        ("torch", "torch is"),
        ("tool", "the code of zoo-bench is"),
        ("code", "the code of tiny_free is"),
        ("weights", "the weights of tiny_free is None here and other where"),
    ):
        other = same.model_copy(update={name: "other"})
        with pytest.raises(UserError, match=text) as refused:
            score_shard(shard_of(**{**good, "same": other}))
        assert ("--mixed-nodes" in str(refused.value)) is (name != "weights")
        # With the flag a node of other code works, and says what differs; other weights never do.
        mixed = shard_of(**{**good, "same": other.model_copy(update={"mixed": True})})
        if name == "weights":
            with pytest.raises(UserError, match=text):
                score_shard(mixed)
        else:
            words = {
                "torch": f"torch {same.torch}",
                "tool": "other code of zoo-bench",
                "code": "other code of tiny_free",
            }
            assert {event.by for event in scored_by(mixed)} == {f"{socket.gethostname()}: {words[name]}"}


def scored_by(shard: Shard) -> list[ImageScored]:
    events: list[Record] = []
    score_shard(shard, events.append)
    return [event for event in events if isinstance(event, ImageScored)]


def tiny_digest() -> str:
    from benchmark.datasets import DATASETS

    return DATASETS.get("tiny").open(Path(), "test").digest()


def run(out: Path, *flags: str, models: str = "tiny_free,tiny_net", sizes: str = "none") -> dict[str, dict]:
    """Run in a process of its own; return the records by model, without times and environment."""
    weights = [] if "tiny_net" not in models else ["--metrics", "psnr[rgb]"]
    command = [
        sys.executable,
        "-m",
        "benchmark.cli",
        "--plugin",
        str(TINY),
        "run",
        "--dataset",
        "tiny",
        "--sizes",
        sizes,
    ]
    command += ["--models", models, "--threads", "1", "-o", str(out), *weights, *flags]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert "Traceback" not in done.stderr, done.stderr
    found = {}
    for record in Store(out).results():
        content = record.model_dump(mode="json")
        found[record.model] = {k: v for k, v in content.items() if k not in TIMES}
        found[record.model]["scores"] = sorted(Store(out).journal(record.key).read().items())
    return found


TIMES = ("created", "seconds", "phases", "environment")


@pytest.mark.thorough
def test_several_processes_give_the_records_of_one(tmp_path) -> None:
    one, many = run(tmp_path / "one"), run(tmp_path / "many", "--workers", "3")
    assert [len(record["scores"]) for record in one.values()] == [4, 4]
    assert json.dumps(one) == json.dumps(many)
    assert {p.name for p in (tmp_path / "one").rglob("*.jpg")} == {p.name for p in (tmp_path / "many").rglob("*.jpg")}


@pytest.mark.thorough
def test_a_record_names_the_machines_that_differ(tmp_path, monkeypatch, tiny) -> None:
    executor = Scripted(lambda number, images: None)
    executor.by = "b: torch 2.9.0"
    with monkeypatch.context() as patched:
        patched.setattr("benchmark.running.run.RayExecutor", lambda *args, **how: executor)
        executor.close = lambda: None  # type: ignore[attr-defined]
        # The scores are journalled, and the record is completed in a process of its own.
        (record,) = evaluate("tiny", models="tiny_free", metrics=["psnr[rgb]"], sizes=["none"], out=tmp_path,
                             engine="ray", mixed_nodes=True)  # fmt: skip
    assert "4 of 4 images scored on b: torch 2.9.0" in record.notes
    journal = Store(tmp_path).journal(record.key)
    assert journal.others() == dict.fromkeys(IDS[:4], "b: torch 2.9.0")


@pytest.mark.thorough
def test_a_model_that_kills_its_workers_is_a_record(tmp_path) -> None:
    records = run(tmp_path, "--workers", "2", "--set", "tiny_broken.how=kill", models="tiny_broken,tiny_free")
    assert (records["tiny_broken"]["status"], records["tiny_broken"]["error"]) == ("error", "killed by SIGKILL")
    assert (records["tiny_free"]["status"], records["tiny_free"]["n"]) == ("ok", 4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--address", "auto"], "--address auto: only --engine ray has an address"),
        (["--gpus", "1"], "only --engine ray reserves them"),
        (["--mixed-nodes"], "--mixed-nodes: only --engine ray has nodes"),
        (["--timings", "each"], "--timings each: only --engine ray has several machines"),
        (["--workers", "2", "--tile", "auto"], "--tile: tiles depend on the memory of one machine"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "--address 127.0.0.1:1: no Ray cluster answers ("),
    ],
)
def test_flags_that_cannot_be_kept_are_refused(tiny, zoo_bench, tmp_path, flags: list[str], message: str) -> None:
    pytest.importorskip("ray")
    outcome = zoo_bench("run", "--dataset", "tiny", "--models", "tiny_free", "-o", tmp_path, "--sizes", "none", *flags)
    assert outcome.code == 2
    assert message in outcome.err.splitlines()[-1]


@pytest.mark.slow
def test_ray_gives_the_records_of_one_process(tmp_path) -> None:
    pytest.importorskip("ray")
    one, ray = run(tmp_path / "one"), run(tmp_path / "ray", "--engine", "ray", "--workers", "2")
    assert len(one) == 2
    assert json.dumps(one) == json.dumps(ray)


@pytest.mark.slow
def test_each_machine_of_a_cluster_measures_time_under_its_own_name(tmp_path) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        for name in ("a", "b b"):
            cluster.add_node(num_cpus=1, node_name=name)
        flags = ["--engine", "ray", "--address", cluster.address, "--timings", "each"]
        records = run(tmp_path, *flags, models="tiny_free", sizes="dataset")
    finally:
        cluster.shutdown()
    assert "latency_ms" not in records["tiny_free"]["measurements"]
    for name in ("a", "b_b"):
        (record,) = Store(tmp_path / "machines" / name).results()
        assert (record.model, record.status, record.n) == ("tiny_free", "ok", 0)
        assert record.measurements["latency_ms"].threads == 1
        assert record.timings
        assert (tmp_path / "machines" / name / record.timings).is_file()
        assert list((tmp_path / "machines" / name / "leaderboards").glob("*.md"))


@pytest.mark.slow
def test_a_worker_that_fits_nowhere_is_refused() -> None:
    pytest.importorskip("ray")
    with pytest.raises(UserError, match=r"no node has 999 cores for a worker \(the largest has \d+ cores\)"):
        RayExecutor(None, None, 999)
