"""Zurich RAW to RGB (ZRR): patches of a Huawei P20's RAW beside the same scene from a Canon 5D Mark IV.

Layout: ``<root>/{train,test}/huawei_raw/{i}.png`` and ``canon/{i}.jpg``. The mosaics are RGGB with 10-bit counts,
unscaled in 8-bit and 16-bit files alike: a dark patch that fits into 8 bits is stored in 8 bits, so a reader
that scales by the file's depth would make it four times too bright.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from benchmark.datasets import register_dataset
from benchmark.protocols import ZRR
from benchmark.reporting import Reporter
from benchmark.standin.cache import MARKER, read_marker, rebuild_advice
from benchmark.standin.zrr import DEFAULT_PLAN, Progress, cached_zrr_standin, write_zrr_standin
from benchmark.standin.zrr import NAME as STANDIN_NAME
from benchmark.types import DatasetCard, Sample
from zoo.errors import UserError

NAME = "zrr"
PUBLISHED_COUNTS = {"train": 46839, "test": 1204}
RAW_FOLDER, TARGET_FOLDER = "huawei_raw", "canon"
BLACK, WHITE, RED = 64, 1023, (0, 0)

# Everything that Pillow raises for a file that is cut off or damaged.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
_PNG_END = b"IEND\xaeB`\x82"
# Colour types of the PNG header.
_PNG_KINDS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey-and-alpha", 6: "RGB-and-alpha"}


class ZrrSplit:
    """One opened split of ZRR or of its stand-in; samples are read when they are asked for."""

    def __init__(self, root: Path, split: str) -> None:
        """Open ``root``/``split`` and pair its files; raises UserError unless all published files are there.

        A root with a stand-in's marker is named ``zrr-standin`` and holds what its marker says.
        """
        if split not in PUBLISHED_COUNTS:
            raise UserError(f"{NAME}: unknown split '{split}'; expected one of {', '.join(PUBLISHED_COUNTS)}.")
        marker = read_marker(root)
        self.name = NAME if marker is None else STANDIN_NAME
        self.split = split
        self.root = root
        self.provenance: Mapping[str, Any] = {"standin": False}
        count = PUBLISHED_COUNTS[split]
        advice = "Download the dataset and pass --data-root."
        if marker is not None:
            self.provenance, count = _read_standin(root, marker, split)
            advice = rebuild_advice(root)
        folders = {".png": root / split / RAW_FOLDER, ".jpg": root / split / TARGET_FOLDER}
        _check_files(self.name, folders, count, advice)
        # Numbers, not strings: sorted names would give 0, 1, 10, 100.
        self.ids: Sequence[str] = [str(number) for number in range(count)]
        self._digests: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        """Return pair ``index``: counts (1, 1, H, W) and target (1, 3, H, W) in [0, 1], both float32."""
        raw_path, target_path = self.paths(self.ids[index])
        counts = _read_mosaic(self.name, raw_path)
        target = _read_target(self.name, target_path)
        if target.shape[:2] != counts.shape:
            raise UserError(
                f"{self.name}: {target_path} has {_size(target)} pixels, its mosaic {raw_path} has {_size(counts)};"
                " expected the same size. Copy the pair again from the dataset."
            )
        return Sample(
            id=self.ids[index],
            input=torch.from_numpy(counts.astype(np.float32))[None, None],
            target=torch.from_numpy(target.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None].contiguous(),
            black=float(BLACK),
            white=float(WHITE),
            red=RED,
        )

    def paths(self, id: str) -> tuple[Path, Path]:
        """Return the files of a pair, mosaic and target."""
        folder = self.root / self.split
        return folder / RAW_FOLDER / f"{id}.png", folder / TARGET_FOLDER / f"{id}.jpg"

    def digest(self, limit: int | None = None) -> str:
        """Return a sha256 over names and content of the first ``limit`` pairs' files (all if None)."""
        count = len(self) if limit is None else min(max(limit, 0), len(self))
        if count not in self._digests:
            digest = sha256()
            for id in self.ids[:count]:
                for path in self.paths(id):
                    content = _read_file(self.name, path)
                    digest.update(f"{path.relative_to(self.root).as_posix()} {len(content)}\n".encode())
                    digest.update(content)
            self._digests[count] = digest.hexdigest()
        return self._digests[count]


def _building(reporter: Reporter, build: Callable[[Progress], Any]) -> Any:
    """Call ``build`` with a progress callback that ``reporter`` shows."""
    pairs = DEFAULT_PLAN.train + DEFAULT_PLAN.test
    with reporter.progress(f"writing {STANDIN_NAME}", pairs) as advance:
        return build(lambda done, total: advance())


def _cached(reporter: Reporter) -> Path:
    return Path(_building(reporter, cached_zrr_standin))


def _write(folder: Path, seed: int, reporter: Reporter) -> None:
    _building(reporter, lambda progress: write_zrr_standin(folder, seed=seed, progress=progress))


CARD = register_dataset(
    DatasetCard(
        name=NAME,
        task="raw2rgb",
        summary="Zurich RAW to RGB: 448x448 phone mosaics and DSLR photographs of the same scenes",
        protocol=ZRR,
        splits=tuple(PUBLISHED_COUNTS),
        default_split="test",
        plane_size=(224, 224),
        full_size=(1536, 2048),
        open=ZrrSplit,
        standin=_cached,
        write_standin=_write,
    )
)


def _read_standin(root: Path, marker: dict[str, Any], split: str) -> tuple[dict[str, Any], int]:
    """Return provenance and number of pairs of a stand-in; raises UserError if it is not one of ZRR."""
    if marker.get("name") != STANDIN_NAME:
        raise UserError(
            f"{NAME}: {root} holds the stand-in {marker.get('name')!r}; expected '{STANDIN_NAME}'."
            " Pass another --data-root."
        )
    try:
        provenance = {
            "standin": True,
            "generator": int(marker["version"]),
            "sources": str(marker["sources"]),
            "seed": int(marker["seed"]),
        }
        return provenance, int(marker["counts"][split])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{NAME}: {root / MARKER} has no usable entry ({error!r}); expected version, sources, seed and"
            f" the counts of train and test. {rebuild_advice(root)}"
        ) from error


def _check_files(name: str, folders: Mapping[str, Path], count: int, advice: str) -> None:
    """Raise UserError unless each folder, by suffix, holds exactly ``0{suffix}`` to ``{count - 1}{suffix}``."""
    found = {suffix: _read_stems(name, folder, suffix, count, advice) for suffix, folder in folders.items()}
    for suffix, folder in folders.items():
        missing = [number for number in range(count) if str(number) not in found[suffix]]
        extra = sorted(int(stem) for stem in found[suffix] if int(stem) >= count)
        if not missing and not extra:
            continue
        details = ""
        if found[suffix] and missing:
            details = f"; missing {_first(missing, suffix)}"
            partners = [f for s, f in folders.items() if s != suffix and str(missing[0]) in found[s]]
            details += "".join(f", while its partner in {partner} is there" for partner in partners)
        if extra:
            details += f"; unexpected {_first(extra, suffix)}"
        raise UserError(f"{name}: expected {count} files in {folder}, found {len(found[suffix])}{details}. {advice}")


def _read_stems(name: str, folder: Path, suffix: str, count: int, advice: str) -> set[str]:
    """Return the stems of the files with this suffix, all of them integers as ``str`` writes them."""
    try:
        # Names with a leading dot are left by file managers.
        stems = {path.stem for path in folder.iterdir() if path.suffix == suffix and path.name[0] != "."}
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "there is no such folder" if missing else error.strerror
        raise UserError(f"{name}: expected {count} files in {folder}, found 0: {reason}. {advice}") from error
    # 007 and 7 would be the same number.
    odd = sorted(stem for stem in stems if not re.fullmatch("0|[1-9][0-9]*", stem))
    if odd:
        raise UserError(
            f"{name}: {folder / (odd[0] + suffix)} has no integer for a name; expected 0{suffix} to"
            f" {count - 1}{suffix}. Move files that do not belong to the dataset elsewhere."
        )
    return stems


def _first(numbers: Sequence[int], suffix: str, shown: int = 5) -> str:
    names = ", ".join(f"{number}{suffix}" for number in numbers[:shown])
    return names + (f" and {len(numbers) - shown} more" if len(numbers) > shown else "")


def _read_file(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be read ({error.strerror}). It was there a moment ago.") from error


def _decode(name: str, path: Path, content: bytes, format: str) -> Image.Image:
    """Return the decoded image; raises UserError if the file is damaged or of another format."""
    try:
        image = Image.open(io.BytesIO(content), formats=(format,))
        image.load()
        if format == "PNG" and _PNG_END not in content:  # Pillow is content when the pixels are there
            raise EOFError("the last chunk is missing")
    except UnidentifiedImageError:
        raise UserError(f"{name}: {path} is not a complete {format} file. Copy it again from the dataset.") from None
    except _DECODE_ERRORS as error:
        raise UserError(
            f"{name}: {path} is damaged or cut off ({error}); expected a complete {format} file."
            " Copy it again from the dataset."
        ) from error
    return image


def _read_mosaic(name: str, path: Path) -> NDArray[Any]:
    """Return the counts (H, W) as they are stored; raises UserError naming the file if they cannot be RAW."""
    content = _read_file(name, path)
    counts = np.asarray(_decode(name, path, content, "PNG"))
    # From the header: Pillow scales files of 1, 2 and 4 bits to 8 and does not tell.
    bits, kind = content[24], _PNG_KINDS.get(content[25], "unknown")
    if kind != "grey" or bits not in (8, 16):
        raise UserError(f"{name}: {path} is a PNG of {bits}-bit {kind}; expected a mosaic: grey with 8 or 16 bits.")
    if counts.max() > WHITE:
        raise UserError(
            f"{name}: {path} has counts up to {counts.max()}; expected 10-bit counts, at most {WHITE}, not scaled"
            " to the file's 16 bits."
        )
    if counts.shape[0] % 2 or counts.shape[1] % 2:
        raise UserError(
            f"{name}: {path} has {_size(counts)} pixels; a Bayer mosaic has an even height and width."
            " Crop it by whole 2x2 blocks."
        )
    return counts


def _read_target(name: str, path: Path) -> NDArray[np.uint8]:
    """Return the photograph (H, W, 3); raises UserError naming the file if it is not an RGB JPEG."""
    image = _decode(name, path, _read_file(name, path), "JPEG")
    if image.mode != "RGB":
        kind = {"L": "grey"}.get(image.mode, image.mode)
        raise UserError(f"{name}: {path} is a {kind} JPEG; expected RGB. Copy it again from the dataset.")
    return np.asarray(image)


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
