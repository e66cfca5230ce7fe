"""docs/background/engines.md has every network on every engine, and what it says still holds."""

from __future__ import annotations

import pytest

from benchmark.backends import ENGINES, is_installed
from benchmark.backends.agreement import TOLERANCE
from tests.engines_table import row, rows
from zoo import get_card, list_models

SMALL = [name for name in list_models() if (get_card(name).params or 0) < 50_000]


def agrees(cell: str) -> bool:
    """Whether a cell is an error within the tolerance; otherwise it says that the network is refused or differs."""
    return not cell.startswith(("refused: ", "DIFFERS by ")) and float(cell) <= TOLERANCE


def test_every_network_is_there_and_agrees_or_has_a_reason() -> None:
    found = rows()
    # Not those that plug-ins of other tests have added.
    assert found.keys() == {name for name in list_models() if get_card(name).is_builtin}
    for name, (size, *cells) in found.items():
        assert len(cells) == len(ENGINES), name
        tried = [cell for cell in cells if cell != "not tried yet"]
        assert size.count("x") == 1 or not tried
        assert all(cell.startswith("refused: ") or agrees(cell) for cell in tried), name


@pytest.mark.slow
@pytest.mark.skipif(not all(map(is_installed, ENGINES)), reason="an engine is not installed")
@pytest.mark.parametrize("name", SMALL)
def test_the_small_ones_are_as_the_page_says(name: str) -> None:
    size, *cells = rows()[name]
    now = row(name).strip("| ").split(" | ")[1:]
    assert now[0] == size
    assert [agrees(cell) for cell in now[1:]] == [agrees(cell) for cell in cells]
