"""Runs in child processes: models that crash, leave, or take too much become records, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark import run
from benchmark.conditions import Conditions, Limits
from benchmark.reporting import Reporter
from benchmark.results.store import Store
from tests.conftest import TINY
from zoo import register_model
from zoo.card import MODELS

QUICK: dict[str, Any] = {"conditions": Conditions(threads=1), "limits": Limits(seconds=10.0)}
pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.thorough
def test_a_record_has_time_and_memory_of_a_process_of_its_own(tmp_path) -> None:
    (result,) = run("tiny", models="tiny_net", out=tmp_path, **QUICK, sizes=["dataset", "12mp"])
    assert (result.status, result.n) == ("ok", 4)
    ids = {"latency_ms", "relative_latency", "ms_per_mpix", "ceiling_share", "peak_rss_bytes"}
    assert ids | {f"{id}@12mp" for id in ids} <= set(result.measurements)
    assert "latency_ms@1mpix" not in result.measurements
    assert result.measurements["macs@1mpix"].input_shape == [1, 4, 512, 512]
    latency = result.measurements["latency_ms@12mp"]
    assert latency.input_shape == [1, 4, 64, 96]
    assert "in a process of its own" in latency.definition
    samples = json.loads((tmp_path / result.timings).read_text())
    assert len(samples["@12mp"]["latency_ms"]) == latency.n
    assert result.environment.threads == 1


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("crash", "error", "killed by SIGSEGV"),
        ("kill", "error", "killed by SIGKILL"),
        ("leave", "error", "the process ended with status 3"),
        ("crash_when_traced", "error", "killed by SIGSEGV"),
        ("hoard", "oom", ""),
        ("sleep", "timeout", "stopped after the time limit of 8 s"),
    ],
)
def test_a_model_that_ends_its_process_is_a_record(tmp_path, how: str, status: str, message: str) -> None:
    limits = Limits(seconds=8.0 if how == "sleep" else 20.0, memory_bytes=3 << 29)
    options = {"tiny_broken.how": how}
    (result,) = run(
        "tiny",
        models="tiny_broken",
        options=options,
        out=tmp_path,
        limits=limits,
        conditions=Conditions(threads=1),
        sizes=["dataset"],
    )
    assert result.status == status
    assert message in result.error
    # What was counted before the end is kept.
    assert how == "crash_when_traced" or result.measurements["params"].value == 60
    assert [record.status for record in Store(tmp_path).results()] == [status]


class Notes(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, message: str) -> None:
        self.lines.append(message)


def test_a_model_of_this_process_only_runs_here_and_that_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(MODELS, "_items", dict(MODELS._items))
    notes = Notes()

    def tiny_local():
        """Return a network that no child process knows."""
        return MODELS.get("tiny_free").build()

    register_model(task="raw2rgb")(tiny_local)
    (result,) = run("tiny", models="tiny_local", out=tmp_path, **QUICK, sizes=["dataset"], reporter=notes)
    assert result.status == "ok"
    assert any("tiny_local: registered in this process only, so it runs here" in line for line in notes.lines)
    assert "in the tool's own process" in result.measurements["latency_ms"].definition


def test_a_model_whose_code_is_in_no_file_is_never_taken_for_an_earlier_one(tmp_path, monkeypatch) -> None:
    keys = []
    for _ in range(2):
        monkeypatch.setattr(MODELS, "_items", {k: v for k, v in MODELS._items.items() if k != "tiny_typed"})
        namespace = {"MODELS": MODELS, "register_model": register_model, "__name__": __name__}
        exec("def tiny_typed(): return MODELS.get('tiny_free').build()", namespace)
        register_model(task="raw2rgb")(namespace["tiny_typed"])
        notes = Notes()
        (result,) = run("tiny", models="tiny_typed", out=tmp_path, sizes=["none"], isolate=False, reporter=notes)
        assert any("tiny_typed: its code is in no file" in line for line in notes.lines)
        keys.append(result.key)
    assert keys[0] != keys[1]


@pytest.mark.thorough
def test_limits_and_conditions_reach_the_command_line(zoo_bench, tmp_path) -> None:
    suite = Path(tmp_path / "suite.yaml")
    text = "dataset: tiny\nmodels: [tiny_free]\nlimit: 1\nprecision: bf16\nmemory_limit: 4GiB\nsizes: [dataset]\n"
    suite.write_text(text)
    done = zoo_bench(
        *("--plugin", TINY, "run", "--suite", suite, "--out", tmp_path / "out", "--json"),
        *("--threads", 1, "--time-limit", 120, "--channels-last", "--exact"),
    )
    (record,) = json.loads(done.out)["results"]
    spec = record["spec"]
    assert (spec["precision"], spec["channels_last"], spec["threads"], spec["scoring"]) == ("bf16", True, 1, "float64")
    assert {"q1", "q3", "n", "threads"} <= set(record["measurements"]["latency_ms"])
    assert "cpu, bf16, channels last" in record["measurements"]["latency_ms"]["definition"]
    assert "one float32 pass" not in record["measurements"]["psnr[rgb]"]["definition"]
