"""What the tool keeps to be faster: seen by ``cache list``, removed by ``cache clear``, and nothing else with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.cache import PARTS, clear
from benchmark.units import GIB, MIB, size_text
from zoo import UserError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder with something in each part, locks, and files of the user's own."""
    root = tmp_path / "cache"
    monkeypatch.setenv("ZOO_BENCH_CACHE", str(root))
    for file in (
        "zrr-standin-v3/train/a.png",
        ".sidd-standin-v1.partial/half.png",
        "ceilings/here.json",
        "tiles/unet.json",
        "counts/abc.json",
        "data-check/d.sqlite",
        "own/photo.png",
        ".zrr-standin-v3.lock",
        ".timing.gate.lock",
    ):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345678")
    return root


def left(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_list_shows_every_part_and_its_size(zoo_bench, root: Path) -> None:
    found = json.loads(zoo_bench("cache", "list", "--json").out)
    assert found["folder"] == str(root)
    assert found["bytes"] == {"standin": 16, "ceilings": 8, "quantized": 0, "tiles": 8, "counts": 8, "data-check": 8}
    assert "16 bytes" in zoo_bench("cache", "list").out


def test_clear_takes_the_named_part_only(zoo_bench, root: Path) -> None:
    before = left(root)
    assert zoo_bench("cache", "clear", "tiles").out == "removed tiles: 8 bytes\n"
    assert before - left(root) == {"tiles/unet.json"}


def test_clear_without_a_name_takes_all_parts_but_no_lock_and_no_strange_file(zoo_bench, root: Path) -> None:
    assert zoo_bench("cache", "clear").code == 0
    assert left(root) == {"own/photo.png", ".zrr-standin-v3.lock", ".timing.gate.lock"}
    # Nothing there: not an error.
    assert zoo_bench("cache", "clear").out.count("0 bytes") == len(PARTS)


def test_a_clearing_that_was_killed_is_ended_by_the_next(root: Path) -> None:
    (root / "tiles").rename(root / ".tiles.partial")
    (root / "counts").rename(root / ".counts.partial")
    (root / "counts").mkdir()
    clear()
    assert not [name for name in left(root) if "partial" in name]


def test_an_unknown_part_is_named(root: Path) -> None:
    before = left(root)
    with pytest.raises(UserError, match="cache clear tile: the cache has no part of that name; did you mean tiles"):
        clear(["counts", "tile"])
    assert left(root) == before


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (MIB, "1.0 MiB"), (3 * GIB, "3.0 GiB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size) == text
