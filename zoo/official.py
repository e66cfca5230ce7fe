"""The published files of weights that are known by their digests, with origin, licence and conventions.

``official.json`` lists them: facts about each file and none of its content. ``sha256`` is that of the file; of a
TensorFlow checkpoint, that of NAME.index followed by NAME.data-00000-of-00001. ``tensors`` are digests of the tensors
under our keys, in the forms in which they can be had from the file. They recognise the same weights in a file of
another kind, which nobody can claim by metadata, and prove that axes and channels are read in the published order,
which no score shows: most denoisers are as good on a transposed picture.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from torch import Tensor

from zoo.errors import UserError
from zoo.weights import Checkpoint, file_digest, read_checkpoint


@dataclass(frozen=True)
class OfficialFile:
    """One published file: the model it is for (None: there is none here), its options, and where it is from.

    ``options`` belong to the weights, for example on which counts they were trained.
    """

    model: str | None
    options: Mapping[str, Any]
    what: str
    repository: str
    path: str
    commit: str
    licence: str
    sha256: str
    tensors: tuple[str, ...]

    @property
    def words(self) -> str:
        """Name, origin, licence and purpose, for messages and notes."""
        return f"{self.path} of {self.repository} ({self.licence}; {self.what})"

    @property
    def address(self) -> str:
        """Where the file is published; of a TensorFlow checkpoint, its file NAME.index."""
        is_bundle = Path(self.path).suffix in ("", ".ckpt")
        repository = self.repository.partition(",")[0]
        return f"https://github.com/{repository}/raw/{self.commit}/{quote(self.path, safe='/=')}{'.index' * is_bundle}"


@functools.cache
def official_files() -> tuple[OfficialFile, ...]:
    """Return all known files."""
    groups = json.loads(Path(__file__).with_name("official.json").read_text(encoding="utf-8"))
    return tuple(
        OfficialFile(
            **{**file, "tensors": tuple(file["tensors"])}, repository=group["repository"], licence=group["licence"]
        )
        for group in groups
        for file in group["files"]
    )


def official_files_in(folder: Path) -> list[tuple[OfficialFile, Path]]:
    """Return the published files in a folder, also behind links, that the zoo has a network for, with their paths.

    They are known by their digests, whatever their names; a TensorFlow checkpoint is named by its file ``.index``.
    Raises UserError if there are none.
    """
    by_digest = {file.sha256: file for file in official_files() if file.model}
    digests = [
        (read_checkpoint(path).digest if path.suffix == ".index" else file_digest(path), path)
        for path in sorted(_paths_below(folder))
        if path.is_file()
    ]
    found = [(by_digest[digest], path) for digest, path in digests if digest in by_digest]
    if not found:
        raise UserError(
            f"{folder}: none of its {len(digests)} files is a published file of weights, known by its digest (see"
            " `zoo-bench list weights`)."
        )
    return found


def _paths_below(folder: Path) -> Iterator[Path]:
    """Yield what lies below a folder, also behind links; each folder once, so that a link to its own parent ends."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place, name) for name in names)


def digest_of_tensors(state: Mapping[str, Tensor]) -> str:
    """Return a digest of names, shapes and float32 values, without the counters of training steps."""
    digest = hashlib.sha256()
    for key in sorted(key for key in state if not key.endswith("num_batches_tracked")):
        value = state[key].detach().cpu().float().contiguous()
        digest.update(f"{key} {list(value.shape)}\n".encode())
        digest.update(value.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()[:32]


def find_official(model: str, checkpoint: Checkpoint, state: Mapping[str, Tensor]) -> OfficialFile | None:
    """Return the published file whose weights for ``model`` these are; ``state`` is the checkpoint under our keys.

    Raises UserError if the file is a published one, but its tensors were not read as they should be.
    """
    known = [file for file in official_files() if file.model == model]
    if not known:
        return None
    digest = digest_of_tensors(state)
    same = [file for file in known if digest in file.tensors]
    # Two published files may hold the same weights.
    named = (checkpoint.digest, checkpoint.metadata.get("source_sha256"))
    for file in known:
        if file.sha256 == checkpoint.digest and file not in same:
            raise UserError(
                f"{model}: {checkpoint.path} is {file.words}, but its tensors are not in the published order or"
                f" values here (their digest is {digest}, expected {file.tensors[0]}). This is a fault of the reader,"
                " not of the file: please report it with the versions of zoo-bench, torch and h5py."
            )
    return next((file for file in same if file.sha256 in named), same[0] if same else None)


def notes_on(file: OfficialFile | None, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return what a user should know about weights that are, or claim to be, those of a published file."""
    if file is not None:
        fixed = "".join(f"; {name}={value}" for name, value in file.options.items())
        return (f"official weights: {file.words}{fixed}",)
    claimed = checkpoint.metadata.get("source_sha256")
    for other in official_files():
        if other.sha256 == claimed:
            return (f"not official weights: its metadata names {other.words}, but its tensors are others",)
    if checkpoint.path.suffix == ".mat":
        return (
            "not a published file that is known: its kernels, and sub-pixels if it has any, were taken to run down the"
            " columns first, as MatConvNet stores them; scores do not show another order",
        )
    return ()


def mistaken_for(model: str, checkpoint: Checkpoint) -> str:
    """Return what to say of a published file that is given to another model than its own; empty for other files."""
    for file in official_files():
        if file.sha256 == checkpoint.digest and file.model != model:
            step = f"name {file.model} instead" if file.model else "this zoo has no network for it"
            return f"{model}: {checkpoint.path} is {file.words}; {step}."
    return ""
