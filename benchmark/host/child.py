"""The child's side of ``benchmark.host.isolation``: take one request, call one function, report in JSON lines.

Everything that the function or a model prints goes to stderr: the real stdout is the channel to the parent, and its
lines begin with a word that only this request has. The child ends with its parent, also when the parent is killed.

A model may do anything in here: patch json, close descriptors, fork, leave threads behind. So the messages to the
parent use only what was imported before the model was loaded, and the process always ends by ``os._exit``.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import threading
from typing import Any

from benchmark.host import machine
from zoo.errors import UserError, place_of, printable, words_of

_leave, _write, _pid = os._exit, os.write, os.getpid
_encode = json.JSONEncoder(allow_nan=True).encode


class Channel:
    """Writes JSON lines to the parent; they have left this process when ``send`` returns."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._owner = _pid()
        # Each line begins with this word; the request gives it.
        self.word = b""

    def send(self, kind: str, value: Any = None) -> None:
        """Send one line ``{kind: value}``; a copy of this process that the model forked ends here instead."""
        if _pid() != self._owner:
            _leave(1)
        data = self.word + _encode({kind: value}).encode("ascii") + b"\n"
        with self._lock:
            while data:
                data = data[_write(self._descriptor, data) :]


def main() -> None:
    """Serve the one request on stdin and end the process."""
    channel = Channel(os.dup(1))
    os.dup2(2, 1)
    # Torch's import makes so many objects that looking through them takes an eighth of its time.
    gc.disable()
    request = json.loads(sys.stdin.buffer.readline())
    channel.word = request["word"].encode()
    _end_with_parent(request["parent"])
    machine.prefer_as_victim()
    try:
        try:
            channel.send("done", _serve(request, channel))
        except BaseException as error:
            channel.send("failed", describe_failure(error))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:
        # The channel is closed, or the streams are no longer Python's.
        with contextlib.suppress(OSError):
            _write(2, f"{type(error).__name__}: {words_of(error)}\n".encode())
        _leave(1)
    # All messages are sent; a library that crashes while the interpreter shuts down must not matter.
    _leave(0)


def _serve(request: dict[str, Any], channel: Channel) -> Any:
    if request["threads"]:
        import torch

        torch.set_num_threads(request["threads"])
    from zoo import plugins

    for failure in plugins.load_entry_points():
        print(f"warning: {failure}", file=sys.stderr)
    for path in request["plugins"]:
        plugins.load_file(path)
    module, _, name = request["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    if request["memory_limit"]:
        _limit_memory(request["memory_limit"])
    gc.enable()
    channel.send("ready")
    return function(**request["arguments"], emit=lambda event: channel.send("event", event))


def _limit_memory(limit: int) -> None:
    """Refuse allocations that, if they were used, would take the resident memory beyond ``limit``.

    RLIMIT_AS would count torch's reserved and shared address space, gigabytes that are never used; RLIMIT_DATA counts
    only private writable memory. It is set to the present amount plus the bytes that are left under the limit.
    """
    import resource

    data, resident = machine.data_bytes(), machine.resident_bytes()
    if data is None or resident is None:
        return
    room = data + max(limit - resident, 0)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (room, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _end_with_parent(parent: int) -> None:
    """End this process when its parent does: by the system's signal, and by the end of stdin."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        # A model may write into this pipe, or close it.
        while True:
            try:
                if not os.read(lifeline, 1):
                    _leave(1)
            except OSError:
                return

    threading.Thread(target=watch, daemon=True).start()


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return an exception as ``{status, type, message, plain}``; running out of memory has a status of its own.

    ``plain``: the message is a sentence of this tool for users. A model's exceptions may have the same names as ours,
    and their own code may fail.
    """
    ours, oom = isinstance(error, UserError), is_out_of_memory(error)
    name = printable(type(error).__name__[:100])
    return {
        "status": "oom" if oom else "error",
        "type": name if ours or not name.endswith("UserError") else f"{type(error).__module__}.{name}"[:200],
        "message": words_of(error, 2000) if ours else f"{words_of(error)}{'' if oom else place_of(error)}",
        "plain": ours,
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out; torch reports this in several ways."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = words_of(error, 2000).lower()
    signs = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "cannot allocate memory")
    return isinstance(error, (RuntimeError, OSError)) and any(sign in text for sign in signs)
