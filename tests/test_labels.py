"""Several weights of one network in a run: labels that users give, seeds of one recipe, and how they are shown."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from benchmark import run as run_as_users_do
from benchmark.datasets import DATASETS
from benchmark.htmlpage.provenance import commands
from benchmark.leaderboard import boards, row_name
from benchmark.leaderboard.rows import rows_of
from benchmark.regression.matching import pair_up, rows_to_compare
from benchmark.results.store import Store, image_scores
from benchmark.results.upkeep import drop
from benchmark.selection import select
from tests.conftest import TINY
from tests.sample_records import result, under
from zoo import UserError, create_model
from zoo.weights import save_state

pytestmark = pytest.mark.usefixtures("tiny")
RECIPE = {"evidence": "trained", "recipe": "r", "recipe_digest": "d" * 16, "lr": "0.001", "step": "9"}


def run(**more):
    return run_as_users_do("tiny", **{"isolate": False, "sizes": ["none"], **more})


def weights(path: Path, number: int, metadata: dict[str, str] | None = None, width: int = 4) -> str:
    """Write weights of ``tiny_net`` that are others for each number; return the path."""
    torch.manual_seed(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_state(path, create_model("tiny_net", width=width).state_dict(), {"model": "tiny_net", **(metadata or {})})
    return str(path)


@pytest.fixture
def in_this_process(monkeypatch) -> None:
    """Let the command line run models in this process."""
    monkeypatch.setattr("benchmark.running.run.run", functools.partial(run_as_users_do, isolate=False))


@pytest.fixture
def two(tmp_path) -> dict[str, str]:
    """Two checkpoints of one network, under labels."""
    names = {"tiny_net@old": 1, "tiny_net@new+1.2": 2}
    return {name: weights(tmp_path / f"{number}.safetensors", number) for name, number in names.items()}


def entries(files, models=("tiny_net",), options=None):
    return select(DATASETS.get("tiny"), models=models, weights=files, options=options or {})


def test_two_checkpoints_of_one_network_are_two_rows_with_scores_and_pictures_of_their_own(two, tmp_path) -> None:
    old, new = run(models="tiny_*et", weights=two, out=tmp_path / "out")
    assert [row_name(one) for one in (old, new)] == ["tiny_net (old)", "tiny_net (new+1.2)"]
    assert [one.weights["label"] for one in (old, new)] == ["old", "new+1.2"]
    assert {one.evidence for one in (old, new)} == {"weights-file"}
    assert old.measurements["psnr[rgb]"].value != new.measurements["psnr[rgb]"].value
    for name in ("key", "per_image", "pictures", "gallery"):
        assert getattr(old, name) != getattr(new, name)
    for one in (old, new):
        assert len(image_scores(one)) == 4
        assert all((tmp_path / "out" / path).exists() for path in (one.pictures, one.gallery))
    assert Path(old.gallery).name.startswith("tiny_net__old__")
    shown = {cell for board in boards([old, new], "tiny") for cells in board.rows for cell in cells}
    assert {"tiny_net (old)", "tiny_net (new+1.2)"} <= shown
    assert "tiny_net" not in shown


def test_conditions_and_options_stand_around_a_label() -> None:
    one = result("m", 20.0, options={"width": 3}, weights={"name": "f", "sha256": "0" * 64, "label": "a"})
    other = one.model_copy(update={"spec": under(one.spec, precision="bf16")})
    assert row_name(other) == "m[width=3] (a), bf16"


def test_without_models_a_labelled_network_has_no_untrained_row(two) -> None:
    found = [entry.label for entry in entries(two, models=None)]
    assert [name for name in found if name.startswith("tiny_net")] == ["tiny_net (old)", "tiny_net (new+1.2)"]
    assert {"tiny_free", "bilinear"} <= set(found)


def test_one_file_may_have_no_label(two) -> None:
    files = {"tiny_net": two["tiny_net@old"], "tiny_net@b": two["tiny_net@new+1.2"]}
    assert [entry.label for entry in entries(files)] == ["tiny_net", "tiny_net (b)"]


def test_options_are_for_all_weights_of_a_model_or_for_one_label(tmp_path) -> None:
    files = {
        "tiny_net@a.1": weights(tmp_path / "a.safetensors", 1, width=6),
        "tiny_net@b": weights(tmp_path / "b.safetensors", 2, width=6),
    }
    for options in ({"width": "6"}, {"tiny_net.width": "6"}, {"tiny_net@a.1.width": "6", "tiny_net@b.width": "6"}):
        assert [entry.options for entry in entries(files, options=options)] == [{"width": 6}] * 2
    files["tiny_net@b"] = weights(tmp_path / "b.safetensors", 2, width=8)
    options = {"tiny_net.width": "6", "tiny_net@b.width": "8"}
    shown = [entry.label for entry in entries(files, options=options)]
    assert shown == ["tiny_net[width=6] (a.1)", "tiny_net[width=8] (b)"]
    with pytest.raises(UserError, match=r"--set tiny_net@c\.width=6: no weights of this run are tiny_net@c; did you"):
        entries(files, options={"tiny_net@c.width": "6"})


@pytest.mark.parametrize("label", ["", "a b", "a/b", "ä", "a@b", "a(b)", "x" * 41, "a\nb"])
def test_a_bad_label_is_refused_by_name(two, label: str) -> None:
    message = r"^--weights tiny_net@.*: expected a label of 1 to 40 letters, digits and signs \._\+-, for example "
    with pytest.raises(UserError, match=message) as caught:
        entries({f"tiny_net@{label}": two["tiny_net@old"]})
    assert "\n" not in str(caught.value)
    good = f"tiny_net@{'x' * 40}"
    assert entries({good: two["tiny_net@old"]})[0].label == f"tiny_net ({'x' * 40})"


def test_weights_that_cannot_be_told_apart_are_refused(two, tmp_path) -> None:
    old, new = two.values()
    with pytest.raises(UserError, match=r"^--weights tiny_net@a: 2 files have this label; give each one of its own"):
        entries({"tiny_net@a": [old, new]})
    with pytest.raises(UserError, match=r"^--weights tiny_net: 2 files have no label, .*--weights tiny_net@LABEL=FILE"):
        entries({"tiny_net": [old, new]})
    with pytest.raises(UserError, match=r"^--weights: tiny_net \(a\) and tiny_net \(b\) are the same weights"):
        entries({"tiny_net@a": old, "tiny_net@b": weights(tmp_path / "copy.safetensors", 1)})
    with pytest.raises(UserError, match=r"^--weights tiny_net@a: no file is named"):
        entries({"tiny_net@a": []})
    with pytest.raises(UserError, match=r"^--weights tiny_net: no file is named"):
        entries({"tiny_net": [""]})
    with pytest.raises(UserError, match=r"^--weights @a: no model is named"):
        entries({"@a": old})
    with pytest.raises(UserError, match=r"^no model called 'tiny_nett'; did you mean tiny_net"):
        entries({"tiny_nett@a": old})
    with pytest.raises(UserError, match=r"^'tiny_net' is not part of this run on tiny; .*add it to --models"):
        entries({"tiny_net@a": old}, models=["tiny_free"])
    with pytest.raises(UserError, match=r"^--weights: two files of tiny_net are the same weights"):
        entries({"tiny_net": [old, old]})


def seeds(tmp_path: Path, *others: dict[str, str]) -> list[str]:
    metadata = [{**RECIPE, "seed": str(seed), **other} for seed, other in enumerate(others)]
    return [weights(tmp_path / f"s{i}" / "weights.safetensors", i, one) for i, one in enumerate(metadata)]


def test_seeds_of_one_recipe_need_no_labels(tmp_path) -> None:
    files = seeds(tmp_path, {}, {}, {})
    results = run(models="tiny_net", weights={"tiny_net": files}, out=tmp_path / "out")
    assert [one.weights["seed"] for one in results] == ["0", "1", "2"]
    assert {row_name(one) for one in results} == {"tiny_net"}
    assert all("label" not in one.weights for one in results)
    for name in ("key", "pictures", "gallery", "per_image"):
        assert len({getattr(one, name) for one in results}) == 3
    # No seed's record takes the place of another's, although their files have one name.
    (pair,) = pair_up(results, reversed(results))
    runs = zip(pair.before.runs, pair.after.runs, strict=True)
    assert [before.result == after.result for before, after in runs] == [True] * 3


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"lr": "0.01"}, "they differ in lr"),
        ({"step": "8"}, "they differ in step"),
        ({"recipe_digest": "e" * 16}, "they differ in recipe_digest"),
        ({"part": "3 of 4"}, "they differ in part"),
        ({"seed": "0"}, "two of them have the seed 0"),
        ({"seed": ""}, "not all of them say by which recipe and seed"),
        ({"recipe_digest": ""}, "not all of them say by which recipe and seed"),
    ],
)
def test_unlabelled_weights_that_differ_in_more_than_the_seed_are_refused(tmp_path, other, why: str) -> None:
    with pytest.raises(UserError, match=rf"^--weights tiny_net: 2 files have no label, .*\({why}.*@LABEL=FILE"):
        entries({"tiny_net": seeds(tmp_path, {}, other)})


def test_another_label_renames_a_record_and_measures_nothing(two, tmp_path) -> None:
    file, out = two["tiny_net@old"], tmp_path / "out"
    (first,) = run(models="tiny_net", weights={"tiny_net": file}, out=out)
    for name, shown in (("tiny_net@a", "tiny_net (a)"), ("tiny_net@b", "tiny_net (b)"), ("tiny_net", "tiny_net")):
        for rerun in ("failed", "never"):
            (again,) = run(models="tiny_net", weights={name: file}, out=out, rerun=rerun)
            assert row_name(again) == shown
            assert again.model_copy(update={"weights": first.weights}) == first
    # The new name is a line of its own, so nothing that was stored is lost.
    stored = Store(out).results()
    assert len(stored) == 4
    assert [row.name for row in rows_of(stored)] == ["tiny_net"]
    assert not rows_of(stored)[0].conflict
    # The former names are not there to be dropped, and do not come back when the record is.
    assert drop(out / "results.jsonl", models=("tiny_net (a)",)) == []
    run(models="tiny_net", weights={"tiny_net@a": file}, out=out)
    assert len(drop(out / "results.jsonl", models=("tiny_net (a)",))) == 5
    assert Store(out).results() == []


def test_an_edited_record_is_not_sealed_under_another_name(two, tmp_path) -> None:
    file, out = two["tiny_net@old"], tmp_path / "out"
    run(models="tiny_net", weights={"tiny_net": file}, out=out)
    lines = out / "results.jsonl"
    lines.write_text(lines.read_text().replace('"seconds": ', '"seconds": 1'))
    (again,) = run(models="tiny_net", weights={"tiny_net@a": file}, out=out, rerun="never")
    assert again.is_edited
    assert len(Store(out).results()) == 1


def labelled(label: str, psnr: float = 20.0, **more):
    named = {"label": label} if label else {}
    more = {"spec": {"weights_digest": f"{label}{psnr}", "evaluate": True}, **more}
    return result("m", psnr, weights={"name": "w", "sha256": "0" * 64, **named}, **more)


def test_records_are_compared_with_those_of_their_own_label() -> None:
    pairs = pair_up([labelled(""), labelled("a"), labelled("b")], [labelled("b", 21.0), labelled("a", 22.0)])
    found = [(p.before and p.before.name, p.after and p.after.name) for p in pairs]
    assert found == [("m", None), ("m (a)", "m (a)"), ("m (b)", "m (b)")]
    one, other = pair_up([labelled("a")], [labelled("b")])
    assert (one.after, other.before) == (None, None)


@pytest.mark.usefixtures("in_this_process")
def test_the_command_line_splits_at_the_first_equals_sign(zoo_bench, tmp_path) -> None:
    odd = weights(tmp_path / "at@home" / "a=b@c.safetensors", 1)
    plain = weights(tmp_path / "at@home" / "d.safetensors", 2)
    flags = ("--plugin", TINY, "run", "--dataset", "tiny", "--models", "tiny_net", "--sizes", "none")
    out = ("--limit", "1", "--out", tmp_path / "out", "--json")
    outcome = zoo_bench(*flags, *out, "--weights", f"tiny_net={odd}", "--weights", f"tiny_net@b={plain}")
    assert outcome.code == 0, outcome.err
    records = json.loads(outcome.out)["results"]
    assert [record["weights"].get("label") for record in records] == [None, "b"]
    assert [record["weights"]["name"] for record in records] == ["a=b@c.safetensors", "d.safetensors"]
    for text, message in (
        ("tiny_net@=x", "--weights tiny_net@: expected a label of 1 to 40"),
        ("tiny_net@a", "--weights tiny_net@a: expected MODEL=FILE or MODEL@LABEL=FILE"),
    ):
        outcome = zoo_bench(*flags, *out, "--weights", text)
        assert (outcome.code, message in outcome.err) == (2, True), outcome.err
    same = ("--weights", f"tiny_net@a={odd}", "--weights", f"tiny_net@a={plain}")
    outcome = zoo_bench(*flags, *out, *same)
    assert (outcome.code, "2 files have this label" in outcome.err) == (2, True)
    outcome = zoo_bench("--plugin", TINY, "run", "--dataset", "tiny", "--models", "tiny_net@a", *out)
    assert (outcome.code, "--models takes no labels" in outcome.err) == (2, True)


@pytest.mark.usefixtures("in_this_process")
def test_a_suite_names_labels_and_several_files(zoo_bench, tmp_path) -> None:
    a, b = seeds(tmp_path, {}, {})
    c = weights(tmp_path / "c.safetensors", 7)
    (tmp_path / "suite.yaml").write_text(
        f"dataset: tiny\nmodels: [tiny_net]\nlimit: 1\nweights: {{tiny_net: [{a}, {b}], tiny_net@c: {c}}}\n"
    )
    flags = ("--suite", tmp_path / "suite.yaml", "--out", tmp_path / "out", "--json", "--sizes", "none")
    outcome = zoo_bench("--plugin", TINY, "run", *flags)
    assert outcome.code == 0, outcome.err
    assert [r["weights"].get("label") for r in json.loads(outcome.out)["results"]] == [None, None, "c"]


def test_compare_drop_and_warnings_name_the_label(zoo_bench, two, tmp_path) -> None:
    out = tmp_path / "out"
    run(models="tiny_net", weights=two, out=out)
    document = json.loads(zoo_bench("compare", out, out, "--json").out)
    assert {finding["model"] for finding in document["findings"]} == {"tiny_net (old)", "tiny_net (new+1.2)"}
    outcome = zoo_bench("results", "drop", out, "--model", "tiny_net (new*)")
    assert outcome.out.count("\n") == 1
    assert " tiny_net (new+1.2) on tiny (ok)" in outcome.out
    assert [row_name(one) for one in Store(out).results()] == ["tiny_net (old)"]
    (out / "results.jsonl").write_text((out / "results.jsonl").read_text().replace('"seconds": ', '"seconds": 1'))
    outcome = zoo_bench("leaderboard", "--results", out, "--out", tmp_path / "tables")
    assert "tiny_net (old) on tiny was edited by hand" in outcome.err
    assert zoo_bench("results", "drop", out, "--model", "tiny_net").code == 0
    assert Store(out).results() == []


def test_the_old_label_of_a_renamed_record_is_no_row_in_compare() -> None:
    old, other = labelled("a"), labelled("a", 21.0).model_copy(update={"key": "other"})
    assert [row.name for row in rows_to_compare([other, old, old.labelled("b")])] == ["m (a)", "m (b)"]
    assert [row.name for row in rows_to_compare([old, old.labelled("b"), old.labelled("")])] == ["m"]


def test_the_page_repeats_a_labelled_row_with_its_label() -> None:
    (row,) = rows_of([labelled("a.1")])
    assert "--weights m@a.1=w" in " ".join(commands(row)[-1].split())
