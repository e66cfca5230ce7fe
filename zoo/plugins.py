"""Load a user's own models, datasets and metrics from a file or an installed distribution."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from importlib.metadata import entry_points
from pathlib import Path

from zoo.errors import UserError

GROUP = "zoo_bench.plugins"
_PREFIX = "zoo_bench_plugin_"
# Modules that plug-ins brought with them, and the files that were named.
_provided: set[str] = set()
_files: list[str] = []


def load_file(path: str | Path) -> None:
    """Import the Python file at ``path``; its decorators register what it defines.

    Loading the same file twice is one load. Raises UserError, with the failing line, if the file is
    missing, is not Python, or raises.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise UserError(f"--plugin: no file at {path}; expected a Python file with @register_... functions.")
    name = _PREFIX + hashlib.sha256(str(file).encode()).hexdigest()[:12]
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin: {path} cannot be imported; expected a file that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"--plugin: {path}{_line(error, file)}: {type(error).__name__}: {error}") from error
    _provided.update(set(sys.modules) - before)
    _files.append(str(file))


def loaded_files() -> list[str]:
    """Return the files that ``load_file`` has loaded, in that order."""
    return list(_files)


def is_provided(module: str) -> bool:
    """Whether another process that loads the same plug-ins has this module: ours, or one that a plug-in brought."""
    return module.partition(".")[0] in ("zoo", "benchmark") or module in _provided


def load_entry_points() -> list[str]:
    """Load every installed plug-in of the group ``zoo_bench.plugins``; return one line per failure.

    A broken plug-in of somebody else's must not stop a user's run, so failures are returned, not raised.
    """
    failures = []
    for point in entry_points(group=GROUP):
        before = set(sys.modules)
        try:
            point.load()
        except Exception as error:
            failures.append(f"plug-in '{point.name}' ({point.value}) did not load: {type(error).__name__}: {error}")
        else:
            _provided.update({*(set(sys.modules) - before), point.module})
    return failures


def _line(error: Exception, file: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f", line {frames[-1].lineno}" if frames else ""
