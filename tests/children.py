"""What the children in the tests of the engine run: functions that behave and misbehave. Light imports only."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time

from zoo.errors import UserError


def add(*, a, b, emit):
    emit({"half": a})
    print("a model that prints to stdout")
    return {"sum": a + b, "threads": os.environ.get("OMP_NUM_THREADS"), "session": os.getsid(0) == os.getpid()}


def die(*, how, emit):
    emit(1)
    os.kill(os.getpid(), how)


def crash(*, emit):
    emit(1)
    ctypes.string_at(0)


def leave(*, emit):
    emit(1)
    print("no reason given", file=sys.stderr)
    sys.stderr.flush()
    os._exit(3)


def refuse(*, kind, emit):
    raise {"user": UserError("width must be even"), "memory": MemoryError("as if"), "other": ValueError("a\nb")}[kind]


def sleep(*, emit):
    for index in range(1000):
        emit(index)
        time.sleep(0.05)


def fill(*, emit):
    """Hold more and more memory, as lists of small pieces and as one large piece."""
    held = []
    for index in range(400):
        held.append(bytearray(os.urandom(1)) * (4 << 20))
        emit(index)


def fill_in_a_child(*, emit):
    """Fork; the memory limit that the child process of a child does not share must end it."""
    code = "x = [bytearray(b'1') * (4 << 20) for _ in range(100)]; import time; time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=False, preexec_fn=_without_limit)


def _without_limit():
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def names_of_models(*, emit):
    from zoo.card import MODELS

    return "tiny_net" in MODELS.names("tiny*")


def start_a_child(*, emit):
    """Report the id of a child of ours that would run for a minute."""

    from benchmark.host.engine import run_isolated

    def forward(event):
        emit({"parent": os.getpid(), "pid": event["pid"]})

    run_isolated("tests.children:linger", {}, on_event=forward)


def linger(*, emit):
    emit({"pid": os.getpid()})
    time.sleep(60)
