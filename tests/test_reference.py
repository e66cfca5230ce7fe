"""The reference covers everything: each command, option, key, field, metric, loss and network, and the Python names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import click
import pytest
from PIL import Image

import benchmark
import zoo
from benchmark.cli import cli, errors
from benchmark.losses import LOSSES
from benchmark.metrics import METRICS
from benchmark.regression.thresholds import Thresholds
from benchmark.running.suite import Suite
from benchmark.sweeping.settings import Sweep
from benchmark.training.recipe import Recipe
from benchmark.types import Result
from benchmark.units import STYLES
from tests.documents import ROOT, block_with, reference
from zoo.card import MODELS

PAGES = ROOT / "docs" / "reference"


def text_of(page: str) -> str:
    return (PAGES / f"{page}.md").read_text(encoding="utf-8")


def verbs(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_generated_part_has_its_place_in_one_page() -> None:
    marks = [
        mark
        for page in PAGES.glob("*.md")
        for mark in re.findall(r"^<!-- generated: (\w+) -->$", page.read_text(), re.M)
    ]
    assert sorted(marks) == sorted(reference().SECTIONS)


def test_all_commands_and_options_are_there() -> None:
    page = reference().commands()
    common, *sections = re.split(r"^### ", page, flags=re.M)[1:]
    by_name = {section.partition("\n")[0]: section for section in sections}
    for path, command in verbs(cli):
        section = by_name.pop(f"zoo-bench {' '.join(path)}")
        for parameter in command.params:
            for flag in parameter.opts if isinstance(parameter, click.Option) else ():
                assert re.search(rf"{re.escape(flag)}\b", section + common), (path, flag)
    assert not by_name


@pytest.mark.parametrize("model", [Recipe, Sweep, Thresholds, Result], ids=lambda model: model.__name__)
def test_every_field_says_what_it_means(model) -> None:
    for one in reference().models_in(model):
        silent = [name for name, meaning in reference().fields(one).items() if not meaning]
        assert not silent, f"{one.__name__}: a comment above the field, or behind it, says what it means"


def test_the_keys_of_a_suite_mean_what_the_flags_of_run_mean() -> None:
    page = reference().settings()
    suite = page[page.index("## Suite") : page.index("## Thresholds")]
    for name in Suite.model_fields:
        assert re.search(rf"^\| `{name}` \| .* \| [^|]*\w.*\|$", suite, re.M), name
    assert "| `limit` | whole number or null | `null` | Use only the first N images. |" in suite


def test_types_limits_and_defaults_are_in_words() -> None:
    page = reference().settings()
    assert "| `batch_size` | whole number, at least 1, at most 1 048 576 | required |" in page
    assert "| `wrong_targets` | number or null, above 0, at most 1 | `null` |" in page
    assert '| `precision` | `32` or `bf16` or `int8-qat` | `"32"` |' in page
    assert '| `loss` | list of [Term](#term), at least 1 of them | `[{"name": "mse"}]` |' in page
    assert "| `sigma` | number or list of 2 numbers or null | `null` |" in page


def test_all_metrics_losses_and_networks_are_there() -> None:
    made = reference()
    metrics, losses, models = made.metrics(), made.losses(), made.models()
    for card in METRICS:
        assert f"### `{card.id}`\n" in metrics
    assert made.cell(METRICS.get("psnr[rgb]").definition)[1:] in metrics
    for loss in LOSSES:
        assert f"## `{loss.name}`\n" in losses
    for name in (card.name for card in MODELS if card.is_builtin):
        assert f"## `{name}`\n" in models


def test_the_keys_of_mappings_in_committed_records_are_explained() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text_of("records"), re.M))
    for file in sorted((ROOT / "leaderboards" / "results").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            assert set(record) - set(Result.model_fields) == {"digest"}
            for field in ("weights", "training", "data", "phases"):
                assert set(record.get(field) or ()) <= set(re.findall(r"`(\w+)`", rows[field])), (file.name, field)


def test_an_id_keeps_its_letters_at_the_beginning_of_a_sentence() -> None:
    assert "\nmsssim\\[perchannel\\] of the one channel" in reference().metrics()


def test_signs_of_markdown_in_the_code_stay_signs() -> None:
    cell = reference().cell
    assert cell("a|b <c> [d] *e* `f|*g*` ``h``") == r"a\|b &lt;c> \[d\] \*e\* `f|*g*` `h`"


def test_the_python_page_shows_every_public_name() -> None:
    shown = set(re.findall(r"^::: (\S+)$", text_of("python"), re.M))
    public = {f"benchmark.{name}" for name in benchmark.__all__} | {f"zoo.{name}" for name in zoo.__all__}
    assert public <= shown
    assert {name for name in shown if not name.startswith("benchmark.types.")} == public


def test_the_variables_of_zoo_bench_are_those_of_the_code() -> None:
    code = "".join(
        file.read_text(encoding="utf-8") for name in ("zoo", "benchmark") for file in (ROOT / name).rglob("*.py")
    )
    read = set(re.findall(r'"(ZOO_BENCH_[A-Z]+)"', code)) | set(re.findall(r'environ\.get\(\s*"([A-Z_]+)"', code))
    assert read - {name for name in re.findall(r"`([A-Z_]+)`", text_of("environment"))} == set()
    assert set(re.findall(r"`(ZOO_BENCH_[A-Z]+)`", text_of("environment"))) <= read


def test_the_exit_statuses_are_those_of_the_code() -> None:
    said = {int(number) for number in re.findall(r"^\| (\d+) \|", text_of("environment"), re.M)}
    assert said == {0, 1, errors.EXIT_USAGE, errors.EXIT_INTERNAL, errors.EXIT_INTERRUPTED}


def test_the_dataset_of_the_page_runs(tmp_path, zoo_bench) -> None:
    (tmp_path / "night.py").write_text(block_with("class Night", "docs/howto/dataset.md"))
    for side, colour in (("noisy", (10, 20, 30)), ("clean", (10, 20, 40))):
        folder = tmp_path / "photos" / "test" / side
        folder.mkdir(parents=True)
        Image.new("RGB", (32, 32), colour).save(folder / "a.png")
    arguments = ["--plugin", tmp_path / "night.py", "run", "--dataset", "night", "--models", "identity"]
    arguments += ["--sizes", "none", "--out", tmp_path / "out"]
    outcome = zoo_bench(*arguments, "--data-root", tmp_path / "photos")
    assert outcome.code == 0
    (record,) = benchmark.load_results(tmp_path / "out", "wide").itertuples()
    # One channel of three differs by 10 of 255: a mean squared error of (10 / 255)^2 / 3.
    assert record.psnr_rgb == pytest.approx(32.902, abs=1e-3)
    assert zoo_bench(*arguments, "--data-root", tmp_path).err.startswith("zoo-bench: night: no pictures in")


def test_the_page_about_the_table_explains_every_column() -> None:
    text = (ROOT / "docs" / "start" / "table.md").read_text(encoding="utf-8")
    explained = " ".join(re.findall(r"^\| ([^|]*) \|", text, re.M))
    for title, _, _ in STYLES.values():
        assert re.search(rf"(^|[ ,]){re.escape(title)}($|[ ,])", explained), title


def test_the_table_of_commands_names_every_verb() -> None:
    rows = re.findall(r"^\| `zoo-bench (\w+)", text_of("cli"), re.M)
    assert {*rows} == {*cli.commands}
