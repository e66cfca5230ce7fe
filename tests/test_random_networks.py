"""Networks that nobody has tested, in pieces: the whole image's values, or a refusal that says why."""

from __future__ import annotations

import copy
from random import Random

import pytest
import torch

from tests.blocks import KINDS
from tests.random_networks import ENGINES, LARGE, SMALL, check, kinds_of, network_of, relative_difference

# Larger images go in pieces.
SMALL_PIXELS = 100 * 100
# Each kind alone, and some among others.
ALONE, MIXED = range(len(KINDS)), range(len(KINDS), 3 * len(KINDS), 17)


def ids(seed: int) -> str:
    return f"{seed}-{list(KINDS)[seed % len(KINDS)]}"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    "seed", [*ALONE[::2], *MIXED, *(pytest.param(seed, marks=pytest.mark.slow) for seed in ALONE[1::2])], ids=ids
)
def test_each_kind_in_pieces_equals_the_whole(seed: int) -> None:
    verdict = check(seed, "auto", SMALL, small=SMALL_PIXELS)
    assert verdict.status == "equal", verdict


@pytest.mark.parametrize("seed", [*ALONE[::5], *MIXED[::2]], ids=ids)
def test_kinds_in_tiles_equal_the_whole_or_are_refused(seed: int) -> None:
    verdict = check(seed, "tile", SMALL, (64, 72))
    assert verdict.status in ("equal", "refused"), verdict


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1400), ids=ids)
def test_large_images_equal_the_whole(seed: int) -> None:
    verdict = check(seed, "auto", LARGE)
    assert verdict.status == "equal", verdict


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000, 2300), ids=ids)
@pytest.mark.parametrize("mode", ["tile", "limit"])
def test_large_images_in_tiles_or_under_a_limit_equal_the_whole_or_are_refused(seed: int, mode: str) -> None:
    verdict = check(seed, mode, LARGE)
    assert verdict.status in ("equal", "refused"), verdict


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 3 * len(KINDS), 17), ids=ids)
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_in_pieces_equal_the_whole_or_refuse(seed: int, engine: str) -> None:
    pytest.importorskip(engine)
    verdict = check(seed, engine, SMALL, (64, 72), SMALL_PIXELS)
    assert verdict.status in ("equal", "refused"), verdict


def test_a_seed_alone_gives_the_same_network() -> None:
    x = torch.rand(1, 4, 40, 44)
    with torch.inference_mode():
        torch.manual_seed(1)
        first = network_of(12)(x)
        torch.manual_seed(2)
        assert torch.equal(first, network_of(12)(x))


def test_seeds_that_follow_each_other_begin_with_each_kind() -> None:
    assert [kinds_of(seed, Random(seed)) for seed in ALONE] == [[name] for name in KINDS]
    assert all(list(KINDS)[seed % len(KINDS)] in network_of(seed).kinds for seed in MIXED)


def test_nan_in_the_same_places_is_equal() -> None:
    one = torch.tensor([1.0, float("nan"), 2.0])
    assert relative_difference(one, copy.copy(one)) == 0
    assert relative_difference(one, torch.tensor([1.0, 1.0, 2.0])) == float("inf")
    assert relative_difference(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0])) == 0.5
