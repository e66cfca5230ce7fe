"""What a stopped run goes on from: one state file that holds everything, and the weights beside it.

Both are written under other names first and then renamed, the state last. ``--resume`` reads the state alone, so
a run that is killed between the two renames goes on from the older state and writes the same weights again.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.training.recipe import Recipe, first_difference
from zoo.errors import UserError
from zoo.weights import save_state

STATE, WEIGHTS = "state.pt", "weights.safetensors"
_SCHEMA = 1


@dataclass(frozen=True)
class State:
    """Everything that the next step depends on. ``step``: steps done; ``optimizer``: place in the recipe, state."""

    step: int
    recipe: dict[str, Any]
    data_digest: str
    model: dict[str, Tensor]
    optimizer: dict[str, Any]
    optimizer_place: int
    ema: dict[str, Tensor] | None
    clipper: dict[str, Any]
    watch: dict[str, Any]
    scores: dict[str, Any]
    seconds: float
    losses: list[float]


def save_checkpoint(folder: Path, state: State, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write state and weights; a kill or a full disk at any moment leaves the previous pair usable.

    Raises UserError if a file cannot be written.
    """
    file = folder / STATE
    temporary = file.with_name(STATE + ".part")
    try:
        with temporary.open("wb") as stream:
            torch.save({"schema": _SCHEMA, **vars(state)}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        save_state(folder / WEIGHTS, weights, metadata)
        temporary.replace(file)
        _sync_folder(folder)
    except (OSError, RuntimeError, UserError) as error:
        temporary.unlink(missing_ok=True)
        reason = " ".join(str(error).split())[:160]
        kept = f"The checkpoint before it is intact: free space and pass --resume -o {folder}."
        raise UserError(f"train: cannot save step {state.step} in {folder} ({reason}). {kept}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_state(folder: Path) -> State | None:
    """Return the state in a run's folder, or None if there is none yet; raises UserError if it is damaged."""
    file = folder / STATE
    if not file.exists():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        if content.pop("schema") == _SCHEMA:
            return State(**content)
    except (RuntimeError, EOFError, OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"train: {file} is damaged ({' '.join(str(error).split())[:120]}); start in another folder."
        ) from None
    except (pickle.UnpicklingError, AttributeError):
        pass
    raise UserError(f"train: {file} is not a state of this version; start in another folder by -o.")


def check_resumable(
    folder: Path, state: State | None, recipe: Recipe, data_digest: str, *, resume: bool, part: str = ""
) -> None:
    """Raise UserError where a folder cannot be used: another recipe's or other data's run, or no --resume.

    ``part``: how much of the dataset is there, where that is not all: more of it is other data.
    """
    if state is None:
        return
    difference = first_difference(state.recipe, recipe)
    if difference is not None:
        key, old, new = difference
        raise UserError(
            f"train: {folder} holds a run of another recipe: {key} was {old!r} there, it is {new!r} here."
            f" Restore it or start in another folder by -o."
        )
    if state.data_digest != data_digest:
        raise UserError(
            f"train: {folder} holds a run on other data (digest {state.data_digest[:12]}, here {data_digest[:12]}"
            f"{f' of {part} images' if part else ''});"
            " pass the same --data-root or start in another folder by -o."
        )
    if not resume:
        raise UserError(
            f"train: {folder} holds a run at step {state.step}; pass --resume to go on, or another folder by -o."
        )
