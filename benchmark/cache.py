"""The user's cache folder: files that the tool can make again."""

from __future__ import annotations

import contextlib
import difflib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from zoo.errors import UserError

CACHE_VARIABLE = "ZOO_BENCH_CACHE"


def cache_root() -> Path:
    """Return the cache folder: ``$ZOO_BENCH_CACHE`` if set, else the platform's cache of this user."""
    override = os.environ.get(CACHE_VARIABLE)
    return Path(override).expanduser() if override else platformdirs.user_cache_path("zoo-bench", appauthor=False)


@contextlib.contextmanager
def explain_write_errors(folder: Path, advice: str) -> Iterator[None]:
    """Turn an OSError into a UserError that names ``folder`` and says what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror or error}). {advice}") from error


@dataclass(frozen=True)
class Part:
    """One kind of cached files: its name, a description, and a pattern for the names of its folders."""

    name: str
    meaning: str
    folders: str

    def paths(self) -> list[Path]:
        """Return its existing folders, including incomplete ones that a killed process has left.

        Locks are not included: if one were removed while a process holds it, a second process could take it.
        """
        root = cache_root()
        found = {*root.glob(self.folders), *root.glob(f".{self.folders}.partial")}
        return sorted(path for path in found if path.suffix != ".lock")

    def size(self) -> int:
        """Return the bytes of its files."""
        files = (file for path in self.paths() for file in (path, *path.rglob("*")))
        return sum(file.stat().st_size for file in files if file.is_file())


PARTS = (
    Part("standin", "stand-ins of the datasets, built again when next used", "*-standin-v*"),
    Part("ceilings", "this machine's ceilings of arithmetic and memory, and how near its cores lay", "ceilings"),
    Part("quantized", "networks in int8, written again when next used", "quantized"),
    Part("tiles", "speeds of networks by the size of a tile, which earlier versions measured", "tiles"),
    Part("counts", "costs of the networks in the papers' tables", "counts"),
    Part("data-check", "what `data check` read of files that have not changed since", "data-check"),
)


def clear(names: Iterable[str] = ()) -> dict[str, int]:
    """Remove the named parts (none: all) and return the bytes that each took; nothing else in the folder is touched.

    A process that is reading a removed part loses it. Raises UserError for an unknown name and for files that cannot be
    removed.
    """
    known = {part.name: part for part in PARTS}
    wanted = list(names) or list(known)
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or list(known)
            raise UserError(f"cache clear {name}: the cache has no part of that name; did you mean {', '.join(near)}?")
    freed = {}
    for name in wanted:
        freed[name] = known[name].size()
        for path in known[name].paths():
            _remove(path)
    return freed


def _remove(path: Path) -> None:
    # The folder is renamed first: no process must find half a stand-in under its name.
    going = path.with_name(f".{path.name.strip('.')}.partial")
    try:
        if path != going:
            shutil.rmtree(going, ignore_errors=True)
            path.rename(going)
        shutil.rmtree(going)
    except FileNotFoundError:
        return  # another process was faster
    except OSError as error:
        raise UserError(f"cannot remove {path} ({error.strerror or error}); remove it by hand.") from error
