"""Common code for the folders of datasets: the dataset's identity, defects, parts, scenes, a digest of file pairs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.cleaning import one_line
from benchmark.imaging.imagefiles import read_content
from benchmark.standin.cache import MARKER, read_marker, rebuild_advice
from benchmark.standin.kinds import named
from zoo.errors import UserError, printable, shortened

_SCENE_EXAMPLE = r"for example '^(scene\d+)_' or '([^/]+)/[^/]+$'"
# The files of one pair, or those of them that exist: (role, path) each.
Files = tuple[tuple[str, Path], ...]


class Defect(NamedTuple):
    """A file or folder that is wrong: the kind of defect in one word, what was found and expected, the next step."""

    path: Path
    kind: str
    what: str
    expected: str
    advice: str


class DefectsError(UserError):
    """The files do not form a dataset: all ``defects``, the existing files by id. The message is the first defect."""

    def __init__(self, name: str, defects: Sequence[Defect], files: Mapping[str, Files]) -> None:
        """``name`` is the dataset; there must be at least one defect."""
        path, _, what, expected, advice = defects[0]
        more = f" (and {len(defects) - 1} more)" if len(defects) > 1 else ""
        super().__init__(f"{name}: {printable(path)} {what}{more}; expected {expected}. {advice}")
        self.name, self.defects, self.files = name, tuple(defects), dict(files)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process make the error again from the same arguments."""
        return type(self), (self.name, self.defects, self.files)


def identify(root: Path, split: str, *, name: str, standin: str, published: int) -> tuple[str, dict[str, Any], int]:
    """Return name, provenance and count of a split: the published ones, or those in a stand-in's marker.

    Raises UserError for the marker of another stand-in and for a damaged marker.
    """
    marker = read_marker(root)
    if marker is None:
        return name, {"standin": False}, published
    check_standin(root, marker, name=name, standin=standin)
    with _reading_marker(root, name, "version, sources, seed and counts by split"):
        provenance = {
            "standin": True,
            "generator": int(marker["version"]),
            "sources": str(marker["sources"]),
            "seed": int(marker["seed"]),
        }
        # Only some markers have these: the label of a stand-in, and the number of blocks of an image.
        provenance |= {key: kind(marker[key]) for key, kind in (("label", str), ("blocks", int)) if key in marker}
        # Only one from a user's photographs can be continued and so holds a request.
        provenance |= {"from_photographs": True} if "request" in marker else {}
        return named(standin, marker.get("label")), provenance, int(marker["counts"][split])


def photographs(root: Path, name: str, key: str, entry_of: Callable[[Any, str], Any], ids: Sequence[str]) -> list[str]:
    """Return the photograph behind each image of a stand-in; ``entry_of`` finds an image in the marker's entry ``key``.

    The photographs are "", unknown, if the marker has no such entry. Raises UserError if it does not name an image.
    """
    marker = read_marker(root) or {}
    if key not in marker:
        return [""] * len(ids)
    with _reading_marker(root, name, "the photograph of each image"):
        return [str(entry_of(marker[key], id)["photograph"]) for id in ids]


@contextlib.contextmanager
def _reading_marker(root: Path, name: str, expected: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{name}: {root / MARKER} has no usable entry ({error!r}); expected {expected}. {rebuild_advice(root)}"
        ) from error


def check_standin(root: Path, marker: Mapping[str, Any], *, name: str, standin: str) -> None:
    """Raise UserError unless the marker belongs to the stand-in of dataset ``name``."""
    if marker.get("name") != standin:
        raise UserError(
            f"{name}: {root} holds the stand-in {marker.get('name')!r}; expected '{standin}'. Pass another --data-root."
        )


def part_text(there: int, whole: int) -> str:
    """Return a text such as "12 of 1204" if only a part of a split's images exists; empty for a whole split."""
    return f"{there} of {whole}" if there < whole else ""


def part_notes(name: str, split: str, part: str, left_out: Mapping[str, str]) -> list[str]:
    """Return a line on the existing part of a split and what was left out as incomplete; none for a whole split."""
    first = next(iter(left_out.items()), None)
    more = f"; left out: {first[0]} ({first[1]})" if first else ""
    more += f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
    return [f"{name}: {part} {split} images are there{more}. Records and tables say so."] if part else []


def left_out(defects: Sequence[Defect]) -> dict[str, str]:
    """Return what is wrong with each file or folder of ``defects``, by its path."""
    return {printable(d.path): f"{d.what}; expected {d.expected}" for d in defects}


def part_prefix(part: str) -> bytes:
    """Return the first bytes for the digest of a part of a dataset; empty for a whole dataset."""
    return f"part {part}\n".encode() if part else b""


class SceneRule:
    """A regular expression that is searched in the names of files: its first group, else the whole match, is the scene.

    Raises UserError for text that is no regular expression.
    """

    def __init__(self, pattern: str) -> None:
        self._flag = f"--scene {shortened(pattern)!r}"
        try:
            self._pattern = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise UserError(f"{self._flag}: no regular expression ({error}); expected one, {_SCENE_EXAMPLE}.") from None

    def scenes(self, names: Sequence[str]) -> list[str]:
        """Return the scene of each file; raises UserError for a name without one, and for one scene of all files."""
        scenes = [self._scene(name) for name in names]
        missing = [name for name, scene in zip(names, scenes) if not scene]
        if missing:
            raise UserError(
                f"{self._flag}: finds no scene in {len(missing)} of {len(names)} names, the first one"
                f" {one_line(missing[0])}; expected a regular expression that matches each, {_SCENE_EXAMPLE}."
            )
        if len(names) > 1 and len(set(scenes)) == 1:
            raise UserError(
                f"{self._flag}: all {len(names)} images are one scene, '{one_line(scenes[0])}': nothing can be ranked."
                f" Match the part of the name that differs between scenes, {_SCENE_EXAMPLE}."
            )
        return scenes

    def _scene(self, name: str) -> str:
        found = self._pattern.search(name)
        return "" if found is None else found[1 if self._pattern.groups else 0] or ""


class PairDigest:
    """The digest of a dataset of files, computed once for each number of pairs."""

    def __init__(
        self,
        name: str,
        ids: Sequence[str],
        paths: Callable[[str], Sequence[Path]],
        *,
        folder: Path | None = None,
        skip_bad: bool = False,
        part: str = "",
        levels: str = "",
    ) -> None:
        """A file's name in the digest is its path below ``folder``, or without a folder the id of its pair.

        With ``skip_bad`` a file that cannot be read is not an error here: it is left out later, when it is read as an
        image. The ``part`` enters the digest, so that this changes whenever more of the dataset exists, and so do the
        ``levels`` by which a user says how the files' numbers are meant.
        """
        self._name, self._ids, self._paths, self._skip_bad = name, ids, paths, skip_bad
        self._folder, self._prefix = folder, part_prefix(part) + (f"levels {levels}\n".encode() if levels else b"")
        self._known: dict[int, str] = {}

    def __call__(self, limit: int | None = None) -> str:
        """Return a sha256 of the names and contents of the first ``limit`` pairs' files (all if None)."""
        count = len(self._ids) if limit is None else min(max(limit, 0), len(self._ids))
        if count not in self._known:
            digest = sha256(self._prefix)
            for id in self._ids[:count]:
                for path in self._paths(id):
                    content = self._content(path)
                    label = path.relative_to(self._folder).as_posix() if self._folder else id
                    digest.update(f"{label} {len(content)}\n".encode())
                    digest.update(content)
            self._known[count] = digest.hexdigest()
        return self._known[count]

    def _content(self, path: Path) -> bytes:
        try:
            return read_content(self._name, path)
        except UserError:
            if not self._skip_bad:
                raise
            return b"unreadable"
