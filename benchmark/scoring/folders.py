"""Score existing images: a folder of outputs against a folder of targets."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.imaging.alignment import find_shift
from benchmark.imaging.imagefiles import MORE_FORMATS, SUFFIXES, Picture, kind_of, read_picture, unread_suffixes
from benchmark.imaging.levels import Depths, bits_used, scaled, white_level
from benchmark.layout import Defect, DefectsError, SceneRule
from benchmark.metrics import METRICS, chosen_ids, error_shares
from benchmark.pairing import find_pairs, natural
from benchmark.protocols import GRAY_METRICS, OF_TASK, PAIRS, ZRR, get_protocol
from benchmark.reporting import Reporter
from benchmark.scoring.intervals import over_scenes
from benchmark.types import EvaluationProtocol, MetricCard
from benchmark.units import shape_text
from zoo.errors import UserError, nearest, shortened

_MSSSIM_LEAST = 176


def score(
    output_dir: str | Path,
    target_dir: str | Path | None = None,
    *,
    pairs: str | None = None,
    protocol: str | None = None,
    task: str | None = None,
    all_metrics: bool = False,
    metrics: Sequence[str] | None = None,
    white: float | None = None,
    scene: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score the images of ``output_dir`` against those of ``target_dir``, paired by stem or by the rule ``pairs``.

    Returns ``n``, ``num_scenes``, ``scores`` {metric id: mean}, ``intervals`` {metric id: [low, high]} and
    ``per_image`` [{id, scores, scene}]; with aligned ids also the ``shift`` {dy, dx} of each image, the pixels by which
    the output lies below and right of its target; with the parts of the error also ``error_shares`` {shift, colour,
    rest} of the sum over all images. ``scene`` is a regular expression that finds the scene in the name of an output
    (default: each is one); the 95 % intervals are over scenes, and fewer than 6 have none. The default are the
    metrics of ``protocol``, else of the protocol of ``task``, else of pairs with a rule, of ZRR without; the word
    "protocol" names them too, as "error" names those that say what the error is made of. With a rule such as
    "*_out.* -> *_clean.*" one folder may hold both sides;
    ``all_metrics`` gives every id, with None for MS-SSIM of images that are too small, and for metrics whose package or
    weights are missing. Values come from the files at their own depth of 8 or 16 bits, as float64, without rounding or
    clamping; ``white`` is the count that means 1 in 16-bit files that use fewer bits. Possible problems are reported
    and listed in ``remarks``: pairs of different orientation (which is never applied), unused upper bits, hot pixels.
    Gray images have metrics of their own. Raises UserError for missing partners, unequal sizes, files that are neither
    all RGB nor all gray, and scenes that are not found.
    """
    reporter = reporter or Reporter()
    chosen = _protocol(protocol, task, by_rule=pairs is not None)
    found, usual = pairs_of(output_dir, target_dir, pairs), chosen.metrics
    gray = all(kind_of(file) == "gray" for file in found[0][1:])
    remarks = _Remarks(white_level(white), "gray" if gray else "RGB")
    if all_metrics and not metrics:
        ids = [card.id for card in METRICS if card.takes_gray or not gray]
        absent = _absent(ids, reporter)
    else:
        ids, absent = chosen_ids(metrics, GRAY_METRICS if gray else usual, gray=gray), set()
    cards = {id: METRICS.get(id) for id in ids}
    scenes = [stem for stem, _, _ in found]
    if scene is not None:
        scenes = SceneRule(scene).scenes([output_file.name for _, output_file, _ in found])
    per_image: list[dict[str, Any]] = []
    with reporter.progress("score", len(found)) as advance:
        for (stem, output_file, target_file), shown in zip(found, scenes):
            output, target = remarks.read_pair(output_file, target_file)
            if output.shape != target.shape:
                sizes = [shape_text(image.shape[:2]) for image in (output, target)]
                raise UserError(
                    f"score: {output_file} is {sizes[0]}, {target_file} is {sizes[1]};"
                    " expected the same size. Crop or scale one of the two."
                )
            too_small = all_metrics and min(output.shape[:2]) < _MSSSIM_LEAST
            if too_small:
                size = shape_text(output.shape[:2])
                reporter.note(f"score: {output_file} is {size}: no MS-SSIM under {_MSSSIM_LEAST} pixels a side.")
            used = {
                id: None if id in absent or (too_small and id.startswith("msssim")) else card
                for id, card in cards.items()
            }
            image: dict[str, Any] = {"id": stem, "scores": _scores_of(used, output_file, output, target)}
            image["scene"] = shown
            if any("aligned" in id for id in ids):  # the shift is already known, because those metrics have searched it
                image["shift"] = dict(find_shift(output, target)._asdict())
            per_image.append(image)
            advance()
    means = {id: _mean([image["scores"][id] for image in per_image]) for id in ids}
    infinite = {id: _finite_part([image["scores"][id] for image in per_image]) for id in ids}
    document: dict[str, Any] = {"n": len(per_image), "num_scenes": len(set(scenes)), "protocol": chosen.name}
    document |= {"scores": means, "intervals": _intervals(per_image, ids), "per_image": per_image}
    if shares := error_shares(means):
        document["error_shares"] = shares
    if any(infinite.values()):
        document["infinite"] = {id: part for id, part in infinite.items() if part}
    if lines := remarks.lines():
        document["remarks"] = lines
        for line in lines:
            reporter.note(f"score: {line}")
    document["definitions"] = {id: card.definition for id, card in cards.items()}
    return document


def _absent(ids: Sequence[str], reporter: Reporter) -> set[str]:
    """Return the ids of metrics that cannot be computed here, and report why."""
    absent = set()
    for card in map(METRICS.get, ids):
        try:
            card.check()
        except UserError as error:
            absent.add(card.id)
            reporter.note(f"score: left out: {error}")
    return absent


class _Remarks:
    """Reads pairs and collects remarks for the user: the first of each kind, and their number."""

    def __init__(self, white: float | None, kind: str) -> None:
        self.white, self.kind = white, kind
        self.depths = Depths()
        self.deep = False
        self.found: dict[str, list[str]] = {"orientation": [], "clipped": []}

    def read_pair(self, output: Path, target: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both images (H, W, C) in [0, 1]: 8-bit values / 255, 16-bit values / 65535 or the white level.

        Raises UserError naming the file if it is damaged, of another kind than the first pair, or has alpha or other
        colours.
        """
        first, second = (read_picture("score", f, formats=MORE_FORMATS, kinds=(self.kind,)) for f in (output, target))
        if first.orientation != second.orientation:
            self.found["orientation"].append(
                f"{output} has orientation {first.orientation}, {target} has {second.orientation}: both are compared as"
                " they are stored, not as a viewer turns them"
            )
        return self._values(output, "output", first), self._values(target, "target", second)

    def lines(self) -> list[str]:
        """Return the remarks."""
        more = {kind: f" (and {len(all) - 1} more)" if len(all) > 1 else "" for kind, all in self.found.items()}
        lines = [f"{all[0]}{more[kind]}" for kind, all in self.found.items() if all]
        if self.white is not None and not self.deep:
            lines.append(f"--white {self.white:g} changed nothing: no file has 16 bits")
        return [*lines, *self.depths.unused().values()]

    def _values(self, file: Path, side: str, picture: Picture) -> NDArray[np.float64]:
        if picture.pixels.dtype == np.uint16:
            self.deep = True
            if self.white is None:
                self.depths.take(side, bits_used(picture.pixels))
        try:
            values, clipped = scaled(picture.pixels, self.white, np.float64)
        except ValueError as error:
            raise UserError(f"score: {file} has {error}; pass the white level of the files.") from None
        if clipped:
            self.found["clipped"].append(f"{file} has {clipped}")
        return values if values.ndim == 3 else values[..., None]


def _scores_of(
    cards: Mapping[str, MetricCard | None], file: Path, output: NDArray[np.float64], target: NDArray[np.float64]
) -> dict[str, float | None]:
    try:
        return {id: card.function(output, target) if card else None for id, card in cards.items()}
    except UserError as error:
        raise UserError(f"score: {file}: {error}") from error


def _protocol(name: str | None, task: str | None, *, by_rule: bool) -> EvaluationProtocol:
    if name is not None:
        return get_protocol(name)
    if task is None:
        return PAIRS if by_rule else ZRR
    if task not in OF_TASK:
        raise UserError(f"score: no task called '{shortened(task)}'{nearest(task, OF_TASK)}")
    return OF_TASK[task]


def pairs_of(output_dir: str | Path, target_dir: str | Path | None, rule: str | None) -> list[tuple[str, Path, Path]]:
    """Return id, output and target of each pair, by stem or by a rule; raises UserError where a partner is missing."""
    outputs, targets = Path(output_dir), Path(target_dir or output_dir)
    if rule is None:
        if target_dir is None:
            raise UserError("score: expected a folder of targets after that of the outputs, or --pairs RULE.")
        return _pair(outputs, targets)
    defects: list[Defect] = []
    left, right = find_pairs("score", (outputs, targets), rule, defects, flag="folder")
    if defects:
        raise DefectsError("score", defects, {})
    return [(id, left[id], right[id]) for id in sorted(left, key=natural)]


def _pair(outputs: Path, targets: Path) -> list[tuple[str, Path, Path]]:
    left, right = _by_stem(outputs), _by_stem(targets)
    lonely = sorted(left.keys() ^ right.keys())
    if lonely:
        first = left.get(lonely[0]) or right[lonely[0]]
        raise UserError(
            f"score: {len(lonely)} image(s) without partner, first {first};"
            f" {outputs} has {len(left)} images, {targets} {len(right)}, paired by stem."
        )
    if not left:
        raise UserError(
            f"score: no images in {outputs}; expected {', '.join(SUFFIXES)} files.{unread_suffixes(outputs)}"
        )
    return [(stem, left[stem], right[stem]) for stem in sorted(left, key=_natural)]


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"score: no folder at {folder}; expected a folder of images.")
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name[0] == ".":  # file managers create hidden files
            continue
        stem = unicodedata.normalize("NFC", file.stem)
        if stem in files:
            raise UserError(f"score: {files[stem]} and {file} have the same stem; keep one of them.")
        files[stem] = file
    return files


def _natural(stem: str) -> tuple[int, int, str]:
    return (0, int(stem), stem) if stem.isdecimal() else (1, 0, stem)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def _intervals(per_image: Sequence[dict[str, Any]], ids: Sequence[str]) -> dict[str, list[float]]:
    """Return the intervals of the means over scenes, of the metrics that have one."""
    scenes = {image["id"]: image["scene"] for image in per_image}
    columns = {id: [image["scores"][id] for image in per_image] for id in ids}
    found = {id: over_scenes(id, values, list(scenes), scenes) for id, values in columns.items() if None not in values}
    return {id: [one["ci_low"], one["ci_high"]] for id, one in found.items() if one.get("ci_low") is not None}


def _finite_part(values: Sequence[float | None]) -> dict[str, Any] | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    infinite = sum(value is not None and math.isinf(value) for value in values)
    if not infinite:
        return None
    return {"n_inf": infinite, "finite_mean": math.fsum(finite) / len(finite) if finite else None}
