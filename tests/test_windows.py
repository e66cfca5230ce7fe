"""Windows keep the colour filter's phase, input and target together, and are functions of their seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.training.batches import Cut, EpochPlan, SampleCache, batches, make_batch
from benchmark.training.windows import draw_window
from benchmark.types import Sample
from zoo.card import default_input
from zoo.errors import UserError
from zoo.raw import pack


def bayer(height: int, width: int, red: tuple[int, int]) -> torch.Tensor:
    """A mosaic whose values are the colours: red 0, green 1, blue 2."""
    rows, columns = np.ogrid[:height, :width]
    colours = (rows + red[0]) % 2 + (columns + red[1]) % 2
    return torch.from_numpy(colours.astype(np.float32))[None, None]


@pytest.mark.parametrize("red", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("side", [6, None])
def test_every_window_of_a_mosaic_begins_with_red(red, side) -> None:
    mosaic = bayer(12, 12, red)
    seen = set()
    for seed in range(60):
        window = draw_window(np.random.default_rng(seed), (12, 12), side=side, augment=True, red=red)
        planes = pack(window.take(mosaic))
        assert [plane.unique().tolist() for plane in planes[0]] == [[2.0], [1.0], [0.0], [1.0]]
        flips = window.rows[-1] < window.rows[-2], window.columns[-1] < window.columns[-2], window.transposed
        seen.add(tuple(map(bool, flips)))
    is_square = side is not None or red[0] == red[1]
    assert len(seen) == (8 if is_square else 4)


def test_flips_move_input_and_target_together_and_differ() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8)
    for seed in range(20):
        window = draw_window(np.random.default_rng(seed), (8, 8), side=4, augment=True, red=(0, 0))
        taken = window.take(image)
        expected = image[0, 0].numpy()[np.ix_(window.rows, window.columns)]
        assert np.array_equal(taken[0, 0].numpy(), expected.T if window.transposed else expected)
    # A flipped window is the mirror image of one that starts a pixel further on.
    flipped = next(
        w
        for w in (draw_window(np.random.default_rng(s), (8, 8), side=4, augment=True, red=(0, 0)) for s in range(50))
        if w.columns[1] < w.columns[0] and w.columns.max() < 8
    )
    assert np.array_equal(np.sort(flipped.columns) % 2, [1, 0, 1, 0])


def test_rgb_windows_are_whole_flips_without_a_border() -> None:
    for seed in range(30):
        window = draw_window(np.random.default_rng(seed), (5, 5), side=None, augment=True)
        assert sorted(window.rows) == sorted(window.columns) == [0, 1, 2, 3, 4]


def test_without_augmentation_only_the_place_varies_and_blocks_stay_whole() -> None:
    starts = set()
    for seed in range(60):
        window = draw_window(np.random.default_rng(seed), (10, 8), side=4, augment=False, red=(0, 0))
        assert np.array_equal(window.rows, window.rows[0] + np.arange(4))
        starts.add((int(window.rows[0]), int(window.columns[0])))
    assert starts == {(row, column) for row in (0, 2, 4, 6) for column in (0, 2, 4)}


def test_windows_of_another_shape_are_not_transposed() -> None:
    windows = [draw_window(np.random.default_rng(s), (6, 8), side=None, augment=True, red=(0, 0)) for s in range(20)]
    assert not any(window.transposed for window in windows)


class Samples:
    """Three noisy mosaics of counts, with 8-bit targets."""

    name, split, provenance = "samples", "train", {}
    ids = ("a", "b", "c")

    def __init__(self) -> None:
        self.loads = 0

    def __getitem__(self, index: int) -> Sample:
        self.loads += 1
        generator = torch.Generator().manual_seed(index)
        counts = torch.randint(0, 1024, (1, 1, 16, 16), generator=generator).float()
        target = torch.randint(0, 256, (1, 3, 16, 16), generator=generator).float() / 255
        return Sample(self.ids[index], counts, target, black=64.0, white=1023.0)

    def digest(self, limit=None) -> str:
        return "samples"


CUT = Cut(default_input("raw2rgb"), side=4, augment=True, seed=3)
PLAN = EpochPlan(samples=3, crops=4, batch_size=2, seed=3)


def test_batches_are_the_same_from_threads_from_the_cache_and_from_the_middle() -> None:
    whole = list(batches(SampleCache(Samples(), budget_bytes=1 << 20), PLAN, CUT, start=0, stop=9, workers=0))
    threaded = list(batches(SampleCache(Samples(), budget_bytes=0), PLAN, CUT, start=4, stop=9, workers=3))
    assert len(threaded) == 5
    for one, other in zip(whole[4:], threaded):
        assert torch.equal(one.planes, other.planes)
        assert torch.equal(one.target, other.target)
    assert not torch.equal(whole[0].planes, whole[PLAN.steps_per_epoch].planes)


def test_the_cache_loses_nothing_and_loads_once() -> None:
    samples = Samples()
    cache = SampleCache(samples, budget_bytes=1 << 20)
    first, second = make_batch(cache, PLAN, CUT, 0), make_batch(cache, PLAN, CUT, 0)
    assert torch.equal(first.planes, second.planes)
    for index in range(3):
        cache[index]
    assert samples.loads == 3
    stored = cache[1]
    assert (stored.sample.input.dtype, stored.sample.target.dtype) == (torch.int16, torch.uint8)
    assert torch.equal(stored.sample.target.float() / stored.target_scale, samples[1].target)
    assert torch.equal(stored.sample.input.float() / stored.input_scale, samples[1].input)


def test_an_epoch_shows_every_window_once_and_processes_share_it() -> None:
    plan = EpochPlan(samples=3, crops=4, batch_size=2, seed=0, processes=2)
    assert plan.steps_per_epoch == 3
    seen = [place for step in range(3) for process in range(2) for place in plan.places(step, process)[1]]
    assert sorted(seen) == list(range(12))
    assert plan.places(3)[0] == 1
    with pytest.raises(UserError, match="batch_size: 7"):
        EpochPlan(samples=3, crops=2, batch_size=7, seed=0)


def test_a_crop_that_does_not_fit_names_the_image() -> None:
    cut = Cut(default_input("raw2rgb"), side=9, augment=False, seed=0)
    with pytest.raises(UserError, match=r"crop: 9 needs 18x18 pixels, image . has 16x16"):
        make_batch(SampleCache(Samples(), budget_bytes=0), PLAN, cut, 0)
