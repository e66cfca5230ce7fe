"""The command line: exit codes, one-line errors, strict JSON, speed of --help."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import TINY

RUN = ("--plugin", TINY, "run", "--dataset", "tiny", "--sizes", "none")


@pytest.mark.parametrize("what", ["models", "datasets", "metrics", "profilers", "recipes"])
def test_list_gives_names(zoo_bench, what: str) -> None:
    document = json.loads(zoo_bench("list", what, "--json").out)
    assert all(item["name"] for item in document)
    plain = zoo_bench("list", what)
    assert plain.code == 0
    assert [line.split()[0] for line in plain.out.splitlines()] == [item["name"] for item in document]


def test_show_prints_the_card(zoo_bench) -> None:
    document = json.loads(zoo_bench("show", "unet", "--json").out)
    assert document["params"] == 17_264_268
    assert document["input"]["planes"] == [[1, 1], [0, 1], [0, 0], [1, 0]]
    text = zoo_bench("show", "hyperunet_8_8_64").out
    assert "reconstruction" in text
    assert "global operations: hyper-network" in text


def test_profile_has_the_keys_of_the_contract(zoo_bench) -> None:
    document = json.loads(zoo_bench("profile", "unet_w8", "--size", "33x50", "--json").out)
    assert document["input_shape"] == [1, 4, 33, 50]
    assert document["output_shape"] == [1, 3, 66, 100]
    keys = {"model", "params", "macs", "flops", "uncounted_ops", "conv_output_bytes", "peak_conv_bytes"}
    keys |= {"peak_conv_layer", "peak_activation_bytes", "peak_activation_layer", "weight_bytes"}
    assert keys <= set(document)
    assert document["flops"] == 2 * document["macs"]
    assert document["weight_bytes"] == 4 * document["params"]
    assert {"op", "calls", "elements"} == set(document["uncounted_ops"][0])


def test_profile_takes_options_and_layers(zoo_bench) -> None:
    narrow = json.loads(zoo_bench("profile", "unet", "--set", "width=8", "--json").out)
    assert narrow["params"] == json.loads(zoo_bench("profile", "unet_w8", "--json").out)["params"]
    text = zoo_bench("profile", "unet_w8", "--layers").out
    assert "inc.double_conv.0" in text
    assert "executed without a formula" in text


def test_profile_takes_sizes_by_name_and_says_where_planes_are_padded(zoo_bench) -> None:
    for model, name, shape in (
        ("pynet", "12MP", [1, 4, 1536, 2048]),
        ("rmfa_tiny", "12mp", [1, 3, 3072, 4096]),
        ("vdn_w8", "1mpix", [1, 3, 1024, 1024]),
        ("unet_w8", "dataset", [1, 4, 224, 224]),
    ):
        document = json.loads(zoo_bench("profile", model, "--size", name, "--json").out)
        assert (document["input_shape"], document["notes"]) == (shape, [])
    padded = zoo_bench("profile", "awnet_4ch", "--size", "100x101")
    assert "planes of 100x101 are padded to 112x112, a multiple of 16" in padded.out


@pytest.mark.parametrize("verb", [("show", "own_after"), ("profile", "own_after"), ("list", "models")])
def test_flags_of_the_group_may_follow_the_verb(zoo_bench, tmp_path, own_after, verb) -> None:
    for arguments in ((*verb, "--plugin", own_after, "-q"), ("-q", *verb, "--plugin", own_after, "-v")):
        outcome = zoo_bench(*arguments)
        assert (outcome.code, "own_after" in outcome.out) == (0, True)


@pytest.fixture
def own_after(tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "own_after.py"
    file.write_text(
        "import torch.nn as nn\nfrom zoo import register_model\n\n\n@register_model(task='raw2rgb')\n"
        "def own_after() -> nn.Module:\n    return nn.Sequential(nn.Conv2d(4, 12, 1), nn.PixelShuffle(2))\n"
    )
    return file


def test_details_and_seed_may_follow_the_verb(zoo_bench, tmp_path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 32, 32), np.float32))
    infer = ("infer", "unet_w8", tmp_path / "x.npy", "--random-weights", "-o", tmp_path / "o")
    for before, after in (((), ("-v",)), (("-v",), ()), (("-q",), ("-v",)), ((), ("-q",))):
        outcome = zoo_bench(*before, *infer, *after)
        assert ("1x4x32x32: whole image" in outcome.err) == ("-q" not in before + after)
        assert ("random weights" in outcome.err) == ("-q" not in before + after)
    outputs = []
    for arguments in (("--seed", "1"), ("--seed", "2"), ()):
        zoo_bench("--seed", "2", *infer, *arguments)
        outputs.append(np.load(tmp_path / "o" / "x.npy"))
    assert np.array_equal(outputs[1], outputs[2])
    assert not np.array_equal(outputs[0], outputs[1])


@pytest.mark.thorough
def test_run_prints_json_and_nothing_else(zoo_bench, tmp_path) -> None:
    outcome = zoo_bench(*RUN, "--models", "tiny_free,tiny_net", "--limit", "2", "--out", tmp_path, "--json")
    assert outcome.code == 0
    free, net = json.loads(outcome.out)["results"]
    assert {"model", "dataset", "split", "n", "evidence", "status", "error", "measurements"} <= set(free)
    assert (free["dataset"], free["n"], free["status"], net["evidence"]) == ("tiny", 2, "ok", "untrained")
    assert {"value", "unit", "definition"} <= set(free["measurements"]["psnr[rgb]"])
    assert len(Path(free["per_image"]).read_text().splitlines()) == 2
    assert "using the embedded stand-in" in outcome.err


def test_run_prints_a_table_and_says_where_things_are(zoo_bench, tmp_path) -> None:
    outcome = zoo_bench(*RUN, "--models", "tiny_free", "--out", tmp_path)
    assert "tiny_free" in outcome.out
    assert "parameter-free" in outcome.out
    (sheet,) = (tmp_path / "images/tiny").glob("tiny_free_*.png")
    for path in (tmp_path / "results.jsonl", tmp_path / "leaderboards/tiny.md", sheet):
        assert path.exists()
        assert str(path) in outcome.out.replace("\n", "")


def test_a_table_is_cut_into_pieces_that_fit_and_repeat_the_names() -> None:
    from benchmark.cli.console import _pieces

    assert _pieces([5, 5, 10, 10], 100) == [[0, 1, 2, 3]]
    assert _pieces([5, 5, 10, 10, 10], 45) == [[0, 1, 2, 3], [0, 1, 4]]
    assert _pieces([50, 50, 10, 10], 40) == [[0, 1, 2], [0, 1, 3]]


@pytest.mark.thorough
def test_run_exits_1_when_a_model_fails_and_keeps_the_others(zoo_bench, tmp_path) -> None:
    outcome = zoo_bench(*RUN, "--models", "tiny_broken,tiny_free", "--out", tmp_path, "--json")
    assert outcome.code == 1
    assert [record["status"] for record in json.loads(outcome.out)["results"]] == ["error", "ok"]
    assert "tiny_broken: error: ValueError: image 0: the model returned NaN" in outcome.err


@pytest.mark.thorough
def test_a_suite_is_the_flags_as_a_file(zoo_bench, tmp_path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("dataset: tiny\nmodels: [tiny_net, tiny_free]\nlimit: 1\noptions: {tiny_net.width: 6}\n")
    flags = ("--plugin", TINY, "run", "--suite", suite, "--out", tmp_path / "out", "--json", "--sizes", "none")
    net, free = json.loads(zoo_bench(*flags).out)["results"]
    assert (net["options"], net["n"], free["n"]) == ({"width": 6}, 1, 1)
    net, free = json.loads(zoo_bench(*flags, "--limit", "3").out)["results"]
    assert (net["options"], net["n"], free["n"]) == ({"width": 6}, 3, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dataset: tiny\nmodles: [a]\n", "unknown key 'modles'; did you mean models?"),
        ("dataset: tiny\nlimit: many\n", "limit: Input should be a valid integer"),
        ("dataset: [tiny\n", "not YAML"),
        ("- tiny\n", "expected keys and values"),
        ("models: [a]\n", "dataset: Field required"),
    ],
)
def test_a_bad_suite_names_file_and_key(zoo_bench, tmp_path, text: str, message: str) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(text)
    outcome = zoo_bench("--plugin", TINY, "run", "--suite", suite)
    assert outcome.code == 2
    assert "suite.yaml" in outcome.err
    assert message in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lst",), "no command called 'lst'; did you mean list?"),
        (("show",), "Missing argument 'MODEL'"),
        (("show", "unett"), "no model called 'unett'; did you mean unet"),
        (("profile", "unet", "--size", "12"), "--size 12: expected HxW"),
        (("profile", "unet", "--size", "8x8"), "planes of 8x8 are too small"),
        (("profile", "unet", "--set", "width"), "--set width: expected KEY=VALUE"),
        (("profile", "unet", "--set", "wdth=3"), "unet has no option 'wdth'; did you mean width"),
        (("run",), "run: no dataset is named"),
        (("run", "--dataset", "zr"), "no dataset called 'zr'; did you mean zrr"),
        (("run", "--dataset", "zrr", "--models", "pynett"), "no model called 'pynett'; did you mean pynet"),
        (("run", "--dataset", "zrr", "--models", "pynet", "--set", "level=2"), "Choose other options"),
        (("run", "--dataset", "zrr", "--models", "pynet", "--set", "level=9"), "level"),
        (("run", "--dataset", "zrr", "--metrics", "psnr"), "no metric called 'psnr'"),
        (("run", "--dataset", "zrr", "--weights", "unet"), "--weights unet: expected MODEL=FILE"),
        (("run", "--dataset", "zrr", "--weights", "unet=none.pth"), "no file at none.pth"),
        (("run", "--dataset", "zrr", "--rerun", "maybe"), "'maybe' is not one of"),
        (("run", "--dataset", "zrr", "--limit", "x"), "'x' is not a valid integer"),
        (("run", "--dataset", "zrr", "--data-root", "/nowhere"), "no folder at /nowhere"),
        (("run", "--dataset", "zrr", "--out", "/proc/nowhere"), "cannot write to /proc/nowhere"),
        (("run", "--dataset", "zrr", "--widht", "3"), "No such option"),
        (("--plugin", "none.py", "list", "models"), "no file at none.py"),
        (("list", "model"), "'model' is not one of"),
        (("leaderboard", "--results", "/nowhere"), "no *.jsonl in /nowhere"),
        (("score", "/nowhere", "/nowhere"), "no folder at /nowhere"),
        (("data", "make", "zrrr", "--out", "x"), "no dataset called 'zrrr'"),
        (("data", "make", "zrr"), "Missing option '--out'"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(zoo_bench, arguments, message: str) -> None:
    outcome = zoo_bench(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    last = outcome.err.splitlines()[-1]
    assert last.startswith("zoo-bench: ")
    assert message in last
    assert "Traceback" not in outcome.err


def test_data_roots_that_miss_files_say_what_was_expected(zoo_bench, tmp_path) -> None:
    (tmp_path / "test" / "huawei_raw").mkdir(parents=True)
    (tmp_path / "test" / "canon").mkdir()
    outcome = zoo_bench("run", "--dataset", "zrr", "--data-root", tmp_path, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert f"zrr: expected 1204 files in {tmp_path}/test/huawei_raw, found 0" in outcome.err


def test_score_pairs_by_stem_and_gives_every_id(zoo_bench, tmp_path) -> None:
    random = np.random.RandomState(0)
    for folder in ("outputs", "targets"):
        (tmp_path / folder).mkdir()
        for stem in ("0", "2", "10"):
            Image.fromarray(random.randint(0, 256, (64, 48, 3), np.uint8)).save(tmp_path / folder / f"{stem}.png")
    target = np.asarray(Image.open(tmp_path / "targets" / "2.png"))
    Image.fromarray(target).save(tmp_path / "outputs" / "2.png")
    outcome = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets", "--all", "--json")
    document = json.loads(outcome.out)
    assert document["n"] == 3
    assert [image["id"] for image in document["per_image"]] == ["0", "2", "10"]
    assert document["per_image"][1]["scores"]["psnr[rgb]"] == "inf"
    assert document["scores"]["psnr[rgb]"] == "inf"
    assert document["infinite"]["psnr[rgb]"]["n_inf"] == 1
    assert document["scores"]["msssim[perchannel]"] is None
    assert "no MS-SSIM under 176" in outcome.err
    named = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets", "--metrics", "msssim[perchannel]")
    assert (named.code, "176" in named.err) == (2, True)
    two = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets", "--metrics", "psnr[rgb],ssim[gaussian11,rgb]")
    assert two.code == 0


def test_score_names_lonely_and_unequal_images(zoo_bench, tmp_path) -> None:
    for folder in ("outputs", "targets"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "outputs" / "a.png")
    outcome = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets")
    assert (outcome.code, "1 image(s) without partner, first" in outcome.err) == (2, True)
    Image.new("RGB", (8, 9)).save(tmp_path / "targets" / "a.jpg")
    outcome = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets")
    assert (outcome.code, "is 8x8," in outcome.err) == (2, True)
    Image.new("L", (8, 8)).save(tmp_path / "targets" / "a.jpg")
    outcome = zoo_bench("score", tmp_path / "outputs", tmp_path / "targets")
    assert (outcome.code, "is a gray JPEG; expected RGB" in outcome.err) == (2, True)


@pytest.mark.thorough
def test_leaderboard_writes_and_checks(zoo_bench, tmp_path) -> None:
    zoo_bench(*RUN, "--models", "tiny_free", "--out", tmp_path / "run")
    flags = ("leaderboard", "--results", tmp_path / "run", "--out", tmp_path / "tables")
    assert zoo_bench(*flags, "--check").code == 1
    assert zoo_bench(*flags).code == 0
    assert zoo_bench(*flags, "--check").code == 0
    (tmp_path / "tables" / "tiny.md").write_text("edited")
    outcome = zoo_bench(*flags, "--check")
    assert (outcome.code, "stale: " in outcome.err) == (1, True)


@pytest.mark.thorough
def test_data_make_writes_what_run_reads(zoo_bench, tmp_path) -> None:
    assert zoo_bench("data", "make", "zrr-standin", "--out", tmp_path / "zrr").code == 0
    flags = ("--models", "bilinear", "--limit", "1", "--out", tmp_path / "out", "--json", "--sizes", "none")
    outcome = zoo_bench("run", "--dataset", "zrr", "--data-root", tmp_path / "zrr", *flags)
    (record,) = json.loads(outcome.out)["results"]
    assert (record["dataset"], record["n"], record["data"]["standin"]) == ("zrr-standin", 1, True)
    again = zoo_bench("data", "make", "zrr", "--out", tmp_path / "zrr")
    assert (again.code, "is not empty" in again.err) == (2, True)
    (tmp_path / "zrr" / "test" / "huawei_raw" / "0.png").write_bytes(b"\x89PNG broken")
    broken = zoo_bench("run", "--dataset", "zrr", "--data-root", tmp_path / "zrr", *flags)
    assert (broken.code, "test/huawei_raw/0.png" in broken.err) == (2, True)


def test_zoo_bench_data_names_the_root(zoo_bench, tmp_path, monkeypatch) -> None:
    (tmp_path / "data" / "zrr").mkdir(parents=True)
    monkeypatch.setenv("ZOO_BENCH_DATA", str(tmp_path / "data"))
    outcome = zoo_bench("run", "--dataset", "zrr", "--models", "bilinear", "--out", tmp_path / "out")
    assert (outcome.code, f"{tmp_path}/data/zrr/test/huawei_raw" in outcome.err) == (2, True)


def test_debug_shows_the_traceback(monkeypatch, zoo_bench) -> None:
    from zoo import UserError

    monkeypatch.setenv("ZOO_BENCH_DEBUG", "1")
    with pytest.raises(UserError, match="no model called"):
        zoo_bench("show", "unett")


def test_a_reader_that_closes_the_pipe_is_not_called_foreign_code() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    call = [sys.executable, "-m", "benchmark.cli", "list", "models"]
    done = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_broken_pipe_of_foreign_code_is_told(zoo_bench, monkeypatch) -> None:
    def breaking(*arguments: object, **more: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("benchmark.catalogue.catalogue", breaking)
    outcome = zoo_bench("list", "models")
    assert (outcome.code, "ended by code that is not ours" in outcome.err) == (1, True)


@pytest.mark.skipif(sys.platform != "linux", reason="needs functions of glibc")
def test_a_library_that_crashes_while_it_is_taken_down_changes_no_exit_status(tmp_path) -> None:
    plugin, left = tmp_path / "crashing.py", tmp_path / "left.txt"
    plugin.write_text(
        "import atexit, ctypes\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)\n"
        f"written = open({str(left)!r}, 'w')\n"
        "written.write('not flushed')\n"
        "atexit.register(print, 'python ends as ever')\n"
    )
    call = [sys.executable, "-m", "benchmark.cli", "--plugin", plugin]
    for arguments, status in ((["list", "models"], 0), (["show", "unett"], 2)):
        done = subprocess.run([*call, *arguments], capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, left.read_text()) == (status, "not flushed"), done.stderr
        assert done.stdout.endswith("python ends as ever\n")


@pytest.mark.parametrize(
    "command", [[], ["run"], ["profile"], ["list"], ["show"], ["score"], ["leaderboard"], ["data", "make"]]
)
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys; sys.argv[1:] = sys.argv[1].split() + ['--help']\n"
        "from benchmark.cli import cli\n"
        "try:\n    cli()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'pydantic', 'rich', 'PIL', 'yaml'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, " ".join(command)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
