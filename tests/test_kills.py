"""Killed commands lose nothing: two kills each of the verbs that write most; ``python tests/kills.py`` does more."""

from __future__ import annotations

import pytest

from tests import kills


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["run", "train", "leaderboard", "make-embedded"])
def test_nothing_is_lost(verb: str, capsys) -> None:
    assert kills.main(["--count", "2", "--verbs", verb]) == 0, capsys.readouterr().out
