"""Several trainings of one network are one row, recipes are kept apart, and sweeps have pages of their own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.leaderboard.descent import largest_bump, members_of, verdict
from benchmark.leaderboard.differences import difference_of, run_spread
from benchmark.leaderboard.pages import pages, stale_tables, write_tables
from benchmark.leaderboard.pooling import pooled
from benchmark.leaderboard.rows import rows_of
from benchmark.leaderboard.runs import Spread, between_unequal, mean_measurements, spread_of, widened
from benchmark.leaderboard.tables import MACHINE, tables_by_page, tables_of
from benchmark.results.paired import Difference, mean_interval
from benchmark.results.store import Store, read_folders
from tests.sample_records import make_record, measurement, result

BASE = np.random.default_rng(0).normal(25, 4, 30)
RECIPE = {"recipe": "fair", "recipe_digest": "aaaa", "lr": "0.001", "step": "100", "data_digest": "d"}


def trained(model: str, seed: int, values: np.ndarray, folder: Path, *, weights=None, **more) -> None:
    """Store the record of one training with its scores per image."""
    store = Store(folder)
    spec = {"seed": seed, "weights_digest": f"{model}{seed}{weights}", "dataset_digest": "d", "evaluate": True}
    record = result(
        model,
        float(np.mean(values)),
        n=len(values),
        num_scenes=len(values),
        spec=spec,
        weights={"name": "w", "sha256": f"{seed}" * 8, "seed": str(seed), **RECIPE, **(weights or {})},
        **more,
    )
    journal = store.journal(record.key)
    for index, value in enumerate(values):
        journal.append(str(index), {"psnr[rgb]": float(value)}, scene=str(index))
    store.append(record.model_copy(update={"per_image": f"scores/{record.key}.jsonl"}))


def rows(folder: Path):
    return pooled(rows_of(Store(folder).results()))


def test_seeds_of_one_recipe_are_one_row_with_mean_spread_and_number(tmp_path) -> None:
    for seed, shift in enumerate((0.0, 0.3, 0.9)):
        trained("net", seed, BASE + shift, tmp_path)
    (row,) = rows(tmp_path)
    score = row.measurements["psnr[rgb]"]
    assert score.value == pytest.approx(BASE.mean() + 0.4)
    assert (score.num_runs, score.run_std) == (3, pytest.approx(np.std([0, 0.3, 0.9], ddof=1)))
    assert row.evidence.endswith("3 runs")
    # The interval holds scenes and runs: the two half-widths add as squares.
    scenes = mean_interval(BASE + 0.4, [str(i) for i in range(30)])
    between = stats.t.ppf(0.975, 2) * np.std([0, 0.3, 0.9], ddof=1) / math.sqrt(3)
    assert score.ci_high - score.value == pytest.approx(math.hypot(scenes.high - scenes.mean, between))
    (table, *_) = tables_by_page(Store(tmp_path).results())["zrr-standin"]
    assert len(table.rows) == 1
    assert "3 runs" in pages(Store(tmp_path).results())["zrr-standin.md"]


@pytest.mark.parametrize(
    "other",
    [
        {"weights": {"recipe_digest": "bbbb"}},
        {"weights": {"lr": "0.01"}},
        {"weights": {"step": "200"}},
        {"weights": {"data_digest": "e"}},
        {"weights": {"label": "mine"}},
        {"options": {"width": 4}},
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_never_pooled(tmp_path, other) -> None:
    trained("net", 0, BASE, tmp_path)
    trained("net", 1, BASE + 1, tmp_path, **other)
    assert [len(row.runs) for row in rows(tmp_path)] == ([1, 0] if "label" in other.get("weights", {}) else [1, 1])


def test_of_two_runs_with_one_seed_the_newer_counts(tmp_path) -> None:
    trained("net", 0, BASE, tmp_path, weights={"sha256": "old"})
    trained("net", 0, BASE + 2, tmp_path, weights={"sha256": "new"}, created="2026-02-01")
    trained("net", 1, BASE + 4, tmp_path)
    (row,) = rows(tmp_path)
    assert row.value("psnr[rgb]") == pytest.approx(BASE.mean() + 3)


def test_comparisons_include_the_spread_between_runs(tmp_path) -> None:
    """A difference that is clear over scenes is not, if the runs differ by more than it."""
    for seed, shift in enumerate((-1.0, 0.0, 1.0)):
        trained("first", seed, BASE + shift, tmp_path)
        trained("second", seed, BASE + 0.5 + shift, tmp_path)
    first, second = rows(tmp_path)
    spread = run_spread([first, second], "psnr[rgb]")
    assert spread == Spread(pytest.approx(1.0), 4)
    alone, both = (difference_of(first, second, "psnr[rgb]", one) for one in (None, spread))
    assert (alone.is_significant, both.is_significant) == (True, False)
    half = stats.t.ppf(0.975, 4) * math.sqrt(2 / 3)
    assert both.high - both.mean == pytest.approx(math.hypot(alone.high - alone.mean, half))
    (table, *_) = tables_by_page(Store(tmp_path).results())["zrr-standin"]
    assert table.ranks == ("1=", "1=")
    assert any("4 degrees of freedom" in note for note in table.notes)


@pytest.mark.parametrize(
    ("deviations", "runs"), [((1, 1), (3, 3)), ((0.05, 4), (3, 3)), ((0.05, 4), (3, 2)), ((0.2, 1), (3, 3))]
)
def test_networks_whose_trainings_differ_more_than_others_raise_no_false_alarms(deviations, runs) -> None:
    """With the spread pooled over both, a sixth to a quarter of equal networks differ where theirs is unequal."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(2000):
        sides = [rng.normal(0, deviation, number) for deviation, number in zip(deviations, runs)]
        half = between_unequal([(spread_of([side]), len(side)) for side in sides])
        alarms += abs(sides[0].mean() - sides[1].mean()) > half
    assert alarms / 2000 < 0.065


def test_an_interval_holds_no_value_that_the_metric_cannot_have(tmp_path) -> None:
    """Three trainings, of which one fails: the interval of the mean is wide, and would go beyond 1 and below 0."""
    scenes = {str(index): str(index) for index in range(10)}
    for id, values, limits in (
        ("ssim[gaussian11,rgb]", (0.9, 0.95, 0.2), (-1, 1)),
        ("ciede2000[rgb]", (0.5, 0.4, 9.0), (0, math.inf)),
        ("mse[rgb]@train", (0.01, 0.01, 0.5), (0, math.inf)),
        ("mine", (0.01, 0.01, 0.5), (-math.inf, math.inf)),
    ):
        runs = [{id: measurement(value, kind="score")} for value in values]
        scores = {image: {id: float(np.mean(values))} for image in scenes}
        one = mean_measurements(runs, scores, scenes)[id]
        assert limits[0] <= one.ci_low < one.value < one.ci_high <= limits[1]
        assert one.ci_low in limits or one.ci_high in limits or id == "mine"


def test_an_unstable_network_does_not_hide_that_others_differ(tmp_path) -> None:
    for seed, shift in enumerate((-4.0, 0.0, 4.0)):
        trained("good", seed, BASE + 3 + shift / 40, tmp_path)
        trained("bad", seed, BASE + shift / 40, tmp_path)
        trained("unstable", seed, BASE + 1 + shift, tmp_path)
    (table, *_) = tables_by_page(Store(tmp_path).results())["zrr-standin"]
    assert [row.result.model for row in table.rows] == ["good", "unstable", "bad"]
    assert table.ranks == ("1=", "1=", "3")


def test_a_floor_has_no_spread_and_one_run_takes_that_of_the_others() -> None:
    difference, spread = Difference(1.0, 0.5, 1.5, 30, 30), Spread(1.0, 4)
    assert widened(difference, spread, 0, 0) == difference
    assert widened(difference, None, 3, 1) == difference
    one, three = (widened(difference, spread, 0, runs) for runs in (1, 3))
    assert one.high > three.high > difference.high
    assert spread_of([[1.0], [2.0]]) is None
    assert spread_of([[1.0, 3.0], [7.0]]) == Spread(pytest.approx(math.sqrt(2)), 1)


def test_different_recipes_have_tables_of_their_own_with_the_floors_in_each(tmp_path) -> None:
    trained("first", 0, BASE, tmp_path)
    trained("second", 0, BASE + 1, tmp_path, weights={"recipe": "other", "recipe_digest": "bbbb"})
    store = Store(tmp_path)
    spec = {"dataset_digest": "d", "evaluate": True}
    for name, evidence in (("floor", "parameter-free"), ("mine", "weights-file")):
        store.append(result(name, 20.0, n=30, num_scenes=30, spec=spec, evidence=evidence))
    tables = [table for table in tables_by_page(store.results())["zrr-standin"] if table.kind == "quality"]
    assert [{row.name for row in table.rows} for table in tables] == [
        {"floor", "mine"},
        {"floor", "first"},
        {"floor", "second"},
    ]
    assert [table.title.rpartition(", ")[2] for table in tables[1:]] == ["trained by fair", "trained by other"]
    assert "trained once" in " ".join(tables[1].notes)


# --- pages of sweeps ----------------------------------------------------------------------------------------------


def sweep_record(folder: Path, name: str, family: str, seed: int, error: float, **more) -> None:
    about = {"name": name, "title": "A sweep", "page": "page", "recipe": "fair", "error": "mse", "vanished": 0.01}
    option, value, params, flops = (more.get(key) for key in ("option", "value", "params", "flops"))
    where = {"dataset": "zrr-standin", "split": "train", "count": 9, "images": 4, "part": None}
    training = {
        "steps": 100, "batch_size": 4, "lr": 0.001, "lr_rule": "the best of two", "trained_on": where,
        "sweep": {**about, "family": family, "option": option, "value": value},
        "search": [{"lr": 0.001, "score": 20.0, "chosen": True}, {"lr": 0.01, "score": None, "chosen": False}],
        "validation": [[50, {"psnr[rgb]": 19.0}], [100, {"psnr[rgb]": 20.0}]],
    }  # fmt: skip
    values = BASE - 10 * math.log10(error)
    options = {"family": family, "seed": seed, **({option: value} if option else {})}
    spec = {"options": {option: value} if option else {}, "seed": seed, "weights_digest": f"{family}{value}{seed}"}
    shape = [1, 4, 224, 224]
    count = {"kind": "count", "higher": False}
    record = result(
        family, float(np.mean(values)), n=30, num_scenes=30, options=options, spec={**spec, "evaluate": True}
    )
    measurements = {
        "psnr[rgb]": record.measurements["psnr[rgb]"],
        "mse[rgb]": measurement(error, higher=False),
        "mse[rgb]@train": measurement(error / 2, higher=False),
        "params": measurement(params or 1000, **count),
        "macs": measurement((flops or 2000) // 2, input_shape=shape, **count),
        "flops": measurement(flops or 2000, input_shape=shape, **count),
        "train_seconds": measurement(3600.0, kind="timing", unit="s"),
    }
    weights = {"name": "w", "sha256": f"{family}{seed}", "seed": str(seed), **RECIPE}
    record = record.model_copy(update={"measurements": measurements, "training": training, "weights": weights})
    journal = Store(folder).journal(record.key)
    for index, one in enumerate(values):
        journal.append(str(index), {"psnr[rgb]": float(one)}, scene=str(index))
    Store(folder).append(record.model_copy(update={"per_image": f"scores/{record.key}.jsonl"}))


def test_an_arena_has_a_page_with_plots_rates_and_curves(tmp_path) -> None:
    for family, error in (("one", 0.01), ("two", 0.02)):
        for seed in range(3):
            sweep_record(tmp_path / "results", "arena", family, seed, error * (1 + seed / 100))
    records = Store(tmp_path / "results").results()
    floor = result("floor", 20.0, n=30, num_scenes=30, spec={"dataset_digest": "digest"}, evidence="parameter-free")
    out = tmp_path / "out"
    files = {path.relative_to(out).as_posix() for path in write_tables([*records, floor], out)}
    assert files == {
        "page.md", "zrr-standin.md", "README.md",
        *(f"plots/arena_{what}.{kind}" for what in ("quality", "curves") for kind in ("png", "svg")),
    }  # fmt: skip
    page = (out / "page.md").read_text()
    for text in (
        "trained 2 networks in 6 trainings by one recipe, 100 steps of 4, on 9 images of zrr-standin train, with seeds"
        " 0, 1, 2",
        "6.0 hours, with 2 threads each",
        "the best of two",
        "trained by arena",
        "3 runs",
        "□ parameter-free",
        "**20.00**",
        "failed",
        "| network   |   after 50 steps |   after 100 steps |   gain at the end |",
        "+1.00 since 50",
    ):
        assert text in page, text
    assert "mse[rgb]@train" not in page
    assert "one" not in (out / "zrr-standin.md").read_text().split("|")
    assert stale_tables([*records, floor], out) == []
    (out / "plots" / "arena_curves.svg").unlink()
    assert [path.name for path in stale_tables([*records, floor], out)] == ["arena_curves.svg"]


@pytest.mark.parametrize(
    ("bump", "found"), [(0.0, "It never rises"), (0.05, "No second descent"), (3.0, "descends twice")]
)
def test_the_verdict_tells_a_second_descent_from_the_spread_of_the_seeds(tmp_path, bump, found) -> None:
    errors = (0.1, 0.05, 0.05 * (1 + bump), 0.04, 0.03)
    for place, error in enumerate(errors):
        for seed in range(3):
            noisy = error * (1 + 0.05 * (seed - 1))
            costs = {"params": 100 * 10**place, "flops": 4000 + place}
            sweep_record(tmp_path, "descent", "over", seed, noisy, option="hidden", value=2**place, **costs)
    for width in (1, 2):
        for seed in range(3):
            costs = {"params": 100 * width, "flops": 3000 * width}
            sweep_record(tmp_path, "descent", "plain", seed, 0.06 + 0.001 * seed, option="width", value=width, **costs)
    page = pages(Store(tmp_path).results())["page.md"]
    (over,) = (line for line in page.splitlines() if line.startswith("- over: "))
    assert found in over
    assert "hidden 16 (1,000,000 parameters)" in over
    assert "At 4e-06 GFLOPs over with hidden 16" in page
    assert "plain with width 2" in page
    assert "over-parametrisation wins" in page
    assert "plots/descent_error.png" in page


def test_a_bump_is_judged_by_the_smaller_of_rise_and_fall() -> None:
    def summary(*errors):
        return {"points": [point(place, error, seed) for place, error in enumerate(errors) for seed in range(2)]}

    def point(place, error, seed):
        value = error * (1 + 0.01 * seed)
        return {
            "family": "f", "option": "o", "value": place, "params": place, "flops": 1, "status": "ok",
            "test_error": value, "train_error": value,
        }  # fmt: skip

    members = members_of(summary(4.0, 1.0, 2.0, 1.9, 1.0))
    bump = largest_bump(members, members)
    assert (bump.valley.value, bump.peak.value, bump.last.value) == (1, 2, 4)
    assert (bump.rise, bump.fall) == (pytest.approx(2), pytest.approx(2))
    assert bump.is_found
    falling = members_of(summary(4.0, 2.0, 1.0))
    assert largest_bump(falling, falling) is None


def test_a_verdict_of_one_seed_says_so(tmp_path) -> None:
    points = [
        {
            "family": "f", "option": "o", "value": n, "params": 10**n, "flops": 10, "status": "ok", "test_error": error,
            "train_error": 0.1,
        }
        for n, error in enumerate((3.0, 1.0, 2.0, 0.5))
    ]  # fmt: skip
    (line,) = verdict({"points": points, "vanished": 0.01})
    assert "cannot be told from chance" in line
    assert "does not fall under 0.01" in line


def test_times_are_those_of_the_machine_that_measured_them(tmp_path) -> None:
    """A sweep's own records hold the time of the training, on other threads than the network is timed with."""
    for seed in range(2):
        sweep_record(tmp_path, "arena", "one", seed, 0.01 * (1 + seed))
    row = pooled(rows_of(read_folders([tmp_path])))[0]
    assert not row.is_timed
    apart = make_record(
        row.result.model,
        measurements={
            "latency_ms": measurement(7.0, kind="timing", higher=False, unit="ms", input_shape=[1, 4, 224, 224])
        },
        environment={"machine": "other", "cpu": "CPU other", "threads": 2},
    )
    timed = replace(row, timed=rows_of([apart])[0])
    assert timed.is_timed
    assert timed.machine.startswith("other/2/")
    (table, *_) = tables_of([timed])
    lines = [text for title, text in table.lead if title == MACHINE]
    assert len(lines) == 1
    assert lines[0].startswith("CPU other")
    assert not lines[0].startswith("A = ")
