"""Code of a user that fails is told in one line, with its file and line, and never as an error of this tool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.metrics import METRICS
from zoo import plugins
from zoo.errors import UserError, line_of, with_place

CODE = """\
import torch
import torch.nn as nn

from benchmark import register_metric
from zoo import register_model


class Failing(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(4, 12, 1)
        if how == "init":
            raise ValueError("no such width")

    def forward(self, x):
        if self.how == "forward":
            x = x + torch.zeros(1, 7, 1, 1)
        return nn.functional.pixel_shuffle(self.conv(x), 2)


@register_model(task="raw2rgb")
def failing(how: str = "forward") -> nn.Module:
    return Failing(how)


@register_metric("failing[metric]", definition="fails")
def metric(output, target):
    return {}["missing"]
"""
INIT, FORWARD, METRIC = ("failing.py, line 14", "failing.py, line 18", "failing.py, line 29")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("plugin") / "failing.py"
    file.write_text(CODE)
    plugins.load_file(file)
    yield file
    # Other tests compute every metric.
    METRICS._items.pop("failing[metric]")


@pytest.fixture
def mosaic(tmp_path) -> Path:
    Image.fromarray(np.full((64, 64), 500, np.uint16)).save(tmp_path / "raw.png")
    return tmp_path / "raw.png"


@pytest.mark.parametrize(("how", "line"), [("init", INIT), ("forward", FORWARD)])
def test_a_network_that_fails_is_told_with_its_line(zoo_bench, plugin, mosaic, tmp_path, how: str, line: str) -> None:
    option = ("--set", f"how={how}")
    for arguments in (("profile", "failing"), ("infer", "failing", mosaic, "--random-weights", "-o", tmp_path / "out")):
        outcome = zoo_bench(*arguments, *option)
        assert outcome.code == 2
        assert f"({line})" in outcome.err.splitlines()[-1]
        assert "internal error" not in outcome.err
    outcome = zoo_bench(
        *("run", "--dataset", "zrr", "--models", "failing", "--limit", "1", "--sizes", "none"),
        *("-o", tmp_path / "run", "--json", *option),
    )
    (record,) = json.loads(outcome.out)["results"]
    assert (record["status"], record["error"].endswith(f"({line})")) == ("error", True)


def test_a_metric_that_fails_is_told_with_its_line(zoo_bench, plugin, tmp_path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((16, 16, 3), 9, np.uint8)).save(tmp_path / folder / "1.png")
    outcome = zoo_bench("score", tmp_path / "a", tmp_path / "b", "--metrics", "failing[metric]")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1] == (
        f"zoo-bench: code that is not part of zoo-bench failed: KeyError: 'missing' ({METRIC});"
        " set ZOO_BENCH_DEBUG=1 to see its traceback."
    )


def test_the_line_is_that_of_the_file_that_fails(tmp_path) -> None:
    (tmp_path / "helper_of_mine.py").write_text("def cut():\n    return 1 / 0\n")
    file = tmp_path / "uses_helper.py"
    file.write_text(f"import sys\nsys.path.append({str(tmp_path)!r})\nimport helper_of_mine\nhelper_of_mine.cut()\n")
    with pytest.raises(UserError) as error:
        plugins.load_file(file)
    assert str(error.value).endswith(
        "uses_helper.py, line 4: ZeroDivisionError: division by zero (helper_of_mine.py, line 2)"
    )
    (tmp_path / "alone.py").write_text("\n1 / 0\n")
    with pytest.raises(UserError, match=r"alone\.py, line 2: ZeroDivisionError: division by zero$"):
        plugins.load_file(tmp_path / "alone.py")


def test_errors_of_this_tool_have_no_line_of_the_user() -> None:
    from benchmark.units import size_of

    with pytest.raises(AttributeError) as caught:
        size_of(None)  # type: ignore[arg-type]
    error = caught.value
    assert line_of(error) == f"{Path(__file__).name}, line {error.__traceback__.tb_lineno}"
    # Without the frame of this file, what failed is ours.
    assert with_place(error.with_traceback(error.__traceback__.tb_next)).endswith("attribute 'lower'")
