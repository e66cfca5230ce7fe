"""One timing at a time on a machine, and no other work of the tool beside it."""

from __future__ import annotations

import threading

from benchmark.host.turns import timing_turn, work_turns
from benchmark.reporting import Reporter


class Notes(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.waiting = threading.Event()

    def note(self, message: str) -> None:
        self.lines.append(message)
        self.waiting.set()


def in_a_thread(function) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_a_second_timing_waits_and_says_so() -> None:
    order: list[str] = []
    notes = Notes()

    def second() -> None:
        with timing_turn(notes):
            order.append("second")

    with timing_turn(Reporter()):
        thread = in_a_thread(second)
        assert notes.waiting.wait(20)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]
    assert notes.lines == ["other work of zoo-bench runs on this machine; the timing waits until it has finished ..."]


def test_work_goes_on_beside_work_but_not_beside_a_timing() -> None:
    order: list[str] = []
    notes = Notes()
    begun = threading.Event()

    def time_it() -> None:
        with timing_turn(notes):
            order.append("timing")

    def step() -> None:
        begun.set()
        with work_turns() as turn, turn():
            order.append("later work")

    with work_turns() as turn, work_turns() as other:
        with turn(), other():
            timing = in_a_thread(time_it)
            assert notes.waiting.wait(20)
            # The timing waits for us; new work waits behind the timing.
            later = in_a_thread(step)
            assert begun.wait(20)
            order.append("work")
        timing.join(20)
        later.join(20)
    assert order == ["work", "timing", "later work"]
