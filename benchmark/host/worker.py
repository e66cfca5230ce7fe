"""The child's side of ``benchmark.host.engine``: take one request, call one function, report in JSON lines.

What the function or a model prints goes to stderr: the real stdout is the channel to the parent. The child ends
with its parent, also when that one is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import threading
from typing import Any

from benchmark.host import machine


class Channel:
    """Writes JSON lines to the parent; they have left this process when ``send`` returns."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, kind: str, value: Any = None) -> None:
        """Send one line ``{kind: value}``."""
        data = json.dumps({kind: value}).encode() + b"\n"
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]


def main() -> None:
    """Serve the one request on stdin and end the process."""
    channel = Channel(os.dup(1))
    os.dup2(2, 1)
    request = json.loads(sys.stdin.buffer.readline())
    _end_with_parent(request["parent"])
    machine.prefer_as_victim()
    try:
        channel.send("done", _serve(request, channel))
    except BaseException as error:
        channel.send("failed", describe_failure(error))
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Everything is said; a library that crashes while the interpreter is taken down must not matter.
    os._exit(0)


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
    channel.send("ready")
    return function(**request["arguments"], emit=lambda event: channel.send("event", event))


def _limit_memory(limit: int) -> None:
    """Refuse allocations that would take the resident memory beyond ``limit``, were they used.

    RLIMIT_AS would count torch's reserved and shared address space, gigabytes that are never used; RLIMIT_DATA
    counts private writable memory only, and is set to what there is now plus the room that is left.
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
        os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return an exception as ``{status, type, message}``; running out of memory has a status of its own."""
    text = " ".join(str(error).split())[:300]
    return {"status": "oom" if is_out_of_memory(error) else "error", "type": type(error).__name__, "message": text}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out; torch says it in several ways."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    signs = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "cannot allocate memory")
    return isinstance(error, (RuntimeError, OSError)) and any(sign in text for sign in signs)
