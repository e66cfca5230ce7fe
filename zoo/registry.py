"""A collection of named items that suggests similar names; models, datasets, metrics and profilers each have one."""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from zoo.errors import UserError, nearest, shortened

T = TypeVar("T")


def pieces_of(package: str) -> Callable[[], None]:
    """Return a function that imports every module of a package: each registers its piece."""

    def load() -> None:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")

    return load


class Registry(Generic[T]):
    """Map from name to item for one ``kind`` of piece.

    ``load`` is called once, before the first look-up, and imports the built-in pieces. So importing the
    registry costs nothing, and ``zoo-bench --help`` stays fast. Other threads wait until it is done.
    """

    def __init__(self, kind: str, load: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}
        self._load = load
        self._loading = False
        self._lock = threading.RLock()

    def add(self, name: str, item: T) -> None:
        """Register ``item``; raises UserError if the name is taken, also by a built-in piece."""
        self._ensure_loaded()
        if name in self._items:
            raise UserError(f"a {self.kind} called '{name}' is registered already; give one of the two another name.")
        self._items[name] = item

    def get(self, name: str) -> T:
        """Return the item called ``name``; raises UserError with the nearest names otherwise."""
        self._ensure_loaded()
        if name not in self._items:
            raise UserError(f"no {self.kind} called '{shortened(name)}'{nearest(name, self._items)}")
        return self._items[name]

    def names(self, pattern: str = "*") -> list[str]:
        """Return the registered names that match a shell ``pattern``, sorted."""
        self._ensure_loaded()
        return sorted(fnmatch.filter(self._items, pattern))

    def __iter__(self) -> Iterator[T]:
        return (self._items[name] for name in self.names())

    def __contains__(self, name: str) -> bool:
        self._ensure_loaded()
        return name in self._items

    def _ensure_loaded(self) -> None:
        if self._load is None:
            return
        with self._lock:
            # Pieces look up others while they are imported, so the lock is reentrant.
            if self._load is None or self._loading:
                return
            self._loading = True
            try:
                self._load()
                self._load = None
            finally:
                self._loading = False
