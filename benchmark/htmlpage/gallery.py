"""The pictures of records, as data URIs with limits on number and size."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.imaging.pictures import INDEX, VIEWS
from benchmark.leaderboard.rows import Row
from benchmark.results.store import beside
from benchmark.types import Result

# Limit for all pictures together, before base64 adds a third: the page must be easy to send and open.
TOTAL_BYTES = 24 << 20
# Limit for one picture: the pictures that `run` writes have a tenth of this size.
ONE_BYTES = 2 << 20
_JPEG = b"\xff\xd8\xff"


class NoPicturesError(Exception):
    """A row has no pictures; the message is a sentence for the page that gives the reason."""


@dataclass
class Gallery:
    """Collects pictures; equal pictures are stored once. ``limit``: images per row."""

    limit: int
    pictures: list[str] = field(default_factory=list)
    left: int = field(default_factory=lambda: TOTAL_BYTES)
    _known: dict[bytes, int] = field(default_factory=dict)

    def add(self, row: Row) -> list[dict[str, Any]]:
        """Return the images of a record, with indices into ``pictures`` by view; raises NoPicturesError."""
        folder = self._folder(row.result)
        images = []
        for entry in _read_index(folder)[: self.limit]:
            try:
                scores = {str(name): value for name, value in entry["scores"].items()} if row.is_scored else {}
                shown = [(str(entry["id"]), entry)]
                if crop := entry.get("crop"):
                    left, top = crop["at"]
                    shown.append((f"{entry['id']}: 1:1 at {int(left)}, {int(top)}", crop))
                found = [
                    ({"id": id, "size": [int(side) for side in part["size"]]}, _read_views(folder, part["files"]))
                    for id, part in shown
                ]
            except (KeyError, TypeError, ValueError) as error:
                raise NoPicturesError(f"the index of the pictures is damaged ({error!r})") from None
            images += [{**part, "scores": scores, "views": self._take(contents)} for part, contents in found]
        if not images:
            raise NoPicturesError("the index of the pictures is empty")
        return images

    def _folder(self, result: Result) -> Path:
        if result.gallery is None:
            costs_only = "costs only: no image was passed through it"
            raise NoPicturesError("its run kept no separate pictures" if result.spec.evaluate else costs_only)
        folder = beside(result, result.gallery)
        if folder is None:
            raise NoPicturesError("the record names a folder outside that of its file")
        if not (folder / INDEX).is_file():
            raise NoPicturesError("they are not beside the record's file any more")
        return folder

    def _take(self, contents: dict[str, bytes]) -> dict[str, int]:
        """Return the indices of pictures and add new ones; raises NoPicturesError beyond the limit."""
        new = {content for content in contents.values() if content not in self._known}
        size = sum(map(len, new))
        if size > self.left:
            raise NoPicturesError(f"the page holds at most {TOTAL_BYTES >> 20} MiB of pictures; show fewer per row")
        self.left -= size
        for content in contents.values():
            if content not in self._known:
                self._known[content] = len(self.pictures)
                self.pictures.append("data:image/jpeg;base64," + base64.b64encode(content).decode("ascii"))
        return {view: self._known[content] for view, content in contents.items()}


def _read_index(folder: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoPicturesError(f"the index of the pictures cannot be read ({error!r})") from None


def _read_views(folder: Path, files: dict[str, str]) -> dict[str, bytes]:
    return {view: _read_picture(folder, files[view]) for view in VIEWS}


def _read_picture(folder: Path, name: str) -> bytes:
    """Return a JPEG's bytes; raises NoPicturesError if it is not a JPEG in the folder."""
    path = folder / Path(name).name
    if not path.resolve().is_relative_to(folder):
        raise NoPicturesError(f"{path.name} is a link out of the folder")
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= ONE_BYTES else b""
    except OSError as error:
        raise NoPicturesError(f"{path.name} cannot be read ({error.strerror or error})") from None
    if not content.startswith(_JPEG):
        raise NoPicturesError(f"{path.name} is no JPEG of at most {ONE_BYTES >> 20} MiB")
    return content
