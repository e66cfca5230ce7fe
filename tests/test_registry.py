"""Registries, options and plug-ins."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from typing import Literal

import pytest
from torch import nn

from zoo import UserError, create_model, get_card, list_models, plugins, register_model
from zoo.options import read_options, resolve_options
from zoo.registry import Registry


def test_unknown_name_gets_the_nearest_names() -> None:
    with pytest.raises(UserError, match="no model called 'hyperunet_32_16_2084'; did you mean hyperunet_32_16_2048"):
        create_model("hyperunet_32_16_2084")


def test_threads_that_look_up_first_wait_until_all_pieces_are_there() -> None:
    loading, go_on = threading.Event(), threading.Event()

    def load() -> None:
        registry.add("early", 1)
        assert registry.get("early") == 1  # a piece that looks up another while it is imported
        loading.set()
        assert go_on.wait(10)
        registry.add("late", 2)

    registry: Registry[int] = Registry("thing", load=load)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(registry.get, "late")
        assert loading.wait(10)
        second = pool.submit(registry.get, "late")
        timer = threading.Timer(0.2, go_on.set)
        timer.start()
        assert (first.result(10), second.result(10)) == (2, 2)


def test_a_name_is_taken_once() -> None:
    registry: Registry[int] = Registry("thing")
    registry.add("a", 1)
    with pytest.raises(UserError, match="a thing called 'a' is registered already"):
        registry.add("a", 2)
    assert registry.get("a") == 1


def test_registry_loads_once_at_first_use() -> None:
    calls = []
    registry: Registry[int] = Registry("thing", load=lambda: calls.append(1))
    assert not calls
    assert registry.names() == []
    assert "x" not in registry
    assert calls == [1]


def test_patterns_list_models() -> None:
    assert list_models("hyperunet_*") == [
        "hyperunet_32_16_2048",
        "hyperunet_32_32_2048",
        "hyperunet_64_32_2048",
        "hyperunet_8_32_4000",
        "hyperunet_8_8_64",
    ]


def _build(
    width: int = 4,
    rate: float = 0.5,
    norm: bool = True,
    blocks: tuple[int, ...] = (3, 3),
    pair: tuple[int, int] = (1, 2),
    head: Literal["a", "b"] = "a",
    extra: int | None = None,
    name: str = "x",
) -> nn.Module:
    return nn.Identity()


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("width", "16", 16),
        ("rate", "1e-3", 1e-3),
        ("norm", "false", False),
        ("norm", "1", True),
        ("blocks", "2,2,2,3,4", (2, 2, 2, 3, 4)),
        ("blocks", [2, 3], (2, 3)),
        ("pair", "4,5", (4, 5)),
        ("head", "b", "b"),
        ("extra", "none", None),
        ("extra", "7", 7),
        ("name", "7", "7"),
    ],
)
def test_values_are_parsed_by_their_annotation(key: str, text: object, value: object) -> None:
    resolved = resolve_options("m", read_options(_build), {key: text})
    assert resolved == {key: value}
    assert type(resolved[key]) is type(value)


@pytest.mark.parametrize(
    ("key", "text"),
    [("width", "wide"), ("width", 1.5), ("norm", "maybe"), ("pair", "1,2,3"), ("head", "c"), ("blocks", "2,x")],
)
def test_a_value_that_does_not_fit_is_named(key: str, text: object) -> None:
    with pytest.raises(UserError, match=f"m: option {key}=.*does not fit; expected {key}"):
        resolve_options("m", read_options(_build), {key: text})


def test_an_unknown_option_gets_the_nearest() -> None:
    with pytest.raises(UserError, match="unet has no option 'witdh'; did you mean width"):
        create_model("unet", witdh=4)


def test_an_argument_without_default_cannot_be_registered() -> None:
    with pytest.raises(UserError, match="option 'width' needs a default"):

        @register_model(task="raw2rgb")
        def no_default(width: int) -> nn.Module:
            return nn.Identity()


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UserError, match="unknown task 'raw2bgr'"):
        register_model(task="raw2bgr")  # type: ignore[arg-type]


def test_a_plugin_registers_its_models_once(tiny) -> None:
    plugins.load_file(tiny)
    assert "tiny_net" in list_models()
    assert not get_card("tiny_net").is_builtin
    assert get_card("tiny_net").code_digest != get_card("unet").code_digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import torch\nx = (", "bad.py, line 2: SyntaxError"),
        ("x = 1\n\nraise RuntimeError('no luck')", "bad.py, line 3: RuntimeError: no luck"),
        ("import not_a_module_anywhere", "bad.py, line 1: ModuleNotFoundError"),
    ],
)
def test_a_broken_plugin_names_file_and_line(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        plugins.load_file(file)


def test_a_missing_plugin_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match="no file at"):
        plugins.load_file(tmp_path / "nothing.py")


def test_a_broken_entry_point_is_reported_not_raised(monkeypatch) -> None:
    point = EntryPoint("theirs", "not_a_module_anywhere:load", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point] if group == "zoo_bench.plugins" else [])
    (failure,) = plugins.load_entry_points()
    assert "theirs" in failure
    assert "ModuleNotFoundError" in failure
