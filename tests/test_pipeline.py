"""The pipeline around the network: order, bounds, failures and the same scores for any number of workers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from benchmark.scoring.fastmetrics import score_fast
from benchmark.scoring.pipeline import ImageError, default_workers, run_pipeline
from zoo.errors import UserError

WORKERS = [0, 1, 2, 5]


def run(count, workers, *, load=lambda index: index, forward=lambda value: value * 10, score=lambda a, b: a + b):
    """Return what was delivered, as (id, score)."""
    delivered = []
    ids = [f"im {index}" for index in range(count)]
    run_pipeline(
        ids,
        load=load,
        forward=forward,
        score=score,
        deliver=lambda done: delivered.append((done.id, done.score)),
        workers=workers,
    )
    return delivered


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_every_image_is_delivered_in_order(workers, count):
    assert run(count, workers) == [(f"im {index}", 11 * index) for index in range(count)]


def test_order_holds_when_later_images_are_ready_first():
    gates = [threading.Event() for _ in range(4)]

    def score(loaded, output):
        # Each image waits for the one behind it: the last is ready first.
        if loaded < 3:
            assert gates[loaded + 1].wait(10)
        gates[loaded].set()
        return loaded

    assert [value for _, value in run(4, 4, score=score)] == [0, 1, 2, 3]


def test_network_and_delivery_stay_in_the_calling_thread():
    threads = {"forward": set(), "deliver": set(), "score": set()}
    run_pipeline(
        ["a", "b", "c"],
        load=lambda index: index,
        forward=lambda value: threads["forward"].add(threading.get_ident()),
        score=lambda a, b: threads["score"].add(threading.get_ident()),
        deliver=lambda done: threads["deliver"].add(threading.get_ident()),
        workers=2,
    )
    assert threads["forward"] == threads["deliver"] == {threading.get_ident()}
    assert threading.get_ident() not in threads["score"]


@pytest.mark.parametrize("workers", [1, 3])
def test_memory_is_bounded(workers):
    lock = threading.Lock()
    alive = most = 0

    class Image:
        def __init__(self):
            nonlocal alive, most
            with lock:
                alive += 1
                most = max(most, alive)

        def __del__(self):
            nonlocal alive
            with lock:
                alive -= 1

    run(200, workers, load=lambda index: Image(), forward=lambda image: 0, score=lambda image, output: 0)
    # Loaded ahead, waiting for a score, and the ones in hands.
    assert most <= 4 * workers + workers + 2
    assert alive == 0


@pytest.mark.parametrize("workers", WORKERS)
def test_failure_names_the_image_after_the_ones_before_it(workers):
    delivered = []

    def fail(loaded, output):
        if loaded in (3, 5):
            raise ValueError("shapes differ")
        return loaded

    words = r"^image im 3: ValueError: shapes differ \(test_pipeline\.py, line \d+\)$"
    with pytest.raises(ImageError, match=words) as caught:
        run_pipeline(
            [f"im {index}" for index in range(9)],
            load=lambda index: index,
            forward=lambda value: value,
            score=fail,
            deliver=lambda done: delivered.append(done.id),
            workers=workers,
        )
    assert delivered == ["im 0", "im 1", "im 2"]
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("workers", WORKERS)
def test_failure_of_an_earlier_score_comes_before_one_of_the_network(workers):
    def forward(value):
        if value == 4:
            raise RuntimeError("forward")
        return value

    def score(loaded, output):
        if loaded == 3:
            raise OSError("score")
        return loaded

    with pytest.raises(ImageError, match="image im 3: OSError: score"):
        run(9, workers, forward=forward, score=score)
    with pytest.raises(RuntimeError, match=r"^forward$"):
        run(9, workers, forward=forward)


@pytest.mark.parametrize("workers", WORKERS)
def test_mistakes_of_the_user_stay_what_they_are(workers):
    def damaged(index):
        if index == 2:
            raise UserError("zrr: 2.png is damaged.")
        return index

    def refuse(loaded, output):
        raise UserError("images of 10x10 pixels")

    def exhausted(loaded, output):
        raise MemoryError("no memory")

    with pytest.raises(UserError, match=r"^zrr: 2.png is damaged"):
        run(5, workers, load=damaged)
    with pytest.raises(UserError, match=r"^image im 0: images of 10x10 pixels"):
        run(5, workers, score=refuse)
    with pytest.raises(MemoryError, match="no memory"):
        run(5, workers, score=exhausted)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_or_a_full_disk_stops_at_once(workers, error):
    loaded, delivered = [], []

    def deliver(done):
        if done.id == "7":
            raise error("stop")
        delivered.append(done.id)

    before = threading.active_count()
    with pytest.raises(error, match="stop"):
        run_pipeline(
            [str(index) for index in range(500)],
            load=lambda index: loaded.append(index),
            forward=lambda value: None,
            score=lambda a, b: None,
            deliver=deliver,
            workers=workers,
        )
    assert delivered == [str(index) for index in range(7)]
    assert len(loaded) < 100
    assert threading.active_count() == before


def test_scores_do_not_depend_on_the_number_of_workers():
    random = np.random.default_rng(0)
    targets = random.random((6, 180, 190, 3), dtype=np.float32)
    noise = 0.1 * random.standard_normal(targets.shape, dtype=np.float32)
    ids = ("psnr[rgb]", "ssim[gaussian11,rgb]", "msssim[perchannel]", "ssim[uniform7,skimage]")

    def scores(workers):
        return run(
            len(targets),
            workers,
            load=lambda index: index,
            forward=lambda index: np.clip(targets[index] + noise[index], 0, 1),
            score=lambda index, output: score_fast(output, targets[index], ids),
        )

    expected = scores(0)
    assert all(scores(workers) == expected for workers in (1, 2, 4))


def test_seconds_are_reported():
    finished = []
    run_pipeline(["a"], load=lambda i: i, forward=lambda x: x, score=lambda a, b: 1, deliver=finished.append, workers=1)
    assert min(finished[0].load_seconds, finished[0].forward_seconds, finished[0].score_seconds) >= 0
    assert default_workers() >= 1
