"""Load a user's own models, datasets and metrics from a file or an installed distribution, and classes by name."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.errors import UserError, in_one_line, nearest, shortened, with_place
from zoo.inputs import regular_file
from zoo.surroundings import kept, staying

GROUP = "zoo_bench.plugins"
_PREFIX = "zoo_bench_plugin_"
# Modules that plug-ins imported, and the loaded files.
_provided: set[str] = set()
_files: list[str] = []


def load_file(path: str | Path) -> None:
    """Import the Python file at ``path``; its decorators register its models, datasets and metrics.

    A second call for the same file does nothing. Raises UserError, with the failing line, if the file is
    missing, is not Python, raises, or exits the process.
    """
    before = set(sys.modules)
    _import_file(path, "--plugin", "a Python file with @register_... functions")
    if (file := str(Path(path).resolve())) not in _files:
        _provided.update(set(sys.modules) - before)
        _files.append(file)


@contextlib.contextmanager
def find_object(place: str, flag: str) -> Iterator[Any]:
    """Yield what ``place`` names: ``path/to/file.py:Name``, or ``package.module:Name`` seen from the working directory.

    In the block, imports are found as if Python had been started with that file or module. Raises UserError, which
    begins with ``flag``, if there is nothing of this name or its code fails.
    """
    source, _, name = place.rpartition(":")
    if not source or not name:
        raise UserError(f"{flag} {shortened(place)}: expected MODULE:CLASS or path/to/file.py:CLASS.")
    is_file = source.endswith(".py") or os.sep in source
    folders = [os.path.dirname(os.path.abspath(source))] if is_file else []
    before = list(sys.path)
    sys.path[:0] = [*folders, os.getcwd()]
    try:
        found = _import(source, flag, is_file=is_file)
        for part in name.split("."):
            if not hasattr(found, part):
                known = nearest(part, [key for key in dir(found) if not key.startswith("_")])
                raise UserError(f"{flag}: {shortened(source, 400)} has no '{shortened(name)}'{known}")
            found = getattr(found, part)
        yield found
    finally:
        sys.path[:] = before


def _import(source: str, flag: str, *, is_file: bool) -> ModuleType:
    try:
        return _import_file(source, flag, "a Python file") if is_file else _import_module(source, flag)
    except UserError as error:
        if isinstance(error.__cause__, ImportError):
            advice = "start in the folder from which its imports work, or name that folder in PYTHONPATH"
            raise UserError(f"{error}; {advice}.") from error.__cause__
        raise


def _import_file(path: str | Path, flag: str, expected: str) -> ModuleType:
    """Return the module in a file; a second call for the same file returns the same module."""
    file = regular_file(path, expected, flag).resolve()
    name = _PREFIX + hashlib.sha256(os.fsencode(file)).hexdigest()[:12]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"{flag}: {shortened(path, 400)} cannot be imported; expected a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        _call(spec.loader.exec_module, module)
    except (Exception, SystemExit, GeneratorExit) as error:
        sys.modules.pop(name, None)
        line = _line(error, file)
        reason = _reason(error).removesuffix(f" ({shortened(file.name)}{line})")
        raise UserError(f"{flag}: {shortened(path, 400)}{line}: {reason}") from error
    return module


def _import_module(name: str, flag: str) -> ModuleType:
    try:
        _call(importlib.import_module, name)
    except (Exception, SystemExit, GeneratorExit) as error:
        raise UserError(f"{flag}: the module {shortened(name)} cannot be imported: {_reason(error)}") from error
    return sys.modules[name]


def loaded_files() -> list[str]:
    """Return the files that ``load_file`` has loaded, in that order."""
    return list(_files)


def is_provided(module: str) -> bool:
    """Whether another process with the same plug-ins has this module: it is ours or a plug-in imported it."""
    return module.partition(".")[0] in ("zoo", "benchmark") or module in _provided


def load_entry_points() -> list[str]:
    """Load every installed plug-in of the group ``zoo_bench.plugins``; return one line per failure.

    Failures are returned, not raised, because a broken plug-in of another author must not stop a run.
    """
    failures = []
    for point in entry_points(group=GROUP):
        before = set(sys.modules)
        try:
            _call(point.load)
        except (Exception, SystemExit, GeneratorExit) as error:
            where = f"plug-in '{shortened(point.name)}' ({shortened(point.value)})"
            failures.append(f"{where} did not load: {_reason(error)}")
        else:
            _provided.update({*(set(sys.modules) - before), point.module})
    return failures


def _call(load: Callable[..., Any], *arguments: Any) -> None:
    """Run a plug-in's code; its changes to this process are undone, and it cannot end the process."""
    pressed = []

    def press(number: int, frame: Any) -> None:
        pressed.append(number)
        raise KeyboardInterrupt

    # Every plug-in imports torch; it is imported first because only changes to imported modules can be detected.
    import torch  # noqa: F401

    with kept(), staying():
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, press)
        try:
            load(*arguments)
        except KeyboardInterrupt as error:
            if pressed:
                raise
            raise SystemExit("a KeyboardInterrupt that nobody pressed").with_traceback(error.__traceback__) from None


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it leaves the process ({in_one_line(error)}); a plug-in registers its pieces and returns."
    return with_place(error, 400)


def _line(error: BaseException, file: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno and error.filename == str(file):
        return f", line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f", line {frames[-1].lineno}" if frames else ""
