"""Code identity: what changes the digest of a network's code, and what does not."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from zoo import get_card, list_models, plugins
from zoo import identity as identities
from zoo.card import MODELS, ModelCard
from zoo.identity import digest_of_build, digest_of_code, is_unknown

# Of everything that versions of Python write differently: strings in pieces, f-strings, classes, matches, numbers.
SAMPLE = b"""
@made(1, -2.5e-3, 3j, 0x1_0000_0000_0000_0000, ...)
class Net(Base, metaclass=Meta):
    width: int = 16

    async def forward(self, x, /, *rest, y=None, **more) -> "Tensor":
        text = "two" "pieces" f"{x!r:>{self.width}}" f"{y=}" b"\\x00" if (n := len(rest)) else u"\\u2603 \\U0001fae8"
        match rest:
            case [None, {"a": 1, **others}, *_] | Point(x=0) if n:
                return lambda *, a=1: {**more, "b": [i async for i in a if i]}
        with open(text) as one, open(text) as two:
            del one[1:2, ::3], two
"""
# The same with Python 3.10 to 3.14: a key that was written by one is found by the others.
GOLDEN = "0251b5ae36fb992acb88f98399727dd9b2c8c30f19aae5984373e7cbc27f3c47"


def test_the_digest_is_the_same_in_every_version_of_python() -> None:
    assert digest_of_code(SAMPLE) == GOLDEN


@pytest.mark.parametrize(
    "other",
    [
        'x = f(1, "ab")  # a comment',
        '"""A docstring."""\n\nx = f(\n    1,\n    "ab",\n)\n',
        "x = (f(1, 'a' 'b'))",
        'x = f(1, "ab")\n"""What x is."""',
        '# -*- coding: utf-8 -*-\r\nx = f(0x1, "ab")\r\n',
    ],
)
def test_comments_docstrings_and_layout_do_not_count(other: str) -> None:
    assert digest_of_code(other.encode()) == digest_of_code(b'x = f(1, "ab")\n')


@pytest.mark.parametrize(
    "other",
    ['x = f(2, "ab")', 'x = f(1, "abc")', 'x = f(1.0, "ab")', 'x = f(True, "ab")', 'x = f(1, b"ab")', 'x = f("ab", 1)',
     'x = f(1)', 'x = f(1, f"ab")', 'y = f(1, "ab")', 'x = f(1, "ab")\nx += 1', "x = f(1, None)", "x = f(1, 'None')"],
)  # fmt: skip
def test_code_counts(other: str) -> None:
    assert digest_of_code(other.encode()) != digest_of_code(b'x = f(1, "ab")\n')


def test_a_file_that_does_not_parse_is_known_by_its_bytes() -> None:
    assert digest_of_code(b"x = (") != digest_of_code(b"x = ( ")


def digests() -> dict[str, str]:
    cards = [get_card(name) for name in list_models() if get_card(name).is_builtin]
    return {card.name: digest_of(card) for card in cards}


def digest_of(card: ModelCard) -> str:
    return digest_of_build(card.build, card.registered_in, card.version)


@pytest.mark.parametrize(
    ("file", "models"),
    [
        ("models/unet.py", "unet unet_w8"),
        ("models/pynet.py", "pynet"),
        ("layers.py", "vdn vdn_w8 hypervdn_*"),
        ("hyper.py", "hyperunet_* plainunet_* hypervdn_*"),
        ("raw.py", "bilinear bilinear_colour identity"),
        ("convention.py", "*"),
        ("card.py", ""),
        ("weights.py", ""),
        ("errors.py", ""),
        ("../benchmark/types.py", ""),
    ],
)
def test_networks_change_with_their_file_and_those_of_the_zoo_it_imports(
    file: str, models: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests()
    read, meant = identities._read, (Path(identities.__file__).parent / file).resolve()
    assert meant.is_file()
    monkeypatch.setattr(identities, "_read", lambda path: read(path) + b"\nX = 1\n" if path == meant else read(path))
    after = digests()
    expected = {name for name in before for pattern in models.split() if fnmatch(name, pattern)}
    assert {name for name in before if before[name] != after[name]} == expected
    assert expected or not models


NET = """
from torch import nn
from zoo import register_model
from {package}layers import WIDTH

@register_model(task="raw2rgb")
def {name}(width: int = WIDTH) -> nn.Module:
    from {package}later import block
    return block(width)
"""
FILES = {"layers.py": "WIDTH = 4\n", "later.py": "def block(width): return width\n", "other.py": "X = 1\n"}


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[tuple]:
    """A registered network of three files, with its folder: a plug-in beside its modules, or a package."""
    name = f"net_{request.param}"
    package = f"{name}_package"
    folder = tmp_path / (package if request.param != "file" else "")
    folder.mkdir(exist_ok=True)
    for file, text in FILES.items():
        (folder / file).write_text(text)
    inside = "" if request.param == "file" else "."
    (folder / "mine.py").write_text(NET.format(name=name, package=inside))
    (folder / "__init__.py").touch()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    # Processes that later tests start must not load it again.
    monkeypatch.setattr(plugins, "_files", [*plugins.loaded_files()])
    if request.param == "file":
        plugins.load_file(folder / "mine.py")
    else:
        importlib.import_module(f"{package}.mine")
    yield get_card(name), folder
    MODELS._items.pop(name)
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]


@pytest.mark.parametrize("network", ["file", "package"], indirect=True)
def test_a_plugin_changes_with_its_file_and_the_modules_it_imports_from_its_folder(network) -> None:
    card, folder = network
    before = digest_of(card)
    assert not is_unknown(before)
    assert before == card.code_digest == digest_of(card)
    for file, counts in (("mine.py", True), ("layers.py", True), ("later.py", True), ("other.py", False)):
        text = (folder / file).read_text()
        (folder / file).write_text(text + "# a comment\n")
        assert digest_of(card) == before, file
        (folder / file).write_text(text + "Y = 2\n")
        assert (digest_of(card) != before) == counts, file
        (folder / file).write_text(text)
    assert digest_of_build(card.build, card.registered_in, 2) != before


def test_a_network_in_a_zip_archive_has_a_digest(tmp_path, monkeypatch) -> None:
    found = []
    for text in ("WIDTH = 4", "WIDTH = 4  # four", "WIDTH = 8"):
        archive = tmp_path / f"plug{len(found)}.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr("zipped_layers.py", text)
            opened.writestr("zipped_net.py", "from zipped_layers import WIDTH\ndef zipped(width: int = WIDTH): ...\n")
        monkeypatch.syspath_prepend(str(archive))
        for name in ("zipped_net", "zipped_layers"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module("zipped_net")
        found.append(digest_of_build(module.zipped, "zipped_net", 1))
    for name in ("zipped_net", "zipped_layers"):
        monkeypatch.delitem(sys.modules, name)
    assert found[0] == found[1] != found[2]
    assert not any(map(is_unknown, found))


def test_both_the_module_of_a_function_and_the_one_that_registers_it_count() -> None:
    build = get_card("unet").build
    alone, elsewhere = (digest_of_build(build, name, 1) for name in (build.__module__, __name__))
    assert alone != elsewhere


def test_who_builds_networks_by_name_changes_with_all_of_them(tmp_path) -> None:
    (tmp_path / "wrapper.py").write_text("import zoo\nnet = lambda: zoo.create_model('unet')\n")
    file = identities._File(tmp_path / "wrapper.py", "wrapper", tmp_path)
    assert "zoo/models/unet.py" in {found.label for found in file.imports()}


def test_a_users_file_counts_whatever_its_name(tmp_path) -> None:
    for name in ("antigravity.py", "mine.py"):
        (tmp_path / name).write_text("import antigravity, json\n")
    found = list(identities._File(tmp_path / "mine.py", "mine", tmp_path).imports())
    assert [file.path.name for file in found] == ["antigravity.py"]


def test_code_without_source_is_never_the_same() -> None:
    namespace: dict = {"__name__": __name__}
    exec("def typed(width: int = 4): ...", namespace)
    one, two = (digest_of_build(namespace["typed"], __name__, 1) for _ in range(2))
    assert is_unknown(one)
    assert one != two
    assert is_unknown(digest_of_build(digest_of, "a_module_that_is_gone", 1))


def test_what_is_installed_is_environment() -> None:
    file = identities._File(Path(__file__), __name__, Path(__file__).parents[1])
    names = ("yaml", "torch.nn", "json", "benchmark.types", "zoo.hyper", "tests.sample_records")
    assert [name for name in names if identities._find(name, file)] == ["zoo.hyper", "tests.sample_records"]
