"""What the children in the tests of the engine run: functions that behave and misbehave. Light imports only."""

from __future__ import annotations

import contextlib
import ctypes
import json
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

    from benchmark.host.isolation import run_isolated

    def forward(event):
        emit({"parent": os.getpid(), "pid": event["pid"]})

    run_isolated("tests.children:linger", {}, on_event=forward)


def linger(*, emit):
    emit({"pid": os.getpid()})
    time.sleep(60)


def forge(*, how, emit):
    """Write what is not ours into every descriptor, or take away what a worker speaks with."""
    if how == "garbage":
        _write_everywhere(b"\x00\xffgarbage\n")
    elif how == "message":
        _write_everywhere(b'{"done": 5}\n')
    elif how == "close":
        os.closerange(0, 200)
    elif how == "surrogate":
        raise RuntimeError("bad \ud800 text")
    elif how == "text":
        raise _NoText
    elif how == "json":
        json.dumps = lambda *values, **more: "patched"
    elif how == "fork":
        os.fork()
    elif how == "name":
        raise type("UserError", (Exception,), {})("not ours")
    elif how == "streams":
        sys.stdout = sys.stderr = None
    elif how == "free":
        subprocess.Popen(["sleep", "60"], start_new_session=True, stdout=subprocess.DEVNULL)
    emit(1)
    return how


class _NoText(Exception):  # noqa: N818
    def __str__(self):
        raise ValueError("no text")


def _write_everywhere(data):
    for descriptor in range(3, 40):
        with contextlib.suppress(OSError):
            os.write(descriptor, data)
