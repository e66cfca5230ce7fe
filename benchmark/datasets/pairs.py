"""A user's own pictures: two folders paired by stem, or one folder with a rule such as ``*_real.* -> *_mean.*``.

Without a rule the root has the folders ``input`` and ``target``. Files are PNG, JPEG or TIFF, RGB with 8 or 16 bits;
``white`` is the count of white in 16-bit files that use fewer bits (1023 for 10 bits), 65535 by default.
Each pair is a scene of its own, unless a regular expression finds the scene in the name of its input.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.datasets import register_dataset
from benchmark.imaging.imagefiles import SUFFIXES, read_rgb, unread_suffixes
from benchmark.imaging.levels import scaled, white_level
from benchmark.layout import Defect, DefectsError, Files, PairDigest, SceneRule, left_out
from benchmark.types import DatasetCard, EvaluationProtocol, Sample
from benchmark.units import shape_text
from zoo.errors import UserError, printable

NAME = "pairs"
DEFAULT_RULE = "input/* -> target/*"
TASKS = ("denoise_rgb", "enhance_rgb")
_EXAMPLE = "'*_real.* -> *_mean.*' or 'noisy/* -> clean/*'"

# Outputs are not rounded, because 8 bits would remove the extra precision of 16-bit pictures.
PAIRS = EvaluationProtocol(
    name="pairs",
    version=1,
    text="output clamped to [0, 1], not rounded; target at its own 8 or 16 bits; one score per image, then the mean",
    clamp=True,
    round_uint8=False,
    metrics=("psnr[rgb]", "ssim[gaussian11,rgb]"),
)


@dataclass(frozen=True)
class Pattern:
    """One side of a rule: a folder below the root, and a pattern for file names with the part that both sides share."""

    text: str

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
        if f".{suffix.lower()}" not in SUFFIXES:
            return None
        is_open = self.text.endswith("*")
        before, _, after = unicodedata.normalize("NFC", self._stem).partition("*")
        found = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", stem if is_open else name, re.DOTALL)
        return found[1] if found else None


class PairsSplit:
    """The pairs of a folder, sorted by name (numbers by value); pictures are read when they are requested."""

    name = NAME
    split = "test"

    def __init__(
        self,
        root: Path,
        rule: str = DEFAULT_RULE,
        *,
        white: float | None = None,
        scene: str | None = None,
        skip_bad: bool = False,
    ) -> None:
        """Pair the files; raises UserError for a bad rule, an empty folder and a picture without partner.

        ``white``: the count that means 1 in 16-bit files; ``scene``: a ``SceneRule`` for the names of the inputs below
        the root. With ``skip_bad`` pictures without partner are left out and listed in ``left_out``.
        """
        sides = [Pattern(side.strip()) for side in rule.split("->")]
        if len(sides) != 2:
            raise UserError(f"--pairs '{rule}': expected two patterns joined by ->, like {_EXAMPLE}.")
        self.root = root
        defects: list[Defect] = []
        inputs, targets = _find(root, sides[0], defects, not_as=sides[1]), _find(root, sides[1], defects)
        for found, side in ((inputs, sides[0]), (targets, sides[1])):
            if not found and not defects:
                raise UserError(
                    f"{NAME}: no picture ({', '.join(SUFFIXES)}) matches '{side.text}' in {root};"
                    f" the rule is '{rule}'. Pass another --data-root, or a rule with --pairs, like {_EXAMPLE}."
                    + unread_suffixes(root / side.folder)
                )
        defects += [*_singles(inputs, targets, sides[1]), *_singles(targets, inputs, sides[0])]
        both = inputs.keys() & targets.keys()
        if defects and not (skip_bad and both):
            raise DefectsError(NAME, defects, _files(inputs, targets))
        self.left_out = left_out(defects)
        self._pairs = {key: (inputs[key], targets[key]) for key in sorted(both, key=_natural)}
        self.ids: Sequence[str] = list(self._pairs)
        self.provenance: Mapping[str, Any] = {"standin": False, "rule": rule, "folder": printable(root.resolve().name)}
        self.scenes: Sequence[str] = self.ids
        if scene is not None:
            self.scenes = SceneRule(scene).scenes([_below(root, input_path) for input_path, _ in self._pairs.values()])
            self.provenance = {**self.provenance, "scene": scene}
        self._white = white
        if white is not None:
            self.provenance = {**self.provenance, "white": white}
        self.digest = PairDigest(NAME, self.ids, self.paths, skip_bad=skip_bad)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return pair ``index``, both (1, 3, H, W) in [0, 1]; raises UserError naming a file that does not fit."""
        id = self.ids[index]
        input_path, target_path = self.paths(id)
        picture, target = read_rgb(NAME, input_path), read_rgb(NAME, target_path)
        if picture.shape != target.shape:
            raise UserError(
                f"{NAME}: {target_path} has {shape_text(target.shape[:2])} pixels, its partner {input_path} has"
                f" {shape_text(picture.shape[:2])}; expected the same size. Sizes may differ between pairs only."
            )
        tensors = self._to_tensor(input_path, picture), self._to_tensor(target_path, target)
        return Sample(id, *tensors, scene=self.scenes[index])

    def _to_tensor(self, path: Path, pixels: NDArray[Any]) -> Tensor:
        try:
            image, _ = scaled(pixels, self._white, np.float32)
        except ValueError as error:
            raise UserError(f"{NAME}: {path} has {error}; pass the white level of the files.") from None
        return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()

    def paths(self, id: str) -> tuple[Path, Path]:
        """Return the files of a pair, input and target."""
        return self._pairs[id]


def open_pairs(
    root: Path,
    split: str = "test",
    *,
    rule: str = DEFAULT_RULE,
    white: float | None = None,
    scene: str | None = None,
    skip_bad: bool = False,
) -> PairsSplit:
    """Open the pairs of a folder under a rule; ``test`` is the only split."""
    if split != "test":
        raise UserError(f"{NAME}: unknown split '{split}'; expected test.")
    return PairsSplit(root, rule, white=white, scene=scene, skip_bad=skip_bad)


def configure(options: Mapping[str, str]) -> DatasetCard:
    """Return the card with the user's ``rule``, ``task``, ``white`` and ``scene`` (each may be left out).

    A white level given by the user becomes part of the protocol's name, so that scores under two levels are never
    compared.
    """
    unknown = sorted(set(options) - {"rule", "task", "white", "scene"})
    task = options.get("task", TASKS[0])
    if unknown:
        raise UserError(f"{NAME}: no option '{unknown[0]}'; expected rule, task, white or scene.")
    if task not in TASKS:
        raise UserError(f"{NAME}: no task '{task}' for pairs of pictures; expected one of {', '.join(TASKS)}.")
    white = white_level(options.get("white"))
    protocol = PAIRS
    if white is not None:
        text = f"{PAIRS.text}; files of 16 bits / {white:g}, clipped there"
        protocol = replace(PAIRS, name=f"{PAIRS.name}[white={white:g}]", text=text)
    opener = functools.partial(
        open_pairs, rule=options.get("rule", DEFAULT_RULE), white=white, scene=options.get("scene")
    )
    return replace(CARD, task=task, protocol=protocol, open=opener, white=white)


def _find(root: Path, pattern: Pattern, defects: list[Defect], not_as: Pattern | None = None) -> dict[str, Path]:
    """Return the matching pictures by their shared part of the name; those that also match ``not_as`` are excluded.

    Matches that are not separate pictures are added to ``defects``. Raises UserError for a missing folder.
    """
    folder = root / pattern.folder
    try:
        paths = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except OSError as error:
        raise UserError(
            f"{NAME}: {folder} cannot be listed ({error.strerror or error}); expected the pictures '{pattern.text}'."
            f" Pass another --data-root, or a rule with --pairs, like {_EXAMPLE}."
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
    keys = sorted({*inputs, *targets}, key=_natural)
    return {key: tuple((role, paths[key]) for role, paths in sides if key in paths) for key in keys}


def _natural(key: str) -> list[tuple[int, str]]:
    """Return a sort key that places 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", key) if part]


CARD = register_dataset(
    DatasetCard(
        name=NAME,
        task=TASKS[0],
        summary="pictures of your own: input and target folders, or --pairs '*_real.* -> *_mean.*'",
        protocol=PAIRS,
        splits=("test",),
        default_split="test",
        plane_size=(256, 256),
        full_size=(3072, 4096),
        open=open_pairs,
        configure=configure,
    )
)
