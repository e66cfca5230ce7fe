"""Undo changes that the code of a plug-in or a network made to this process.

An imported library may change the working directory, torch's default type or the number of threads. Then the next
model would be measured under other conditions than its record says, and files would be written elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# Environment variables that influence this tool and its child processes.
_VARIABLES = ("ZOO_BENCH_", "OMP_", "MKL_", "OPENBLAS_")
Place = tuple[Callable[[], Any], Callable[[Any], object]]


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Undo, after the block, all changes that the block made to this process."""
    before = read()
    try:
        yield
    finally:
        put_back(before)


def read() -> dict[str, Any]:
    """Return the readable state of this process: each part by its name."""
    found = {}
    for name, (get, _) in _places().items():
        with contextlib.suppress(OSError, RuntimeError):
            found[name] = get()
    return found


def put_back(before: dict[str, Any]) -> list[str]:
    """Restore all parts that changed since ``before`` was read; return their names."""
    changed = []
    for name, (get, put) in _places().items():
        with contextlib.suppress(OSError, RuntimeError):
            if name in before and get() != before[name]:
                changed.append(name)
                put(before[name])
    return changed


@contextlib.contextmanager
def staying() -> Iterator[None]:
    """Make ``os._exit`` raise SystemExit, because other people's code could end the process without a message."""
    real, owner = os._exit, os.getpid()

    def leave(status: int) -> None:
        if os.getpid() != owner:
            real(status)
        raise SystemExit(f"os._exit({status}) was called")

    os._exit = leave  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = real


def _places() -> dict[str, Place]:
    places: dict[str, Place] = {
        "the working directory": (os.getcwd, os.chdir),
        "the umask": (_umask, os.umask),
        "the standard streams": (lambda: (sys.stdin, sys.stdout, sys.stderr), _set_streams),
        "the recursion limit": (sys.getrecursionlimit, sys.setrecursionlimit),
        "environment variables": (_variables, _set_variables),
        "the filters of warnings": (lambda: list(warnings.filters), _set_filters),
        "json": (lambda: dict(vars(json)), vars(json).update),
    }
    if threading.current_thread() is threading.main_thread():
        places["signal handlers"] = (_handlers, _set_handlers)
    # Importing it here would make every command slow.
    if (torch := sys.modules.get("torch")) and hasattr(torch, "get_default_device"):
        places |= {
            "torch's default type": (torch.get_default_dtype, torch.set_default_dtype),
            "torch's default device": (torch.get_default_device, _set_device),
            "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
            "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled),
            "torch's choice of algorithms": (
                torch.are_deterministic_algorithms_enabled,
                torch.use_deterministic_algorithms,
            ),
            "torch's precision of products": (
                torch.get_float32_matmul_precision,
                torch.set_float32_matmul_precision,
            ),
        }
    return places


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _set_streams(streams: tuple[Any, Any, Any]) -> None:
    sys.stdin, sys.stdout, sys.stderr = streams


def _variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_VARIABLES)}


def _set_variables(variables: dict[str, str]) -> None:
    for name in _variables().keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}


def _set_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)


def _set_device(device: Any) -> None:
    sys.modules["torch"].set_default_device(None if str(device) == "cpu" else device)
