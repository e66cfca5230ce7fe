"""The files from which a stopped run continues: a state file that holds everything, and the weights.

Both are first written under other names and then renamed, the state last. ``--resume`` reads only the state, so a run
that is killed between the two renames continues from the older state and writes the same weights again.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field, ValidationError
from torch import Tensor

from benchmark.record import Record
from benchmark.training.recipe import Recipe, first_difference
from zoo.errors import DiskError, UserError, shortened, shown, words_of
from zoo.inputs import regular_file
from zoo.weights import check_sums, save_state
from zoo.writing import sync_folder, whole_file

STATE, WEIGHTS = "state.pt", "weights.safetensors"
# Schema 1 did not contain the number of processes.
_SCHEMA = 2


class State(Record):
    """Everything that the next step depends on. ``step``: number of steps done; ``optimizer``: its index and state.

    ``samples``: number of samples that all ``processes`` used in these steps; both are None in older states.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, strict=True)

    step: int = Field(ge=0)
    samples: int | None = None
    processes: int | None = None
    recipe: dict[str, Any]
    data_digest: str
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    optimizer_place: int = Field(ge=0)
    ema: dict[str, Tensor] | None
    clipper: dict[str, Any]
    watch: dict[str, Any]
    scores: dict[str, Any]
    seconds: float
    losses: list[float]


def save_checkpoint(folder: Path, state: State, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write state and weights; if the process is killed or the disk is full, the previous pair stays usable.

    Raises DiskError if a file cannot be written.
    """
    try:
        with whole_file(folder / STATE) as partial, partial.open("wb") as stream:
            torch.save({"schema": _SCHEMA, **vars(state)}, stream)
            stream.flush()
            os.fsync(stream.fileno())
            save_state(folder / WEIGHTS, weights, metadata)
        sync_folder(folder)
    except (OSError, RuntimeError, UserError) as error:
        reason = words_of(error, 160)
        kept = f"The checkpoint before it is intact: free space and pass --resume -o {folder}."
        raise DiskError(f"train: cannot save step {state.step} in {folder} ({reason}). {kept}") from error


def remove_partials(folder: Path) -> None:
    """Remove incomplete files of a run that was killed while it saved; the caller must hold the folder's lock."""
    for partial in folder.glob("*.part"):
        partial.unlink(missing_ok=True)


def read_state(folder: Path) -> State | None:
    """Return the state in a run's folder, or None if there is none yet; raises UserError if it is damaged."""
    file = folder / STATE
    if not os.path.lexists(file):
        return None
    regular_file(file, "the state of a run", "train")
    try:
        check_sums(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
        schema = content.pop("schema")
        if schema in (1, _SCHEMA):
            return State(**content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        found = f"has no {name}" if first["type"] == "missing" else f"its {shortened(name)} is {shown(first['input'])}"
        raise UserError(f"train: {file} is damaged ({found}); start in another folder.") from None
    except (RuntimeError, EOFError, OSError, LookupError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"train: {file} is damaged ({words_of(error, 120)}); start in another folder.") from None
    except (pickle.UnpicklingError, AttributeError):
        pass
    raise UserError(f"train: {file} is not a state of this version; start in another folder with -o.")


def check_resumable(
    folder: Path,
    state: State | None,
    recipe: Recipe,
    data_digest: str,
    *,
    processes: int,
    resume: bool,
    part: str = "",
) -> None:
    """Raise UserError if a folder cannot be used: its run has another recipe or other data, or --resume is missing.

    The number of processes must be the same, because it determines the samples per step, and so epochs, rates and
    batches. ``part``: the available part of an incomplete dataset; a larger part counts as other data.
    """
    if state is None:
        return
    difference = first_difference(state.recipe, recipe)
    if difference is not None:
        key, old, new = difference
        raise UserError(
            f"train: {folder} holds a run of another recipe: {shortened(key)} was {shown(old)} there,"
            f" it is {shown(new)} here. Restore it or start in another folder with -o."
        )
    if state.data_digest != data_digest:
        raise UserError(
            f"train: {folder} holds a run on other data (digest {state.data_digest[:12]}, here {data_digest[:12]}"
            f"{f' of {part} images' if part else ''});"
            " pass the same --data-root or start in another folder with -o."
        )
    if state.processes is not None and state.processes != processes:
        raise UserError(
            f"train: {folder} was trained by {state.processes} process(es) up to step {state.step} ({state.samples}"
            f" samples seen); with {processes} a step takes {recipe.batch_size * processes} samples instead of"
            f" {recipe.batch_size * state.processes}. Use {state.processes}, or start in another folder with -o."
        )
    if not resume:
        raise UserError(
            f"train: {folder} holds a run at step {state.step}; pass --resume to continue, or another folder with -o."
        )
