"""The HTML page's document: what stands in which table, what is escaped, where pictures are missing."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.cli import cli
from benchmark.htmlpage import gallery as gallery_module
from benchmark.htmlpage.data import Document, document
from benchmark.htmlpage.page import json_in_html, render
from benchmark.htmlpage.tables import Distinct, table_document
from benchmark.imaging.pictures import (
    CAPTION,
    GAP,
    HEADER,
    INDEX,
    LONGEST_SIDE,
    TILE,
    VIEWS,
    Row,
    save_pictures,
    save_sheet,
)
from benchmark.leaderboard.pooling import pooled
from benchmark.leaderboard.rows import rows_of
from benchmark.leaderboard.tables import tables_of as leaderboard_tables
from benchmark.results.store import read_folders
from benchmark.types import Result
from tests.page_records import HOSTILE, measurement, record, write_records
from tests.sample_records import result, under
from tests.test_runs import BASE, sweep_record, trained
from zoo.errors import UserError

RESULTS = Path(__file__).parent.parent / "leaderboards" / "results"


def document_of(tmp_path: Path, *records: Result, gallery: int = 0) -> Document:
    return document(read_folders([write_records(tmp_path / "results.jsonl", records)]), gallery=gallery)


def tables_of(content: dict) -> dict[tuple[str, str, str], list[str]]:
    """Return the names of the rows by dataset, kind of data and kind of table."""
    return {
        (data["name"], data["kind"], table["kind"]): [row["name"] for row in table["rows"]]
        for data in content["datasets"]
        for table in data["tables"]
    }


def cell(content: dict, id: str, row: int = 0) -> list:
    (table,) = [t for data in content["datasets"] for t in data["tables"]]
    index = [column["id"] for column in table["columns"]].index(id)
    return table["rows"][row]["cells"][index]


class Scripts(HTMLParser):
    """Collects what a browser takes as scripts, and every address in an attribute."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.addresses: list[str] = []
        self.policy = ""
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data) -> None:
        if self._inside:
            self.scripts[-1] += data

    def handle_endtag(self, tag) -> None:
        self._inside = False


def test_stand_in_and_real_data_quality_and_costs_never_share_a_table(tmp_path) -> None:
    content = document_of(
        tmp_path, record("a", 20.0), record("b"), record("a", 30.0, data={"standin": False}), record("c", 31.0, data={})
    ).content
    assert tables_of(content) == {
        ("zrr", "real", "quality"): ["a", "c"],
        ("zrr-standin", "standin", "quality"): ["a"],
        ("zrr-standin", "standin", "costs"): ["b"],
    }
    assert "say nothing about the real dataset" in content["datasets"][1]["note"]


def test_a_name_does_not_make_a_stand_in_real(tmp_path) -> None:
    content = document_of(
        tmp_path, record("a", 20.0, dataset="zrr"), record("b", 30.0, data={"standin": False})
    ).content
    assert tables_of(content) == {("zrr", "real", "quality"): ["b"], ("zrr", "standin", "quality"): ["a"]}


def test_untrained_rows_show_no_score_even_where_a_record_has_one(tmp_path) -> None:
    content = document_of(tmp_path, record("a", 20.0, evidence="untrained")).content
    assert tables_of(content) == {("zrr-standin", "standin", "costs"): ["a"]}
    (table,) = content["datasets"][0]["tables"]
    assert "psnr[rgb]" not in [column["id"] for column in table["columns"]]


def test_published_figures_stand_in_a_table_of_their_own(tmp_path) -> None:
    content = document_of(tmp_path, record("a", 20.0), record("b", 30.0, evidence="published")).content
    assert tables_of(content) == {
        ("zrr-standin", "standin", "quality"): ["a"],
        ("zrr-standin", "standin", "published"): ["b"],
    }


def test_what_cannot_be_compared_is_in_two_tables_whose_titles_say_why(tmp_path) -> None:
    other = record("b", 30.0, more={"psnr[rgb]": measurement(30.0, "score", True, "dB", version=2)})
    (data,) = document_of(tmp_path, record("a", 20.0), other).content["datasets"]
    common = "Quality: test, 12 images, zrr-v1, 12 scenes, psnr[rgb]"
    assert [table["title"] for table in data["tables"]] == [f"{common} v1", f"{common} v2"]


def test_a_model_with_scores_is_not_listed_among_costs_again(tmp_path) -> None:
    failed = record("a", options={"width": 2}, status="oom", error="out of memory")
    content = document_of(tmp_path, record("a", 20.0), record("a"), failed).content
    assert tables_of(content)["zrr-standin", "standin", "costs"] == ["a[width=2]"]
    assert [r["error"] for r in content["records"]] == [None, "out of memory"]


def test_cells_keep_the_full_number_and_what_stands_beside_it(tmp_path) -> None:
    remark = measurement(None, "timing", False, "ms", remark="not run: needs 9 GiB")
    content = document_of(
        tmp_path, record("a", math.inf, flops=1_234_567_890_123, latency=12.3456, more={"latency_ms@12mp": remark})
    ).content
    assert cell(content, "flops@12mp") == [1_234_567_890_123, "1.23", 0]
    assert cell(content, "psnr[rgb]")[:2] == ["inf", "∞"]
    value, text, _, beside = cell(content, "latency_ms")
    assert (value, text, beside["spread"]) == (12.3456, "12.3", "11.1–13.6")
    assert cell(content, "latency_ms@12mp") == [None, "–", 0, {"remark": "not run: needs 9 GiB"}]


def test_columns_say_which_way_is_better_and_in_what_unit(tmp_path) -> None:
    content = document_of(tmp_path, record("a", 20.0, latency=5.0)).content
    columns = {column["id"]: column for column in content["datasets"][0]["tables"][0]["columns"]}
    assert [columns[id]["higher"] for id in ("psnr[rgb]", "flops@12mp", "latency_ms", "n")] == [
        True,
        False,
        False,
        None,
    ]
    assert [columns[id]["unit"] for id in ("psnr[rgb]", "flops@12mp", "latency_ms")] == ["dB", "T", "ms"]
    assert columns["flops@12mp"]["divisor"] == 1e12


def test_times_of_two_machines_have_two_contexts_and_counts_one(tmp_path) -> None:
    content = document_of(
        tmp_path, record("a", 20.0, latency=5.0), record("b", 21.0, latency=6.0, machine="m2")
    ).content
    assert [cell(content, "latency_ms", row)[2] for row in (0, 1)] == [0, 1]
    assert [cell(content, "flops@12mp", row)[2] for row in (0, 1)] == [0, 0]


def test_the_newest_record_of_a_key_counts(tmp_path) -> None:
    content = document_of(tmp_path, record("a", 20.0), record("a", 21.0)).content
    assert cell(content, "psnr[rgb]")[0] == 21.0
    assert [(r["file"], r["number"]) for r in content["records"]] == [("results.jsonl", 2)]


def test_no_records_are_an_error_that_says_what_to_do(tmp_path) -> None:
    with pytest.raises(UserError, match=r"no \*\.jsonl in .* expected a folder that `zoo-bench run --out` wrote"):
        read_folders([tmp_path])
    with pytest.raises(UserError, match="no records"):
        document_of(tmp_path)


@pytest.mark.parametrize("text", [HOSTILE, "</SCRIPT >", "<!--<script>", "a\u2028b", "ü‡\\u003c", '"'])
def test_json_in_html_cannot_leave_its_element_and_says_the_same(text: str) -> None:
    encoded = json_in_html({"name": text})
    assert not re.search("[<>&\u2028]", encoded)
    assert json.loads(encoded) == {"name": text}


def test_the_page_is_one_file_whose_policy_knows_its_scripts_alone(tmp_path) -> None:
    text = render(document_of(tmp_path, record(HOSTILE, 20.0, error=HOSTILE, notes=[HOSTILE])))
    found = Scripts(text)
    data, *scripts = found.scripts
    assert json.loads(data)["datasets"][0]["tables"][0]["rows"][0]["name"] == HOSTILE
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-(.*?)'", found.policy) == digests
    assert "default-src 'none'" in found.policy
    assert HOSTILE not in text
    outside = [address for address in found.addresses if not address.startswith("#")]
    assert outside == ["https://plotly.com/javascript/"]  # a link to follow by hand


def test_characters_that_nobody_sees_are_shown(tmp_path) -> None:
    text = render(document_of(tmp_path, record("a\u202eb\x1b[2J", 20.0, notes=["c\u200bd"])))
    row = json.loads(Scripts(text).scripts[0])["datasets"][0]["tables"][0]["rows"][0]
    assert row["name"] == r"a\u202eb\x1b[2J"
    assert "\u200b" not in Scripts(text).scripts[0]


def test_a_picture_behind_a_link_is_not_shown(tmp_path) -> None:
    one = with_pictures(tmp_path / "run")
    picture = tmp_path / "run" / one.gallery / "0_input.jpg"
    picture.rename(tmp_path / "private.jpg")
    picture.symlink_to(tmp_path / "private.jpg")
    done = document_of(tmp_path / "run", one, gallery=1)
    assert "0_input.jpg is a link out of the folder" in done.without_pictures[0][1]


def test_the_same_records_give_the_same_file(tmp_path) -> None:
    records = [record("a", 20.0, latency=3.0), record("b", 21.0), record("c")]
    first = render(document_of(tmp_path / "first", *records))
    assert render(document_of(tmp_path / "second", *records)) == first
    assert str(tmp_path) not in first


def test_every_command_of_the_committed_records_is_one_that_the_tool_takes() -> None:
    content = document(read_folders([RESULTS])).content
    lines = [line for r in content["records"] for line in r["commands"] if not line.startswith("git")]
    assert len(lines) == len(content["records"])
    for line in lines:
        program, verb, *arguments = shlex.split(line.replace("\\\n", " "))
        assert program == "zoo-bench"
        cli.commands[verb].make_context(verb, arguments)


def test_commands_name_options_limits_and_weights(tmp_path) -> None:
    weights = {"name": "my file.safetensors", "sha256": "ab" * 32}
    one = record("a", 20.0, options={"widths": [2, 3]}, data={"standin": False}, weights=weights, latency=3.0)
    changed = under(one.spec, precision="bf16").model_copy(update={"limit": 7, "seed": 3})
    (shown,) = document_of(tmp_path, one.model_copy(update={"spec": changed})).content["records"]
    commit, command = shown["commands"]
    assert commit == "git checkout 0123456789abcdef"
    words = shlex.split(command.replace("\\\n", " "))
    pairs = set(itertools.pairwise(words))
    assert words[:3] == ["zoo-bench", "--seed", "3"]
    assert {("--set", "a.widths=2,3"), ("--limit", "7"), ("--precision", "bf16"), ("--sizes", "dataset")} <= pairs
    assert {("--weights", "a=my file.safetensors"), ("--data-root", "DIR"), ("--dataset", "zrr")} <= pairs
    assert "recognised by its sha256" in shown["remark"]


def test_the_command_of_pairs_names_their_rules(tmp_path) -> None:
    data = {"standin": False, "rule": "*_a.* -> *_b.*", "scene": "^([a-z]+)_", "white": 1023.0}
    (shown,) = document_of(tmp_path, record("a", 20.0, data=data)).content["records"]
    words = shlex.split(shown["commands"][-1].replace("\\\n", " "))
    expected = {("--pairs", "*_a.* -> *_b.*"), ("--scene", "^([a-z]+)_"), ("--white", "1023.0")}
    assert expected <= set(itertools.pairwise(words))


def test_a_point_of_a_sweep_is_repeated_by_its_sweep(tmp_path) -> None:
    point = record("a", 20.0, notes=["sweep double_descent_toy, recipe x"]).model_copy(update={"options": {"seed": 1}})
    (shown,) = document_of(tmp_path, point).content["records"]
    assert shown["commands"][-1] == "zoo-bench sweep double_descent_toy"


def test_a_row_of_several_runs_names_each_of_them(tmp_path) -> None:
    for seed in range(3):
        sweep_record(tmp_path, "arena", "one", seed, 0.01 * (1 + seed))
    (table,) = (table for one in document(read_folders([tmp_path])).content["datasets"] for table in one["tables"])
    (shown,) = document(read_folders([tmp_path])).content["records"]
    assert [run["seed"] for run in shown["runs"]] == ["0", "1", "2"]
    assert [run["sha256"] for run in shown["runs"]] == ["one0", "one1", "one2"]
    assert [run["record"] for run in shown["runs"]] == [f"results.jsonl, record {number}" for number in (1, 2, 3)]
    assert shown["commands"][-1] == "zoo-bench sweep arena"
    assert shown["remark"].startswith("3 points of a sweep")
    scores = [run["scores"]["psnr[rgb]"] for run in shown["runs"]]
    (place,) = (index for index, column in enumerate(table["columns"]) if column["id"] == "psnr[rgb]")
    value, *_, beside = table["rows"][0]["cells"][place]
    assert value == pytest.approx(sum(scores) / 3)
    assert (beside["num_runs"], beside["run_std"]) == (3, pytest.approx(np.std(scores, ddof=1)))


def test_trainings_without_a_sweep_are_repeated_one_by_one(tmp_path) -> None:
    for seed in range(2):
        trained("net", seed, BASE + seed, tmp_path, weights={"name": f"seed{seed}.safetensors"})
    (shown,) = document(read_folders([tmp_path])).content["records"]
    _, *lines = shown["commands"]
    assert ["net=seed0.safetensors" in lines[0], "net=seed1.safetensors" in lines[1]] == [True, True]


def test_times_measured_apart_are_those_of_their_own_machine(tmp_path) -> None:
    for seed in range(2):
        sweep_record(tmp_path, "arena", "one", seed, 0.01)
    timed = result("one", None, machine="other", spec={"evaluate": False})
    latency = measurement(7.0, "timing", False, "ms", input_shape=[1, 4, 224, 224])
    row = pooled(rows_of(read_folders([tmp_path])))[0]
    apart = rows_of([timed.model_copy(update={"measurements": {"latency_ms": latency}})])[0]
    (table, *_) = leaderboard_tables([replace(row, timed=apart)])
    shown = table_document(table, "title", {0: 0}, Distinct())
    machines = {column["id"]: column["contexts"][0]["machine"] for column in shown["columns"] if column["contexts"]}
    assert machines["latency_ms"].startswith("CPU other")
    assert machines["psnr[rgb]"] == ""


# Pictures


def pictures(folder: Path, count: int = 3, *, seed: int = 0, size: tuple[int, int] = (20, 30)) -> None:
    draw = np.random.default_rng(seed)
    target = np.linspace(0, 1, size[0] * size[1] * 3).reshape(*size, 3)
    rows = []
    for number in range(count):
        output = (target + draw.normal(0, 0.1, target.shape)).clip(0, 1)
        rows.append(
            Row("", target[::2, ::2], output, target, id=f"image {number}", scores={"psnr[rgb]": 20.0 + number})
        )
    save_pictures(folder, rows)


def with_pictures(
    tmp_path: Path, model: str = "a", psnr: float = 20.0, *, size: tuple[int, int] = (20, 30), **fields
) -> Result:
    folder = f"images/{model}_0123"
    pictures(tmp_path / folder, seed=len(model), size=size)
    return record(model, psnr, gallery=folder, **fields)


def test_separate_pictures_are_small_and_listed(tmp_path) -> None:
    pictures(tmp_path, 1, size=(LONGEST_SIDE * 2, 40))
    (entry,) = json.loads((tmp_path / INDEX).read_text())["images"]
    assert (entry["id"], entry["scores"], entry["size"]) == ("image 0", {"psnr[rgb]": 20.0}, [LONGEST_SIDE * 2, 40])
    for view in VIEWS:
        with Image.open(tmp_path / entry["files"][view]) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) == LONGEST_SIDE
    files = [*entry["files"].values(), *entry["crop"]["files"].values()]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([INDEX, *files])


def test_large_pictures_have_a_crop_where_the_error_is_largest(tmp_path) -> None:
    height, width = LONGEST_SIDE + 400, LONGEST_SIDE + 200
    target = np.full((height, width, 3), 0.5)
    output = target.copy()
    output[-10:, -10:] = 1.0
    save_pictures(tmp_path, [Row("", target[::2, ::2], output, target, id="large", scores={"psnr[rgb]": 20.0})])
    (entry,) = json.loads((tmp_path / INDEX).read_text())["images"]
    crop = entry["crop"]
    assert (crop["at"], crop["size"]) == ([200, 400], [LONGEST_SIDE, LONGEST_SIDE])
    with Image.open(tmp_path / crop["files"]["output"]) as picture:
        pixels = np.asarray(picture.convert("L"))
    # It is cut, not shrunk: the bright corner has its ten pixels.
    assert pixels.shape == (LONGEST_SIDE, LONGEST_SIDE)
    assert (pixels[-1] > 200).sum() == pytest.approx(10, abs=1)
    with Image.open(tmp_path / crop["files"]["input"]) as picture:
        assert picture.size == (LONGEST_SIDE, LONGEST_SIDE)
    # The page lists it beside the whole picture, and the limit counts images.
    one = with_pictures(tmp_path / "run", size=(height, width))
    (shown,) = document_of(tmp_path / "run", one, gallery=1).content["records"]
    assert next(image["id"] for image in shown["pictures"]) == "image 0"
    assert len(shown["pictures"]) == 2
    (tmp_path / INDEX).replace(tmp_path / "run" / one.gallery / INDEX)
    for file in tmp_path.glob("0_*.jpg"):
        file.replace(tmp_path / "run" / one.gallery / file.name)
    (shown,) = document_of(tmp_path / "run", one, gallery=1).content["records"]
    assert [(image["id"], image["size"]) for image in shown["pictures"]] == [
        ("large", [height, width]),
        ("large: 1:1 at 200, 400", [LONGEST_SIDE, LONGEST_SIDE]),
    ]


def test_a_sheet_names_the_scale_of_the_error_and_cuts_large_pictures_at_full_size(tmp_path) -> None:
    target = np.zeros((3 * TILE, 2 * TILE, 3))
    output = target.copy()
    output[: TILE // 2, : TILE // 2] = 0.25
    small = np.zeros((TILE // 2, TILE // 2, 3))
    save_sheet(
        tmp_path / "sheet.png",
        "sheet",
        [Row("large", target[::2, ::2], output, target), Row("small", small, small, small)],
    )
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    # Overview and crop of the first, the second as it is.
    assert pixels.shape[0] == HEADER + 2 * CAPTION + 3 * (TILE + GAP)
    crop = pixels[HEADER + CAPTION + TILE + GAP :, GAP + TILE + GAP :][:TILE, :TILE]
    assert (crop[0] == 64).all(-1).sum() == TILE // 2
    # An error of 0.25 has the last colour of the scale, which is drawn beside its title.
    error = pixels[HEADER + CAPTION + TILE + GAP + 5, GAP + 3 * (TILE + GAP) + 5]
    header = pixels[:HEADER, 3 * (TILE + GAP) :].reshape(-1, 3)
    assert tuple(error) == (255, 243, 176)
    assert (header == error).all(-1).any()
    assert (header == (0, 0, 16)).all(-1).any()
    assert len({tuple(colour) for colour in header}) > 50


def test_the_gallery_holds_each_content_once_and_no_more_images_than_asked(tmp_path) -> None:
    content = document_of(tmp_path, with_pictures(tmp_path, "a"), with_pictures(tmp_path, "bb"), gallery=2).content
    shown = [r["pictures"] for r in content["records"]]
    assert [[image["id"] for image in images] for images in shown] == [["image 0", "image 1"]] * 2
    assert {image["views"]["target"] for images in shown for image in images} == {shown[0][0]["views"]["target"]}
    assert len(content["pictures"]) == 2 + 2 * 2 * 2  # input and target once, output and error of each
    assert all(picture.startswith("data:image/jpeg;base64,/9j/") for picture in content["pictures"])
    assert shown[0][1]["scores"] == {"psnr[rgb]": 21.0}


def test_without_a_gallery_there_are_no_pictures_and_no_complaint(tmp_path) -> None:
    done = document_of(tmp_path, with_pictures(tmp_path))
    assert (done.content["pictures"], done.without_pictures) == ([], ())


def _remove_folder(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


DAMAGES = {
    "not beside the record's file any more": _remove_folder,
    "1_output.jpg cannot be read": lambda folder: (folder / "1_output.jpg").unlink(),
    "1_error.jpg is no JPEG": lambda folder: (folder / "1_error.jpg").write_bytes(b"<svg onload=alert(1)>"),
    "index of the pictures cannot be read": lambda folder: (folder / INDEX).write_text("{"),
    "index of the pictures is damaged": lambda folder: (folder / INDEX).write_text('{"images": [{"id": 1}]}'),
    "index of the pictures is empty": lambda folder: (folder / INDEX).write_text('{"images": []}'),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_a_row_whose_pictures_are_missing_says_why_and_the_others_have_theirs(tmp_path, reason: str) -> None:
    good, bad = with_pictures(tmp_path, "good"), with_pictures(tmp_path, "bad")
    DAMAGES[reason](tmp_path / bad.gallery)
    done = document_of(tmp_path, bad, good, gallery=2)
    ((name, found),) = done.without_pictures
    assert name == "zrr-standin: bad"
    assert reason in found
    assert [("pictures" in r, r.get("without")) for r in done.content["records"]] == [(False, found), (True, None)]


def test_a_record_cannot_name_files_elsewhere(tmp_path) -> None:
    pictures(tmp_path / "outside")
    done = document_of(tmp_path / "run", record("a", 20.0, gallery="../outside"), gallery=2)
    assert "outside that of its file" in done.without_pictures[0][1]
    one = with_pictures(tmp_path / "run")
    index = tmp_path / "run" / one.gallery / INDEX
    index.write_text(index.read_text().replace("0_input.jpg", "../../../outside/0_input.jpg"))
    (tmp_path / "run" / one.gallery / "0_input.jpg").unlink()
    assert "0_input.jpg cannot be read" in document_of(tmp_path / "run", one, gallery=2).without_pictures[0][1]


def test_pictures_stop_at_the_cap_of_the_page(tmp_path, monkeypatch) -> None:
    records = [with_pictures(tmp_path, "a"), with_pictures(tmp_path, "bb")]
    size = sum(path.stat().st_size for path in (tmp_path / records[0].gallery).glob("0_*.jpg"))
    monkeypatch.setattr(gallery_module, "TOTAL_BYTES", size)
    done = document_of(tmp_path, *records, gallery=1)
    ((name, reason),) = done.without_pictures
    assert (name, "show fewer per row" in reason) == ("zrr-standin: bb", True)


def test_untrained_rows_show_pictures_without_scores(tmp_path) -> None:
    (shown,) = document_of(tmp_path, with_pictures(tmp_path, evidence="untrained"), gallery=1).content["records"]
    assert shown["pictures"][0]["scores"] == {}


# The command


def test_the_command_writes_the_page_warns_once_and_leaves_the_tables_alone(tmp_path, zoo_bench) -> None:
    file = write_records(tmp_path / "results.jsonl", [record("a", 20.0), with_pictures(tmp_path, "b"), record("c")])
    done = zoo_bench("leaderboard", "--results", file, "--out", tmp_path / "out", "--html")
    assert (done.code, "wrote" in done.out) == (0, True)
    assert "warning: no pictures for 1 row(s), the first one zrr-standin: a" in done.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["leaderboard.html"]
    named = zoo_bench("leaderboard", "--results", file, "--html", tmp_path / "mine.html", "--gallery", "0")
    assert (named.code, named.err) == (0, "")
    assert (tmp_path / "mine.html").stat().st_size < (tmp_path / "out" / "leaderboard.html").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gallery", "1"], "add --html"),
        (["--html", "--check"], "use --check without --html"),
        (["--html", "."], "is a folder; expected the name of a file"),
        (["--html", "p.html", "--results", "nowhere"], "no *.jsonl in nowhere"),
    ],
)
def test_mistakes_of_the_command_are_one_line(tmp_path, monkeypatch, zoo_bench, arguments, message: str) -> None:
    write_records(tmp_path / "leaderboards" / "results" / "results.jsonl", [record("a", 20.0)])
    monkeypatch.chdir(tmp_path)
    done = zoo_bench("leaderboard", *arguments)
    assert done.code == 2
    assert message in done.err
    assert done.err.count("\n") == 1
