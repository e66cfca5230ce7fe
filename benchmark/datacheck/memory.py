"""Remember the measured facts of unchanged files, in one small database per folder in the user's cache."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmark.cache import cache_root

_TABLE = "CREATE TABLE IF NOT EXISTS facts (unit TEXT PRIMARY KEY, state TEXT NOT NULL, facts TEXT NOT NULL)"


class Memory:
    """Facts by unit; they are valid while size and both times (in ns) of every file stay the same.

    The time of the last content change can be set back, and copying tools do so; the time of the inode cannot.
    """

    def __init__(self, root: Path, version: int) -> None:
        """Open the database of a folder; if it cannot be opened or is damaged, nothing is remembered."""
        self.version = version
        self.connection: sqlite3.Connection | None = None
        folder = cache_root() / "data-check"
        file = folder / f"{sha256(os.fsencode(root.resolve())).hexdigest()[:20]}.sqlite"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.connection = sqlite3.connect(file, timeout=10)
            self.connection.execute(_TABLE)
        except (OSError, sqlite3.Error):
            self.close()

    def state(self, files: Sequence[Path]) -> str | None:
        """Return the state that must not change; None if a file cannot be accessed."""
        try:
            stats = [os.stat(file) for file in files]
        except OSError:
            return None
        return f"v{self.version} " + " ".join(f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}" for stat in stats)

    def recall(self, unit: str, state: str | None) -> Any | None:
        """Return the facts of a unit if they are known for this state of its files."""
        if self.connection is None or state is None:
            return None
        try:
            query = "SELECT facts FROM facts WHERE unit = ? AND state = ?"
            row = self.connection.execute(query, (unit, state)).fetchone()
            return json.loads(row[0]) if row else None
        except (sqlite3.Error, ValueError):
            return None

    def keep(self, unit: str, state: str | None, facts: Any) -> None:
        """Remember the facts of a unit; ``commit`` writes them to disk."""
        if self.connection is not None and state is not None:
            with contextlib.suppress(sqlite3.Error):
                row = (unit, state, json.dumps(facts, separators=(",", ":")))
                self.connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", row)

    def commit(self) -> None:
        """Write the kept facts to disk, so that a stopped check continues from there."""
        if self.connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self.connection.commit()

    def close(self) -> None:
        """Commit and close."""
        self.commit()
        if self.connection is not None:
            self.connection.close()
            self.connection = None
