"""Records as pandas frames: shape, types, names, and the warnings that the tables have."""

from __future__ import annotations

import functools
import io
import json
import keyword
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark import load_results
from benchmark.leaderboard.columns import columns_of
from benchmark.leaderboard.exporting import as_csv, as_json
from benchmark.leaderboard.notebook import Results
from benchmark.leaderboard.rows import rows_of
from benchmark.results.journal import Journal
from benchmark.results.store import read_folders
from benchmark.types import Result
from tests.documents import block_with
from tests.page_records import HOSTILE, measurement, record, write_records
from tests.sample_records import make_record
from zoo import UserError

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "leaderboards" / "results"
FORMS = [(form, level) for form in ("tidy", "wide") for level in ("record", "image")]


@functools.cache
def committed(form: str = "tidy", level: str = "record") -> pd.DataFrame:
    """Return the frame of the committed records, made once."""
    return load_results(COMMITTED, form, level=level)


def test_a_tidy_frame_has_a_row_for_each_measurement() -> None:
    records = read_folders([COMMITTED])
    frame = committed()
    expected = [
        (row.result.key, id, one.value, one.unit) for row in rows_of(records) for id, one in row.measurements.items()
    ]
    found = frame[["key", "measurement", "value", "unit"]].astype(object)
    found = found.where(found.notna(), None)
    assert list(found.itertuples(index=False, name=None)) == expected
    assert list(frame.index) == list(range(len(frame)))


def test_a_wide_frame_has_a_row_for_each_record_and_the_numbers_of_the_tables() -> None:
    rows = rows_of(read_folders([COMMITTED]))
    frame = committed("wide")
    assert [*frame.key] == [row.result.key for row in rows]
    assert [*frame.row_name] == [row.name for row in rows]
    names = {id: name for name, id in frame.attrs["measurements"].items()}
    assert (names["psnr[rgb]"], names["latency_ms@12mp"]) == ("psnr_rgb", "latency_ms_12mp")
    for column in columns_of(rows, names):
        for row, value in zip(rows, frame[names[column.id]]):
            one = row.measurements.get(column.id)
            missing = one is None or one.value is None
            assert pd.isna(value) if missing else column.show(value) == column.show(float(one.value))
    assert (frame.attrs["units"]["psnr_rgb"], frame.attrs["units"]["macs"]) == ("dB", "MAC")
    assert frame.attrs["definitions"]["params"] == "number of parameters, shared ones once, without buffers"


@pytest.mark.parametrize(("form", "level"), FORMS)
def test_types_and_names_of_columns(form, level) -> None:
    frame = committed(form, level)
    assert len(frame)
    assert not [name for name, kind in frame.dtypes.items() if kind == np.dtype(object)]
    assert frame.columns.is_unique
    for name in frame:
        assert name.isidentifier()
        assert not keyword.iskeyword(name)
        assert not hasattr(pd.DataFrame, name)
        cells = frame[name].dropna().astype(object)
        assert not any(isinstance(cell, (list, tuple, dict, set)) for cell in cells)
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    expected = {"model": "string", "num_images": "Int64", "standin": "bool", "evidence": "category", "threads": "Int64"}
    expected |= {"created": "datetime64[us, UTC]", "channels_last": "bool", "seconds": "float64", "status": "category"}
    expected |= {"value": "float64", "comparable": "bool"} if form == "tidy" else {"psnr_rgb": "float64"}
    assert {name: kinds[name] for name in expected} == expected
    if (form, level) == ("wide", "record"):
        assert (kinds["macs"], kinds["peak_rss_bytes_12mp"], kinds["latency_ms_low"]) == ("Int64", "Int64", "float64")


@pytest.mark.parametrize(("form", "level"), FORMS)
def test_an_empty_folder_gives_an_empty_frame_with_the_same_columns(tmp_path, form, level) -> None:
    full, empty = committed(form, level), load_results(tmp_path, form, level=level)
    assert len(empty) == 0
    measured = {*full.attrs.get("measurements", ())}
    ends = {f"{name}_{end}" for name in measured for end in ("low", "high")}
    # A column of measurements or of an option is there if a record has it.
    assert [*empty] == [name for name in full if name not in measured | ends and not name.startswith("option_")]
    same = [name for name in empty if str(full[name].dtype) != "category"]
    assert [*empty[same].dtypes] == [*full[same].dtypes]
    (tmp_path / "results.jsonl").touch()
    assert load_results(tmp_path, form, level=level).shape == empty.shape


def test_records_may_be_given_in_several_ways(tmp_path) -> None:
    one = record("unet", 30.0)
    file = write_records(tmp_path / "out" / "results.jsonl", [one])
    both = [load_results(given).drop(columns="source") for given in (file, str(file.parent), one, [one], iter([file]))]
    for frame in both:
        pd.testing.assert_frame_equal(frame, both[0])
    assert len(load_results([file, record("vdn")], "wide")) == 2


def test_failed_records_are_kept(tmp_path) -> None:
    failed = make_record("pynet", status="oom", error="needs 40 GiB")
    partly = record("awnet_4ch", status="timeout", error="too slow")
    for form in ("tidy", "wide"):
        frame = load_results([failed, partly, record("unet", 30.0)], form)
        mine = frame[frame.model == "pynet"]
        assert (len(mine), mine.status.item(), mine.error.item()) == (1, "oom", "needs 40 GiB")
        assert set(frame.status) == {"oom", "timeout", "ok"}
        assert {*frame.status.cat.categories} == {"ok", "oom", "error", "timeout"}
    tidy = load_results([failed])
    assert (tidy.measurement.isna().item(), np.isnan(tidy.value.item()), tidy.comparable.item()) == (True, True, False)


def test_edited_records_are_flagged_and_reported(tmp_path) -> None:
    file = write_records(tmp_path / "results.jsonl", [record("unet", 30.0), record("vdn", 31.0)])
    file.write_text(file.read_text().replace("31.0", "39.0"))
    with pytest.warns(UserWarning, match="record 2: vdn on zrr-standin was edited by hand"):
        frame = load_results(tmp_path, "wide")
    assert dict(zip(frame.model, frame.edited)) == {"unet": False, "vdn": True}
    assert "psnr_rgb" in frame.not_comparable[frame.edited].item()
    assert frame.not_comparable[~frame.edited].item() == ""
    assert "not as it was written" in frame.remarks[frame.edited].item()


def test_what_may_not_be_compared_is_marked() -> None:
    disturbed = measurement(12.0, "timing", False, "ms", tainted=("load 3.1",), q1=11.0, q3=13.0, n=9)
    partial = measurement(5, "count", False, "MAC", remark="incomplete: fft is not counted")
    few = record("few", 30.0, num_scenes=2)
    frame = load_results([record("unet", 30.0, more={"latency_ms": disturbed, "macs": partial}), few])
    by_id = frame[frame.model == "unet"].set_index("measurement")
    assert by_id.comparable.to_dict() == {"flops@12mp": True, "psnr[rgb]": True, "latency_ms": False, "macs": False}
    assert by_id.remark["latency_ms"] == "load 3.1"
    assert by_id.remark.isna()["psnr[rgb]"]
    assert not frame[(frame.model == "few") & (frame.kind == "score")].comparable.any()
    wide = load_results([record("unet", 30.0, more={"latency_ms": disturbed, "macs": partial})], "wide")
    assert wide.not_comparable.item() == "macs, latency_ms"


def test_a_value_of_an_older_definition_is_not_comparable() -> None:
    old = record("old", more={"mine": measurement(1.0, "score", True, version=1)}, evidence="trained", num_scenes=12)
    new = record("new", more={"mine": measurement(2.0, "score", True, version=2)}, evidence="trained", num_scenes=12)
    frame = load_results([old, new], "wide").set_index("model")
    assert frame.not_comparable.to_dict() == {"old": "mine", "new": ""}


def test_conflicts_are_flagged_and_older_records_are_there_on_request() -> None:
    one = record("unet", 30.0, created="2026-01-01T00:00:00+00:00")
    other = record("unet", 31.0, created="2026-01-02T00:00:00+00:00")
    with pytest.warns(UserWarning, match=r"psnr\[rgb\] is 31, and 30 in an older record"):
        frame = load_results([one, other], "wide")
    assert ([*frame.psnr_rgb], [*frame.conflicting]) == ([31.0], [True])
    with pytest.warns(UserWarning, match="older record"):
        frame = load_results([other, one], "wide", newest=False)
    assert [*frame.psnr_rgb] == [30.0, 31.0]
    assert frame.created.is_monotonic_increasing


def test_options_are_a_label_and_columns() -> None:
    options = [{"width": 16, "form": "deploy"}, {"width": 8, "depths": [2, 4]}, {}]
    records = [make_record(f"net{n}", spec={"options": own}, options=own) for n, own in enumerate(options)]
    frame = load_results(records, "wide").sort_values("model")
    assert [*frame.options] == ["form=deploy,width=16", "depths=[2, 4],width=8", ""]
    assert frame.option_width.dtype == "Int64"
    assert [*frame.option_width.fillna(-1)] == [16, 8, -1]
    assert [*frame.option_depths.fillna("")] == ["", "2,4", ""]
    mixed = load_results([make_record("a", spec={"options": {"x": value}}) for value in (1, True, "no", 2.5)], "wide")
    assert sorted(mixed.option_x) == ["1", "2.5", "True", "no"]


def test_seeds_recipes_and_evidence_tell_runs_apart() -> None:
    runs = [
        record(
            "unet",
            30.0 + seed,
            key=f"key{seed}",
            weights={"name": "w", "sha256": "ab", "recipe": "r", "seed": str(seed)},
        )
        for seed in range(2)
    ]
    floor = record("bilinear", 20.0, evidence="parameter-free", data={"standin": False})
    frame = load_results([*runs, floor], "wide").sort_values("psnr_rgb", ascending=False).iloc[[1, 0, 2]]
    assert [*frame.training_seed.fillna(-1)] == [0, 1, -1]
    assert [*frame.recipe.fillna("")] == ["r", "r", ""]
    assert [*frame.evidence] == ["trained", "trained", "parameter-free"]
    assert [*frame.standin] == [True, True, False]
    assert frame.groupby("model").psnr_rgb.mean().to_dict() == {"bilinear": 20.0, "unet": 30.5}


def test_names_of_columns_never_collide() -> None:
    ids = ["psnr[rgb]", "psnr(rgb)", "model", "2afc", "lambda", "size", "[]", "psnr_rgb_low", "größe"]
    more = {id: measurement(float(n), "score", True, ci_low=0.0, ci_high=1.0) for n, id in enumerate(ids)}
    frame = load_results([record("unet", more=more, num_scenes=9)], "wide")
    names = {id: name for name, id in frame.attrs["measurements"].items()}
    assert (names["model"], names["2afc"], names["lambda"]) == ("model_2", "_2afc", "lambda_")
    assert frame.columns.is_unique
    assert all(name.isidentifier() and not hasattr(pd.DataFrame, name) for name in frame)
    assert {id: frame[names[id]].item() for id in ids} == {id: float(n) for n, id in enumerate(ids)}


def test_numbers_of_any_size_and_dates_of_any_form() -> None:
    more = {"macs": measurement(10**30, "count", False), "psnr[rgb]": measurement(float("inf"), "score", True, n_inf=1)}
    huge = record("huge", more=more, created="yesterday")
    frame = load_results([huge, record("unet", created="2026-01-02")], "wide")
    assert frame.macs.tolist()[:1] == [1e30]
    assert np.isinf(frame.psnr_rgb[0])
    assert dict(zip(frame.model, frame.created)) == {"huge": pd.NaT, "unet": pd.Timestamp("2026-01-02", tz="UTC")}


def with_scores(folder: Path, model: str = "unet", values: tuple[float, ...] = (29.0, 31.0)) -> Result:
    """Write a record whose scores per image lie beside it; return the record."""
    mean = sum(values) / len(values)
    one = record(model, mean, n=len(values), num_scenes=len(values))
    one = one.model_copy(update={"per_image": f"scores/{one.key}.jsonl"})
    write_records(folder / "results.jsonl", [one])
    journal = Journal(folder / "scores" / f"{one.key}.jsonl")
    (folder / "scores").mkdir(exist_ok=True)
    for number, value in enumerate(values):
        journal.append(str(number), {"psnr[rgb]": value}, scene=f"scene{number}")
    return one


def test_scores_per_image(tmp_path) -> None:
    one = with_scores(tmp_path)
    frame = load_results(tmp_path, level="image")
    assert [*frame[["image", "scene", "measurement", "value", "unit"]].itertuples(index=False, name=None)] == [
        ("0", "scene0", "psnr[rgb]", 29.0, "dB"),
        ("1", "scene1", "psnr[rgb]", 31.0, "dB"),
    ]
    assert not {"ci_low", "q1", "n"} & {*frame}
    wide = load_results(tmp_path, "wide", level="image")
    assert (wide.psnr_rgb.mean(), wide.attrs["units"]) == (one.measurements["psnr[rgb]"].value, {"psnr_rgb": "dB"})
    assert len(load_results(record("no scores", 30.0), level="image")) == 0


def test_changed_scores_are_not_there_and_reported(tmp_path) -> None:
    one = with_scores(tmp_path)
    scores = tmp_path / "scores" / f"{one.key}.jsonl"
    scores.write_text(scores.read_text().replace("29.0", "39.0"))
    with pytest.warns(UserWarning, match="the scores per image of unet on zrr-standin are not used"):
        assert len(load_results(tmp_path, level="image")) == 0


def test_text_from_records_is_made_visible() -> None:
    text = "\x1b[31mred\n\ud800\u202e"
    frame = load_results(make_record("unet", status="error", error=text, notes=[text]))
    assert frame.error.item() == "\\x1b[31mred\\x0a\\ud800\\u202e"
    assert "\x1b" not in as_csv(frame)
    assert json.loads(as_json(frame))["rows"][0]["error"] == frame.error.item()


def test_wrong_calls_are_one_clear_line(tmp_path) -> None:
    for call, words in (
        (lambda: load_results(tmp_path / "none"), "none; expected a folder that `run` wrote"),
        (lambda: load_results(COMMITTED, "long"), "form='long': expected tidy or wide"),
        (lambda: load_results(COMMITTED, level="pixel"), "level='pixel': expected record or image"),
        (lambda: load_results([3]), "expected a folder or file of records, or records, got 3"),
        (lambda: load_results(None), "expected a folder or file of records, or records, got None"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="no record_schema"):
        load_results(tmp_path)


def test_many_records_take_one_pass(tmp_path) -> None:
    frame = load_results([record(f"net{n}", 20 + n / 100, latency=1.0) for n in range(300)])
    assert len(frame) == 900
    assert frame.definition.cat.categories.tolist() == ["a count", "a score", "a timing"]


def test_pandas_is_imported_only_where_it_is_used() -> None:
    code = (
        "import sys, benchmark, zoo, benchmark.leaderboard.pages, benchmark.running.run\n"
        "assert 'pandas' not in sys.modules\n"
        "benchmark.load_results\n"
        "assert 'pandas' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


# ---- export


def test_csv_and_json_hold_the_frame(zoo_bench, tmp_path) -> None:
    outcome = zoo_bench("results", "export", COMMITTED, "--csv", tmp_path / "t.csv", "--json", tmp_path / "t.json")
    assert outcome.code == 0, outcome.err
    frame = committed()
    # pandas reads long files in parts, and warns where a column is empty in one of them.
    table = pd.read_csv(tmp_path / "t.csv", low_memory=False)
    assert [*table] == [*frame]
    np.testing.assert_allclose(table.value, frame.value, rtol=1e-12)
    assert [*table.measurement] == [*frame.measurement]
    document = json.loads((tmp_path / "t.json").read_text())
    assert [row["value"] for row in document["rows"]] == [None if np.isnan(value) else value for value in frame.value]
    assert document["rows"][0]["created"] == frame.created[0].isoformat()


@pytest.mark.thorough
def test_one_format_can_be_printed_and_nothing_else_is(zoo_bench, tmp_path) -> None:
    wide = committed("wide")
    outcome = zoo_bench("results", "export", COMMITTED, "--form", "wide", "--json", "--csv", tmp_path / "t.csv")
    document = json.loads(outcome.out)
    assert (outcome.code, len(document["rows"]), document["units"]) == (0, len(wide), wide.attrs["units"])
    assert "wrote" in outcome.err
    outcome = zoo_bench("results", "export", COMMITTED, "--csv", "--level", "image")
    assert outcome.out == as_csv(committed(level="image"))


def test_infinite_and_missing_values_are_strict_json() -> None:
    frame = load_results(record("unet", more={"psnr[rgb]": measurement(float("inf"), "score", True)}))
    (row,) = (row for row in json.loads(as_json(frame))["rows"] if row["measurement"] == "psnr[rgb]")
    assert (row["value"], row["ci_low"], row["recipe"], row["standin"]) == ("inf", None, None, True)


def test_csv_cells_are_never_formulas() -> None:
    frame = load_results(record("unet", status="error", error="=cmd|' /C calc'!A0"))
    assert pd.read_csv(io.StringIO(as_csv(frame))).error[0] == "'=cmd|' /C calc'!A0"


def test_parquet_keeps_types_and_units_or_says_what_is_missing(zoo_bench, tmp_path) -> None:
    file = tmp_path / "new" / "t.parquet"
    outcome = zoo_bench("results", "export", COMMITTED, "--form", "wide", "--parquet", file)
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        assert outcome.code == 2
        assert outcome.err.startswith("zoo-bench: --parquet: Parquet needs pyarrow, which is not installed; run: pip")
        return
    assert outcome.code == 0, outcome.err
    frame, read = committed("wide"), pd.read_parquet(file)
    assert read.attrs == frame.attrs
    pd.testing.assert_frame_equal(read, frame, check_dtype=False, check_categorical=False)
    assert (str(read.macs.dtype), str(read.created.dtype)) == ("Int64", "datetime64[us, UTC]")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "expected --csv [FILE], --json [FILE] or --parquet FILE"),
        (["--csv", "/proc/none/t.csv"], "--csv /proc/none/t.csv: cannot be written"),
        (["--json", "/dev/full"], "--json /dev/full: cannot be written (No space left on device)"),
        (["--csv", "."], "--csv .: expected a file to write, as table.csv"),
        (["--csv", "results.jsonl"], "--csv results.jsonl: expected a file to write"),
        (["--csv", "-", "--json", "-"], "name a file for each format"),
        (["--parquet", "-"], "name a file for each format"),
        (["--csv", "--level", "pixel"], "'pixel' is not one of"),
    ],
)
def test_what_cannot_be_exported_is_one_line(zoo_bench, arguments, words) -> None:
    outcome = zoo_bench("results", "export", COMMITTED, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


def test_exports_never_replace_records(zoo_bench, tmp_path) -> None:
    one = with_scores(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "link.csv").symlink_to(tmp_path / "results.jsonl")
    for name in ("link.csv", f"scores/{one.key}.jsonl", "results.jsonl"):
        assert zoo_bench("results", "export", tmp_path, "--csv", tmp_path / name).code == 2
    assert all(path.read_bytes() == content for path, content in before.items())


def test_exporting_reports_edited_records(zoo_bench, tmp_path) -> None:
    file = write_records(tmp_path / "results.jsonl", [record("vdn", 31.0)])
    file.write_text(file.read_text().replace("31.0", "39.0"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = zoo_bench("results", "export", file, "--csv")
    assert (outcome.code, "warning: " in outcome.err, ",True,False,flops@12mp," in outcome.out) == (0, True, True)


# ---- notebooks


def test_a_record_shows_itself_as_a_table() -> None:
    one = record("unet", 30.123, latency=2.0, notes=["a note"])
    text = one._repr_html_()
    assert text.count("<tr>") == 1 + len(one.measurements)
    assert "<td>psnr[rgb]</td><td>30.12</td><td>dB</td>" in text
    assert "<td>FLOPs, 12 MP</td><td>1.00</td><td>T</td>" in text
    assert "unet: zrr-standin test, 12 images, trained, ok" in text
    assert "<p>a note</p>" in text


def test_records_show_themselves_as_the_tables() -> None:
    text = Results(read_folders([COMMITTED]))._repr_html_()
    assert "zrr-standin, test: 12 images" in text
    assert "<code>psnr[rgb]</code> [dB] ↑" in text
    assert "<td>hyperunet_8_8_64</td><td>● trained (standin_raw2rgb), 1 run</td><td>25.33</td>" in text
    assert Results()._repr_html_() == "<p>no records</p>"


def test_notebooks_get_no_markup_from_records() -> None:
    hostile = record(HOSTILE, 30.0, notes=[HOSTILE], dataset="zrr-standin", options={HOSTILE: HOSTILE})
    hostile = hostile.model_copy(update={"error": f"\x1b{HOSTILE}", "status": "error"})
    for text in (hostile._repr_html_(), Results([hostile])._repr_html_()):
        assert "<img" not in text
        assert "<script" not in text
        assert "&lt;img src=x onerror=alert(1)&gt;" in text
        assert "\x1b" not in text


# ---- the example of the docs


def test_the_example_of_the_page_draws_its_plot(tmp_path, monkeypatch) -> None:
    example = block_with("load_results", "docs/reference/python.md")
    assert len([line for line in example.splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    count = measurement(10**9, "count", False, "MAC")
    untrained = record("vdn", more={"macs": count})
    write_records(Path("zoo-bench-out/results.jsonl"), [record("unet", 30.0, more={"macs": count}), untrained])
    exec(compile(example, "python.md", "exec"), {})
    assert Path("quality.png").stat().st_size > 1000
