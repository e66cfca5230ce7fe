"""Child processes that end in every way: the parent always gets an outcome, and what was sent before is kept."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from benchmark.conditions import Limits
from benchmark.host import machine
from benchmark.host.child import describe_failure, is_out_of_memory
from benchmark.host.isolation import can_isolate, run_here, run_isolated
from tests.conftest import TINY
from zoo import plugins
from zoo.errors import UserError

HERE = "tests.children:"
# Without the plug-ins that other tests have loaded: they import torch, which takes most of a child's time and memory.
in_child = functools.partial(run_isolated, plugin_files=[])
linux = pytest.mark.skipif(not machine.has_process_memory(), reason="memory is read from /proc")


def test_a_value_comes_back_and_prints_do_not_disturb() -> None:
    seen = []
    outcome = in_child(HERE + "add", {"a": 1, "b": 2}, on_event=seen.append)
    assert (outcome.status, outcome.error, outcome.value["sum"]) == ("ok", None, 3)
    assert outcome.value["session"]
    assert outcome.events == seen == [{"half": 1}]
    assert "a model that prints" in outcome.stderr
    assert outcome.seconds > 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_child_killed_by_a_signal_is_an_outcome_that_names_it(how: signal.Signals) -> None:
    outcome = in_child(HERE + "die", {"how": int(how)})
    assert (outcome.status, outcome.error, outcome.events) == ("error", f"killed by {how.name}", [1])


def test_a_crash_of_the_interpreter_is_an_outcome() -> None:
    outcome = in_child(HERE + "crash", {})
    assert (outcome.status, outcome.error, outcome.events) == ("error", "killed by SIGSEGV", [1])


def test_a_child_that_leaves_without_a_word_is_an_outcome_with_its_last_line() -> None:
    outcome = in_child(HERE + "leave", {})
    assert (outcome.status, outcome.events) == ("error", [1])
    assert outcome.error == "the process ended with status 3: no reason given"


@pytest.mark.parametrize(
    ("kind", "status", "exception", "error"),
    [
        ("user", "error", "UserError", "width must be even"),
        ("memory", "oom", "MemoryError", "MemoryError: as if"),
        ("other", "error", "ValueError", "ValueError: a b"),
    ],
)
def test_exceptions_are_outcomes(kind: str, status: str, exception: str, error: str) -> None:
    outcome = in_child(HERE + "refuse", {"kind": kind})
    told, _, place = outcome.error.partition(" (")
    assert (outcome.status, outcome.exception, told) == (status, exception, error)
    assert place.startswith("children.py, line ") == (kind == "other")


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("garbage", "wrote into a file descriptor that is not its own"),
        ("message", "wrote into a file descriptor that is not its own"),
        ("close", "the process ended with status 1"),
        ("surrogate", r"RuntimeError: bad \ud800 text"),
        ("text", "_NoText: its message cannot be read"),
        ("name", "children.UserError: not ours"),
    ],
)
def test_whatever_a_model_does_to_its_worker_is_an_outcome(how: str, error: str) -> None:
    outcome = in_child(HERE + "forge", {"how": how})
    assert (outcome.status, outcome.value) == ("error", None)
    assert error in outcome.error
    assert outcome.exception != "UserError"


@pytest.mark.parametrize("how", ["json", "fork", "streams", "free"])
def test_what_a_model_changes_or_starts_does_not_disturb(how: str) -> None:
    outcome = in_child(HERE + "forge", {"how": how})
    assert (outcome.status, outcome.value, outcome.events) == ("ok", how, [1])


def test_a_function_that_does_not_exist_is_an_outcome() -> None:
    assert in_child("benchmark.nowhere:f", {}).exception == "ModuleNotFoundError"


def test_the_time_limit_ends_a_child_and_keeps_what_it_sent() -> None:
    outcome = in_child(HERE + "sleep", {}, limits=Limits(seconds=0.3))
    assert (outcome.status, outcome.error) == ("timeout", "stopped after the time limit of 0.3 s")
    assert outcome.events == list(range(len(outcome.events)))
    assert 1 <= len(outcome.events) < 1000


@linux
@pytest.mark.parametrize("function", ["fill", "fill_in_a_child"])
def test_the_memory_limit_ends_a_child_and_keeps_what_it_sent(function: str) -> None:
    limits = Limits(memory_bytes=256 << 20, seconds=60)
    outcome = in_child(HERE + function, {}, limits=limits)
    assert outcome.status == "oom"
    if function == "fill":
        # Which of the two limits is first depends on the machine's speed.
        assert outcome.error in ("MemoryError: ", f"stopped at the memory limit of {256 << 20:,} bytes")
        assert 1 <= len(outcome.events) < 64
    else:
        assert outcome.error == f"stopped at the memory limit of {256 << 20:,} bytes"


def test_memory_limits_need_a_system_that_tells(monkeypatch) -> None:
    monkeypatch.setattr(machine, "has_process_memory", lambda: False)
    with pytest.raises(UserError, match="a memory limit needs /proc"):
        in_child(HERE + "add", {"a": 1, "b": 2}, limits=Limits(memory_bytes=1))


def test_plug_ins_are_passed_on(tiny: Path) -> None:
    assert str(TINY) in plugins.loaded_files()
    assert run_isolated(HERE + "names_of_models", {}).value is True


def test_only_what_a_child_can_load_is_isolated(tiny: Path) -> None:
    from zoo.card import MODELS

    assert can_isolate(MODELS.get("tiny_net").build)
    assert can_isolate(MODELS.get("unet").build)
    assert not can_isolate(lambda: None)


def test_interrupting_the_parent_ends_the_child() -> None:
    pids = []

    def interrupt(event) -> None:
        pids.append(event["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_child(HERE + "linger", {}, on_event=interrupt)
    assert not _lives(pids[0])


def test_a_child_ends_with_its_parent() -> None:
    outcome = in_child(HERE + "start_a_child", {}, on_event=lambda event: os.kill(event["parent"], signal.SIGKILL))
    assert outcome.error == "killed by SIGKILL"
    (event,) = outcome.events
    deadline = time.monotonic() + 20
    while _lives(event["pid"]) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert not _lives(event["pid"])


def _lives(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError):
        # A dead process that nobody has waited for is still listed.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return not Path("/proc/self").exists()
    return False


def test_in_this_process_exceptions_are_outcomes_too() -> None:
    seen = []

    def fail(*, value, emit):
        emit(value)
        raise MemoryError("as if")

    outcome = run_here(fail, {"value": 1}, on_event=seen.append)
    assert (outcome.status, outcome.error, outcome.events, seen) == ("oom", "MemoryError: as if", [1], [1])
    assert run_here(lambda *, emit: 5, {}).value == 5


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
    assert describe_failure(error)["status"] == ("oom" if expected else "error")
