"""Stand-ins on disk: the marker that identifies one, and the user's cache, where each is built only once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.cache import CACHE_VARIABLE, cache_root, explain_write_errors
from benchmark.replacing import replace_text
from zoo.errors import UserError
from zoo.writing import sync_folder

MARKER = "zoo-bench-standin.json"


def write_marker(folder: Path, content: dict[str, Any]) -> None:
    """Write the marker as the last file of a stand-in; a folder without a marker is not finished."""
    path = folder / MARKER
    replace_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_marker(folder: Path) -> dict[str, Any] | None:
    """Return the marker's content, None if the folder has none; raises UserError if it is damaged."""
    path = folder / MARKER
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); expected a stand-in's marker. {rebuild_advice(folder)}"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}; expected a JSON object. {rebuild_advice(folder)}")
    return content


def rebuild_advice(folder: Path) -> str:
    """Return the next step for a damaged stand-in, in the cache (where it is rebuilt automatically) or elsewhere."""
    return f"Remove {folder} and write the stand-in again."


def is_complete(folder: Path, **wanted: object) -> bool:
    """Return whether the folder's marker has the entries ``wanted``, and all listed files exist with the right size.

    Only sizes are checked, not digests, because this runs before every use. Content is checked when a sample is read.
    """
    try:
        marker = read_marker(folder)
        if marker is None or any(marker[key] != value for key, value in wanted.items()):
            return False
        return files_are_whole(folder, marker["files"])
    except (UserError, OSError, KeyError, TypeError, AttributeError):
        return False


def files_are_whole(root: Path, files: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether every file exists with its size."""
    try:
        return all((root / path).stat().st_size == entry["size"] for path, entry in files.items())
    except OSError:
        return False


def build_once(name: str, build: Callable[[Path], None], complete: Callable[[Path], bool]) -> Path:
    """Return the folder ``name`` of the cache; it is built first if it is not ``complete``.

    ``build`` fills an empty folder, which gets its name only when everything is on disk, so a later run never uses the
    rest of a crash. Other processes that need the folder wait for the one that builds it. Raises UserError if the cache
    cannot be written.
    """
    root = cache_root()
    folder = root / name
    if complete(folder):
        return folder
    with explain_write_errors(root, f"Free some space, or set {CACHE_VARIABLE} to a folder that you can write to."):
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if not complete(folder):
                _build(folder, build)
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    # This process holds the lock, so an existing folder of this name was left by a process that has ended.
    partial = folder.with_name(f".{folder.name}.partial")
    _remove(partial)
    partial.mkdir()
    try:
        build(partial)
        _flush(partial)
        _remove(folder)
        os.rename(partial, folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _remove(path: Path) -> None:
    """Remove a folder or file; the marker goes first, so that after a crash nothing looks finished."""
    if path.is_dir() and not path.is_symlink():
        (path / MARKER).unlink(missing_ok=True)
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(folder: Path) -> None:
    """Force every file and folder below to disk, so that after a power failure no name exists without its content."""
    for path, _, files in os.walk(folder):
        for file in files:
            with open(os.path.join(path, file), "rb+") as stream:
                os.fsync(stream.fileno())
        sync_folder(Path(path))
