"""Common code of all kinds of stand-in: three ways to write one, and the marker that records its sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from benchmark.imaging.duplicates import ImageHashes, near_duplicates
from benchmark.reporting import Reporter
from benchmark.results.paired import FEWEST_SCENES
from benchmark.standin import cache
from benchmark.standin.building import (
    Job,
    Piece,
    build_pieces,
    finish,
    new_folder,
    resume,
    sources_of,
    writing_to,
)
from benchmark.standin.photographs import Photograph, divided_photographs, sixth_of
from benchmark.standin.unprocess import BLACK, WHITE, Camera
from benchmark.units import counted
from zoo.errors import UserError


class Plan(Protocol):
    """The pieces of a stand-in (pairs or scenes), and how they are made."""

    def jobs(self) -> list[Job]:
        """Return one job per piece."""

    def maker(self, seed: int) -> Callable[[Path, Job], Piece]:
        """Return the function that writes one piece; other processes may call it."""

    def entries(self, root: Path, jobs: Sequence[Job], pieces: Mapping[str, Piece]) -> dict[str, Any]:
        """Write the files made from all pieces together; return the marker's entries that only this kind has."""


@dataclass(frozen=True)
class StandIn:
    """One kind of stand-in. ``pieces`` is the name of its pieces in messages.

    ``default_plan`` returns the plan of the embedded one; ``photo_plan(train, held_out, trains, tests)`` the plan of so
    many pieces from training and held-out photographs. ``version`` is raised with every change that changes a byte.
    """

    name: str
    version: int
    pieces: str
    camera: Callable[[], Camera]
    default_plan: Callable[[], Plan]
    photo_plan: Callable[[Sequence[Photograph], Sequence[Photograph], int, int], Plan]

    def write(
        self,
        root: Path,
        seed: int = 0,
        reporter: Reporter | None = None,
        *,
        plan: Plan | None = None,
        label: str | None = None,
    ) -> None:
        """Write a stand-in into ``root``, a new or empty folder; ``reporter`` shows how many pieces are done.

        The same seed gives the same bytes with the same versions of numpy, scipy, Pillow and their JPEG and zlib
        libraries. The marker is written last: a folder without it is not finished. ``label`` becomes part of the
        dataset's name, as in ``zrr-standin (label)``. Raises UserError if the folder is not empty or cannot be written.
        """
        _check_seed(seed)
        with new_folder(root, f"{named(self.name, label)} {self.version} {seed}"):
            self._write(root, seed, plan or self.default_plan(), reporter or Reporter(), label=label)

    def cached(self, reporter: Reporter) -> Path:
        """Return the stand-in in the user's cache; it is built on first use or when it is damaged."""
        return cache.build_once(
            f"{self.name}-v{self.version}",
            lambda root: self._write(root, 0, self.default_plan(), reporter),
            lambda root: cache.is_complete(root, name=self.name, version=self.version),
        )

    def write_photos(
        self, root: Path, photos: Path, count: int | None, seed: int, reporter: Reporter, label: str | None = None
    ) -> bool:
        """Write a stand-in of ``count`` pieces (default: one per photograph) from the pictures in a user's folder.

        Returns False if it is there already.
        Training and test data share no photograph: if the pictures are in folders ``train`` and ``test`` (or ``val``),
        these decide, and a ``count`` is divided in their proportion; otherwise the last sixth, sorted by name, is held
        out, of twelve or more at least six. Reported are fewer scenes than have ranks, and photographs of both parts
        that look the same (also by ``data check``). It runs in several processes; a stopped run continues if it is
        called with the same arguments. Raises UserError for a seed or count out of range, for unreadable pictures (by
        name), and for a folder with other files.
        """
        _check_seed(seed)
        if root.resolve().is_relative_to(photos.resolve()):
            # The written files would be taken as photographs when the command is run again.
            raise UserError(f"--out {root} lies in --photos {photos}; expected another folder. Give one beside it.")
        train, held_out, divided = divided_photographs(photos)
        photographs = sorted([*train, *held_out], key=lambda photograph: photograph.name)
        count = len(photographs) if count is None else count
        if count < 2:
            raise UserError(f"--count {count}: expected at least 2, one for train and one held out.")
        names = "\n".join(photograph.name for photograph in photographs)
        digest = sha256(names.encode()).hexdigest()[:16]
        # An interrupted stand-in is continued only if these values agree.
        request = {"name": self.name, "version": self.version, "seed": seed, "count": count, "photographs": digest}
        request |= {"divided": True} if divided else {}
        request |= {"label": label} if label else {}
        tests = self._tests_of(train, held_out, count, divided=divided)
        # The division by a rule that was there first is not named.
        usual = divided or (len(held_out), tests) == (sixth_of(len(photographs)), sixth_of(count))
        request |= {} if usual else {"held_out": tests}
        if cache.is_complete(root, request=request):
            reporter.note(f"{root} holds this stand-in already; nothing to do.")
            return False
        plan = self.photo_plan(train, held_out, count - tests, tests)
        kept = resume(root, request)
        if kept:
            reporter.note(f"{root}: {len(kept)} of {len(plan.jobs())} {self.pieces} are there already and are kept.")
        if (scenes := min(tests, len(held_out))) < FEWEST_SCENES:
            more = f"{FEWEST_SCENES} photographs for the test" if divided else f"{2 * FEWEST_SCENES} photographs"
            reporter.note(
                f"{self.name}: the test shows {counted(scenes, 'scene')}, and with fewer than"
                f" {FEWEST_SCENES} there are no intervals and no ranks; give at least {more}."
            )
        with writing_to(root):
            self._write(root, seed, plan, reporter, request=request, kept=kept, workers=None, label=label)
        return True

    @staticmethod
    def _tests_of(train: Sequence[Photograph], held_out: Sequence[Photograph], count: int, *, divided: bool) -> int:
        """Return how many of ``count`` pieces are held out."""
        if divided:
            return max(1, round(count * len(held_out) / (len(train) + len(held_out))))
        least = min(FEWEST_SCENES, len(held_out)) if count >= 2 * FEWEST_SCENES else 1
        return max(least, sixth_of(count))

    def _write(
        self,
        root: Path,
        seed: int,
        plan: Plan,
        reporter: Reporter,
        *,
        request: Mapping[str, Any] | None = None,
        kept: Mapping[str, Piece] | None = None,
        workers: int | None = 1,
        label: str | None = None,
    ) -> None:
        jobs = plan.jobs()
        is_left = len(kept or ()) < len(jobs)
        progress = reporter.progress(f"writing {self.name}", len(jobs)) if is_left else nullcontext(lambda: None)
        with progress as advance:
            pieces = build_pieces(root, jobs, plan.maker(seed), kept=kept, workers=workers, advance=advance)
        photographs = [job.photograph for job in jobs]
        marker = {
            "name": self.name,
            "version": self.version,
            "seed": seed,
            "sources": sources_of(pieces.values()),
            "photographs": {p.name: {"licence": p.licence, "attribution": p.attribution} for p in photographs},
            "camera": {**asdict(self.camera()), "black": BLACK, "white": WHITE, "cfa": "RGGB"},
            **plan.entries(root, jobs, pieces),
            **({"label": label} if label else {}),
            **({"request": request, "overlaps": overlaps(jobs, pieces)} if request else {}),
        }
        for one, other, how in marker.get("overlaps", ()):
            reporter.note(f"warning: {one} (train) and {other} (held out) {how}; leave one of them out.")
        finish(root, marker, jobs, pieces)


def named(standin: str, label: str | None) -> str:
    """Return the name of a stand-in in records: ``zrr-standin``, or ``zrr-standin (label)``."""
    return f"{standin} ({label})" if label else standin


def original_of(name: str) -> str:
    """Return the name of the dataset that ``name``, perhaps a stand-in with a label, stands in for."""
    return name.partition(" (")[0].removesuffix("-standin")


def overlaps(jobs: Sequence[Job], pieces: Mapping[str, Piece]) -> list[tuple[str, str, str]]:
    """Return the pairs of photographs, one for training and one held out, that are or look the same, and which."""
    sides: tuple[dict[str, Piece], dict[str, Piece]] = ({}, {})
    for job in jobs:
        sides[job.split != "train"][job.photograph.name] = pieces[job.key]
    same = {piece.get("pixels"): name for name, piece in sides[0].items()}
    found = {
        name: (same[piece["pixels"]], "have the same pixels")
        for name, piece in sides[1].items()
        if piece.get("pixels") in same.keys() - {None}
    }
    prints = ImageHashes(), ImageHashes()
    for hashes, side in zip(prints, sides):
        for name, piece in side.items():
            if piece.get("look"):
                hashes.add(name, int(piece["look"][0], 16), bytes.fromhex(piece["look"][1]))
    for one, other, *_ in near_duplicates(*prints):
        found.setdefault(other, (one, "look the same"))
    return [(one, other, how) for other, (one, how) in sorted(found.items())]


def spread(photographs: Sequence[Photograph], count: int) -> tuple[Photograph, ...]:
    """Return a photograph for each of ``count`` pieces, spread evenly; pieces of one photograph are neighbours."""
    return tuple(photographs[index * len(photographs) // count] for index in range(count))


def _check_seed(seed: int) -> None:
    """Raise UserError for a seed that numpy does not accept."""
    if not 0 <= seed < 2**32:
        raise UserError(f"seed {seed} is out of range; expected 0 to {2**32 - 1}.")
