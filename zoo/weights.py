"""Read weights strictly: safetensors, PyTorch checkpoints without code execution, NumPy archives."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.card import ModelCard, get_card, list_models
from zoo.errors import UserError

# The largest published network of this field is near 1 GiB; a file beyond this is not one of them.
MAX_BYTES = 8 << 30
# sha256 of official checkpoints -> where they come from. None could be fetched and hashed so far; until then every
# imported file is evidence `weights-file`, never `official-weights`.
OFFICIAL: dict[str, str] = {}
# Training scripts keep an epoch's PSNR beside the network, as a NumPy number: data, not code.
_NUMPY_SCALARS = [
    np.float64(0).__reduce__()[0],
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")),
]
# Under which key training scripts keep the network inside a checkpoint.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "params_ema", "params", "net", "generator")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by key, the metadata beside them and the sha256 of the file."""

    state: dict[str, Tensor]
    metadata: dict[str, str]
    digest: str
    path: Path


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_checkpoint(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Checkpoint:
    """Read the tensors in ``path`` (.safetensors, .npz, or a PyTorch checkpoint of any suffix).

    Pickles are read with ``weights_only=True``. Wrapping dictionaries and ``module.`` prefixes are removed.
    Raises UserError if the file is missing, too large, truncated, or holds anything but tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"weights: no file at {path}; expected .safetensors, .npz or a PyTorch checkpoint.")
    size = file.stat().st_size
    if size > max_bytes:
        raise UserError(f"weights: {path} has {size} bytes; files over {max_bytes} bytes are refused.")
    if file.suffix == ".safetensors":
        state, metadata = _read_safetensors(file)
    elif file.suffix == ".npz":
        state, metadata = _read_npz(file), {}
    else:
        state, metadata = _read_pickle(file), {}
    if not state:
        raise UserError(f"weights: {path} holds no tensors; expected a state_dict.")
    return Checkpoint(_strip_prefix(state), metadata, file_digest(file), file)


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(file, framework="pt") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}, dict(handle.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"weights: {file} is not a complete safetensors file ({_one_line(error)}).") from None


def _read_npz(file: Path) -> dict[str, Tensor]:
    try:
        # Opened here: NumPy leaves a damaged file open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"weights: {file} is not a complete .npz archive of arrays ({_one_line(error)}).") from None


def _read_pickle(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_NUMPY_SCALARS):
            # About pickle protocols; the file is read or refused either way.
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"weights: {file} is refused: it is not a plain file of tensors ({_one_line(error)})."
            " Save the state_dict alone, with torch.save or safetensors."
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise UserError(f"weights: {file} cannot be read as a PyTorch checkpoint ({_one_line(error)}).") from None
    state = _unwrap(content)
    if state is None:
        raise UserError(
            f"weights: {file} holds {_describe(content)}; expected a state_dict of tensors,"
            f" bare or under one of {', '.join(_WRAPPERS)}."
        )
    return state


def _unwrap(content: Any) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return {str(key): value for key, value in content.items()}
    for name in _WRAPPERS:
        if name in content:
            return _unwrap(content[name])
    return None


def _strip_prefix(state: dict[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    while all(key.startswith(prefix) for key in state):
        state = {key[len(prefix) :]: value for key, value in state.items()}
    return state


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], *, name: str, source: object) -> None:
    """Load ``state`` into ``model``; every key and shape must agree, as ``check_fits`` demands."""
    check_fits(model, state, name=name, source=source)
    own = model.state_dict()
    # Only counters of training steps may be absent.
    model.load_state_dict({**{key: own[key] for key in own if key not in state}, **state})


def check_fits(model: nn.Module, state: Mapping[str, Tensor], *, name: str, source: object) -> None:
    """Compare keys and shapes of ``state`` with those of ``model``, which may be on the meta device.

    Raises UserError naming the first missing, extra and mis-shaped keys and, where the keys are those of
    another registered model, which one.
    """
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in own]
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or extra or shapes:
        problems = [_first("missing", missing), _first("unexpected", extra)]
        if shapes:
            key = shapes[0]
            problems.append(
                f"{len(shapes)} of another shape ({key} is {tuple(state[key].shape)}, expected {tuple(own[key].shape)})"
            )
        raise UserError(f"{name}: {source} does not fit: {'; '.join(filter(None, problems))}.{_resembles(name, state)}")


def _first(what: str, keys: list[str], count: int = 3) -> str:
    if not keys:
        return ""
    return f"{len(keys)} {what} ({', '.join(keys[:count])}{', ...' if len(keys) > count else ''})"


def _resembles(name: str, state: Mapping[str, Tensor]) -> str:
    """Name the registered model whose keys and shapes agree best with ``state``, if it is another one."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    best, score = "", 0.0
    for other in list_models():
        with torch.device("meta"):
            own = {key: tuple(value.shape) for key, value in get_card(other).create({}).state_dict().items()}
        union = len(own.keys() | shapes.keys())
        same = sum(shapes.get(key) == shape for key, shape in own.items())
        if union and same / union > score:
            best, score = other, same / union
    return f" It looks like a checkpoint of {best}." if score > 0.5 and best != name else ""


def official_state(card: ModelCard, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the checkpoint's tensors under our keys, by the table beside the model where there is one."""
    state = checkpoint.state
    return card.convert_checkpoint(state) if card.convert_checkpoint else state


def is_official(checkpoint: Checkpoint) -> bool:
    """Whether the file, or the one that it was converted from, is in the table of official checkpoints."""
    return checkpoint.metadata.get("source_sha256", checkpoint.digest) in OFFICIAL


def save_weights(path: str | Path, model: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write a model's state_dict as safetensors, atomically, with ``metadata`` beside it."""
    save_state(path, model.state_dict(), metadata)


def save_state(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, atomically, with ``metadata``; raises UserError if the file cannot be written."""
    file = Path(path)
    temporary = file.with_name(file.name + ".part")
    try:
        save_file({key: value.contiguous() for key, value in state.items()}, temporary, metadata=dict(metadata))
        temporary.replace(file)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"weights: cannot write {path} ({_one_line(error)}).") from None


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:157] + "..."


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with keys {', '.join(map(str, list(content)[:5]))}"
    return f"a {type(content).__name__}"
