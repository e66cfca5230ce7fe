"""What a run says while it works: one bar for all models, passes of timings, a line per model in a pipe."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from benchmark import run
from benchmark.cli import console
from benchmark.cli import steps as steps_module
from benchmark.cli.console import ConsoleReporter
from benchmark.cli.steps import Steps
from benchmark.conditions import Limits
from benchmark.reporting import Reporter

QUICK = {"isolate": False, "limits": Limits(seconds=0.4)}


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(steps_module.time, "monotonic", lambda: now[0])
    return now


class Listener(Reporter):
    def __init__(self) -> None:
        self.plan, self.labels = [], []

    def steps(self, plan):
        self.plan = list(plan)
        return super().steps(plan)

    def progress(self, label, total):
        self.labels.append(label)
        return super().progress(label, total)


def test_the_time_left_follows_the_speed_so_far(clock) -> None:
    steps = Steps([("small", 10.0), ("large", 30.0)])
    assert (steps.where, steps.doing, steps.left, steps.part) == ("model 1 of 2", "small", "0:40", 0.0)
    clock[0] = 20.0
    line = steps.finish("psnr 20 dB")
    # A quarter of the expected work took 20 s.
    assert line == "1/2 small: psnr 20 dB; about 1:00 left"
    assert (steps.where, steps.doing, steps.part) == ("model 2 of 2", "large", 0.25)
    clock[0] = 80.0
    assert steps.finish("ok") == "2/2 large: ok"
    assert (steps.part, steps.left) == (1.0, "0:00")


def test_bars_move_the_step_and_never_back(clock) -> None:
    steps = Steps([("net", 10.0)])
    parts = []
    with steps.bar("net", 4) as image:
        for _ in range(4):
            with steps.bar("tiles", 2) as tile:
                tile()
                assert steps.doing == "tiles 1/2"
            image()
            parts.append(steps.part)
        assert steps.doing == "net 4/4"
    with steps.bar("net: time, pass", 0) as timed:
        for _ in range(50):
            timed()
            parts.append(steps.part)
        assert steps.doing == "net: time, pass 50"
    assert parts == sorted(parts)
    assert 0 < parts[0] < parts[-1] < 1


def test_a_run_tells_its_models_and_shows_costs_first(tiny, tmp_path) -> None:
    listener, said = Listener(), []
    order = listener.labels

    def on_costs(records):
        said.extend(records)
        order.append("costs shown")

    results = run("tiny", models="tiny_free,tiny_net", out=tmp_path, reporter=listener, on_costs=on_costs, **QUICK)
    evaluated = [result.name for result in results if result.n]
    assert [label for label, _ in listener.plan] == evaluated
    assert all(seconds > 0 for _, seconds in listener.plan)
    assert [one.name for one in said] == [one.name for one in results]
    # They hold costs alone, the same as the records.
    for early, final in zip(said, results):
        costs = {id: one for id, one in final.measurements.items() if one.kind == "count"}
        assert costs == early.measurements
        assert costs
    assert order.index("costs shown") < order.index(f"{evaluated[0]}: time, pass")
    assert any(label.endswith("time, pass") for label in order)
    # Nothing is left to run: nothing is shown early.
    said.clear()
    run("tiny", models="tiny_free,tiny_net", out=tmp_path, on_costs=on_costs, **QUICK)
    assert said == []


@pytest.mark.thorough
def test_only_the_dataset_size_is_timed_unless_asked(tiny, tmp_path) -> None:
    def timed(**how):
        (result,) = run("tiny", models="tiny_free", out=tmp_path, **QUICK, **how)
        return {id for id in result.measurements if id.startswith("latency_ms")}

    assert timed() == {"latency_ms"}
    assert timed(sizes=["all"]) == {"latency_ms", "latency_ms@1mpix", "latency_ms@12mp"}


def test_a_pipe_gets_one_line_per_model(capsys) -> None:
    reporter = ConsoleReporter()
    with reporter.steps([("net", 1.0), ("other", 1.0)]) as finished:
        with reporter.progress("net", 1000) as advance:
            for _ in range(1000):
                advance()
        finished("psnr[rgb] 20.00 dB, 1000 images, 3 s")
        finished("costs, 0 s")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "1/2 net: psnr[rgb] 20.00 dB, 1000 images, 3 s",
        "2/2 other: costs, 0 s",
    ]


def test_long_work_says_that_it_goes_on_in_a_pipe(capsys, monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    with ConsoleReporter().progress("net", 100) as advance:
        for _ in range(100):
            now[0] += 1.0
            advance()
    assert capsys.readouterr().err.splitlines() == ["net: 30/100", "net: 60/100", "net: 90/100"]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_bar_fits_a_terminal(width) -> None:
    reporter, stream = ConsoleReporter(), io.StringIO()
    reporter.console = Console(file=stream, force_terminal=True, width=width, legacy_windows=False)
    with reporter.steps([("a_network_with_quite_a_long_name[width=64]", 1.0)] * 25) as finished:
        with reporter.progress("a_network_with_quite_a_long_name[width=64]: time, pass", 0) as advance:
            advance()
            plain = reporter._steps
            assert plain is not None
            assert "pass 1" in plain.doing
        finished("ok")
    assert reporter._steps is None
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()))
    assert max(map(len, lines)) <= width
    assert any(line.startswith("model 1 of 25") and line.rstrip().endswith("left") for line in lines)


@pytest.mark.thorough
def test_the_verb_prints_costs_once_and_what_to_do_next(zoo_bench, tmp_path) -> None:
    command = ["run", "--dataset", "zrr", "--models", "bilinear,unet_w8", "--limit", "1", "--sizes", "none"]
    first = zoo_bench(*command, "--out", str(tmp_path / "out"))
    assert first.code == 0, first.err
    titles = [line for line in first.out.splitlines() if line.startswith("zrr-standin")]
    assert titles[0] == "zrr-standin: costs"
    assert titles.count("zrr-standin: costs") == 1
    assert len(titles) == 2
    assert "next       zoo-bench leaderboard --results" in first.out
    assert "--sizes all" in first.out
    assert [line[:4] for line in first.err.splitlines() if line[:2] in ("1/", "2/")] == ["1/2 ", "2/2 "]
    # What was measured before is printed in the usual order; JSON has no tables at all.
    again = zoo_bench(*command, "--out", str(tmp_path / "out"))
    assert [line for line in again.out.splitlines() if line.startswith("zrr-standin")] == titles[::-1]
    as_json = zoo_bench(*command, "--out", str(tmp_path / "json"), "--json")
    assert len(json.loads(as_json.out)["results"]) == 2
