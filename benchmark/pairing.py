"""Pairs of a user's own files: two folders paired by stem, or one folder with a rule such as ``*_real.* -> *_mean.*``.

Without a rule the root has the folders ``input`` and ``target``. Each pair is a scene of its own, unless a regular
expression finds the scene in the name of its input.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.cleaning import one_line
from benchmark.imaging.imagefiles import SUFFIXES, unread_suffixes
from benchmark.imaging.levels import scaled
from benchmark.layout import Defect, DefectsError, Files, PairDigest, SceneRule, left_out
from benchmark.standin.kinds import named
from benchmark.types import Sample
from zoo.errors import UserError, printable, shortened

SPLIT, DEFAULT_RULE = "test", "input/* -> target/*"
# The flags of a user's own data, by the option of ``dataset_card``.
FLAGS = {
    "rule": "--pairs",
    "scene": "--scene",
    "cfa": "--cfa",
    "black": "--black",
    "white": "--white",
    "raw_size": "--raw-size",
    "sigma": "--sigma",
    "noise_seed": "--noise-seed",
    "clip": "--clip",
    "gray": "--gray",
    "name": "--name",
    "remark": "--remark",
    "task": "--task",
}
_LONGEST_REMARK = 300
_EXAMPLE = "'*_real.* -> *_mean.*' or 'noisy/* -> clean/*'"


@dataclass(frozen=True)
class Pattern:
    """One side of a rule: a folder below the root, and a pattern for file names with the part that both sides share."""

    text: str
    suffixes: Collection[str] = SUFFIXES

    def __post_init__(self) -> None:
        """Raise UserError unless the file name has exactly one ``*``, not counting a final ``.*``."""
        if self._stem.count("*") != 1 or "*" in self.folder:
            raise UserError(
                f"--pairs: '{self.text}' needs exactly one * in the file name, for what both names"
                f" share; expected a rule like {_EXAMPLE}."
            )

    @property
    def folder(self) -> str:
        """The folder, relative to the root, or an absolute one."""
        return self.text.rpartition("/")[0] or ("/" if self.text.startswith("/") else ".")

    @property
    def _stem(self) -> str:
        return self.text.rpartition("/")[2].removesuffix(".*")

    def match(self, file: str) -> str | None:
        """Return the part of a file's name that ``*`` matches, without suffix if the pattern ends in ``.*``."""
        name = unicodedata.normalize("NFC", file)
        stem, _, suffix = name.rpartition(".")
        if f".{suffix.lower()}" not in self.suffixes:
            return None
        is_open = self.text.endswith("*")
        before, _, after = unicodedata.normalize("NFC", self._stem).partition("*")
        found = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", stem if is_open else name, re.DOTALL)
        return found[1] if found else None


class PairFolder:
    """A dataset of pairs, sorted by name (numbers by value); files are read when a sample is requested."""

    def __init__(
        self,
        kind: str,
        root: Path,
        split: str,
        rule: str,
        read: Callable[[str, Path, Path], Sample],
        *,
        inputs: Collection[str] = SUFFIXES,
        label: str | None = None,
        scene: str | None = None,
        about: Mapping[str, Any] | None = None,
        levels: str = "",
        skip_bad: bool = False,
    ) -> None:
        """Pair the files; raises UserError for a bad rule, an empty folder, a file without partner, another split.

        ``kind``: the dataset's name, in records ``kind (label)`` if there is a ``label``; ``read(id, input, target)``
        returns a sample or raises UserError naming the file; ``inputs``: the suffixes of inputs; ``scene``: a
        ``SceneRule`` for their names below the root; ``about``: further values of the provenance. ``levels``: how the
        numbers in the files are read, for the digest. With ``skip_bad`` files without partner are left out and listed
        in ``left_out``.
        """
        if split != SPLIT:
            raise UserError(f"{kind}: unknown split '{split}'; expected {SPLIT}.")
        defects: list[Defect] = []
        found = find_pairs(kind, (root, root), rule, defects, inputs=inputs)
        both = found[0].keys() & found[1].keys()
        if defects and not (skip_bad and both):
            raise DefectsError(kind, defects, _files(*found))
        self.name, self.split, self.root, self._read = named(kind, label), split, root, read
        self.left_out = left_out(defects)
        self._pairs = {key: (found[0][key], found[1][key]) for key in sorted(both, key=natural)}
        self.ids: Sequence[str] = list(self._pairs)
        self.scenes: Sequence[str] = self.ids
        if scene is not None:
            self.scenes = SceneRule(scene).scenes([_below(root, files[0]) for files in self._pairs.values()])
        own = {"standin": False, "rule": rule, "folder": printable(root.resolve().name)}
        own |= {"scene": scene, "label": label, **(about or {})}
        self.provenance: Mapping[str, Any] = {key: value for key, value in own.items() if value is not None}
        self.digest = PairDigest(kind, self.ids, self.paths, skip_bad=skip_bad, levels=levels)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return pair ``index``; raises UserError naming a file that does not fit."""
        id = self.ids[index]
        return replace(self._read(id, *self.paths(id)), scene=self.scenes[index])

    def paths(self, id: str) -> tuple[Path, Path]:
        """Return the files of a pair, input and target."""
        return self._pairs[id]


def find_pairs(
    kind: str,
    roots: tuple[Path, Path],
    rule: str,
    defects: list[Defect],
    *,
    inputs: Collection[str] = SUFFIXES,
    flag: str = "--data-root",
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the files of the left and of the right side of a rule, each below its root, by what ``*`` stands for.

    Files without partner and matches that are not separate pictures are added to ``defects``. Raises UserError for a
    bad rule and for a side without files; ``kind`` is who asks, ``flag`` where the user named the roots.
    """
    texts = rule.split("->")
    if len(texts) != 2:
        raise UserError(f"--pairs '{rule}': expected two patterns joined by ->, like {_EXAMPLE}.")
    sides = Pattern(texts[0].strip(), inputs), Pattern(texts[1].strip())
    expected = None if flag == "--data-root" else f"a {flag} of pictures"
    targets = sides[1] if roots[0] == roots[1] else None
    found = (
        find_pictures(kind, roots[0], sides[0], defects, not_as=targets, expected=expected),
        find_pictures(kind, roots[1], sides[1], defects, expected=expected),
    )
    for root, files, side in zip(roots, found, sides):
        if not files and not defects:
            raise UserError(
                f"{kind}: no picture ({', '.join(side.suffixes)}) matches '{side.text}' in {root};"
                f" the rule is '{rule}'. Pass another {flag}, or a rule with --pairs, like {_EXAMPLE}."
                + unread_suffixes(root / side.folder, side.suffixes)
            )
    defects += [*_singles(*found, sides[1]), *_singles(*found[::-1], sides[0])]
    return found


def picture_tensor(pixels: NDArray[Any], white: float | None = None) -> Tensor:
    """Return a picture (H, W, 3) of 8 or 16 bits as (1, 3, H, W) in [0, 1]; raises the ValueError of ``scaled``."""
    return torch.from_numpy(scaled(pixels, white, np.float32)[0]).permute(2, 0, 1)[None].contiguous()


def remark_of(options: Mapping[str, str]) -> str | None:
    """Return what the user says of the data; raises UserError for an empty or long text, and for several lines."""
    remark = options.get("remark")
    if remark is not None and (remark != one_line(remark) or not 0 < len(remark) <= _LONGEST_REMARK):
        raise UserError(f"--remark {shortened(remark)}: expected one line of 1 to {_LONGEST_REMARK} characters.")
    return remark


def check_options(name: str, options: Mapping[str, str], allowed: Sequence[str]) -> None:
    """Raise UserError for an option that the dataset ``name`` does not have."""
    if unknown := [key for key in options if key not in allowed]:
        expected = ", ".join(f"{key} ({FLAGS[key]})" for key in allowed)
        raise UserError(f"{name}: no option '{unknown[0]}'; expected {expected}.")


def find_pictures(
    name: str,
    root: Path,
    pattern: Pattern,
    defects: list[Defect],
    *,
    not_as: Pattern | None = None,
    expected: str | None = None,
) -> dict[str, Path]:
    """Return the matching pictures by the part of the name that ``*`` stands for, without those that match ``not_as``.

    Matches that are not separate pictures are added to ``defects``. Raises UserError for a folder that cannot be
    listed, with what was ``expected`` there (default: files that the rule of a pair finds).
    """
    folder = root / pattern.folder
    try:
        paths = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except OSError as error:
        by_rule = f"the pictures '{pattern.text}'. Pass another --data-root, or a rule with --pairs, like {_EXAMPLE}"
        raise UserError(
            f"{name}: {folder} cannot be listed ({error.strerror or error}); expected {expected or by_rule}."
        ) from error
    found: dict[str, Path] = {}
    for path in paths:
        key = pattern.match(path.name)
        if key is None or (not_as and (root / not_as.folder) == folder and not_as.match(path.name) is not None):
            continue
        if not path.is_file():
            reason = "a link to nothing or to itself" if path.is_symlink() else "no file"
            defects.append(Defect(path, "name", f"is {reason}", "a picture", "Remove it."))
        elif printable(path.name) != path.name:
            defects.append(Defect(path, "name", "has a name that is no UTF-8", "a name in UTF-8", "Rename it."))
        elif key in found:
            what = f"and {path} have the same name '{key}'"
            defects.append(Defect(found[key], "name", what, "one of them", "Move the other elsewhere."))
        else:
            found[key] = path
    return found


def _below(root: Path, path: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _singles(paths: Mapping[str, Path], others: Mapping[str, Path], pattern: Pattern) -> list[Defect]:
    advice = "Add it or move the picture elsewhere."
    return [
        Defect(path, "partner", "has no partner", f"'{pattern.text.replace('*', key, 1)}'", advice)
        for key, path in paths.items()
        if key not in others
    ]


def _files(inputs: Mapping[str, Path], targets: Mapping[str, Path]) -> dict[str, Files]:
    """Return the existing files by id."""
    sides = (("input", inputs), ("target", targets))
    keys = sorted({*inputs, *targets}, key=natural)
    return {key: tuple((role, paths[key]) for role, paths in sides if key in paths) for key in keys}


def natural(key: str) -> list[tuple[int, str]]:
    """Return a sort key that places 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", key) if part]
