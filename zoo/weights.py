"""Files of weights, read without running code: of safetensors, PyTorch, NumPy, MatConvNet and TensorFlow."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from zoo.card import ModelCard
from zoo.errors import UserError, printable, reason_of, shortened, shown
from zoo.fitting import unshared
from zoo.foreign import what_it_is
from zoo.inputs import regular_file
from zoo.matconvnet import read_matconvnet
from zoo.tensorbundle import bundle_of, read_bundle
from zoo.writing import whole_file

# The largest published network of this field has about 1 GiB, so a file beyond this limit is not one of them.
MAX_BYTES = 8 << 30
# Training scripts keep an epoch's PSNR beside the network, as a NumPy number: data, not code.
_NUMPY_SCALARS = [
    np.float64(0).__reduce__()[0],
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int32", "int64", "bool")),
]
# Exceptions of a reader for a file that is damaged or of another kind; NotImplementedError is a RuntimeError.
_FILE_ERRORS = (
    SafetensorError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    MemoryError,
    AssertionError,
    struct.error,
)
# The name of a class or function in a pickle that only holds plain data without it.
_CODE = re.compile(r"GLOBAL ([\w.]+)")
# No network's weights can be compressed to a hundredth of their size.
_DENSE = 100
_MAX_HEADER = 100_000_000
# Keys under which training scripts keep the network inside a checkpoint.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "params_ema", "params", "net", "generator")
# Words in the names of running means of weights; the tool cannot know whether a user wants the mean or the weights.
_MEANS = {"ema", "avg", "average", "averaged", "swa", "shadow", "polyak", "teacher"}
# The largest depth of nested dictionaries.
_DEPTH = 6


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by key, the file's metadata and its sha256; ``notes`` say how tensors were converted for a network.

    ``held``: the training form that the file holds, if the tensors were converted to the deploy form.
    """

    state: dict[str, Tensor]
    metadata: dict[str, str]
    digest: str
    path: Path
    notes: tuple[str, ...] = ()
    held: str = ""


def files_of(path: str | Path) -> tuple[Path, ...]:
    """Return the files that ``path`` names: the two of a TensorFlow checkpoint, of any other kind one."""
    return bundle_of(path) or (Path(path),)


def file_digest(*paths: Path) -> str:
    """Return the sha256 of a file's content, or of the contents of several files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_checkpoint(path: str | Path, *, take: str | None = None, max_bytes: int = MAX_BYTES) -> Checkpoint:
    """Read the tensors in ``path`` (.safetensors, .npz, MatConvNet's .mat, or a PyTorch checkpoint of any suffix).

    A TensorFlow checkpoint is named by one of its files, NAME.index and NAME.data-00000-of-00001, or by NAME.
    Pickles are read with ``weights_only=True``. Wrapping dictionaries and ``module.`` prefixes are removed; if there
    are several, ``take`` is the dotted name of the one with the weights. Raises UserError if the file is missing, too
    large, truncated or damaged, if it holds anything but plain tensors, or several networks and ``take`` names none.
    """
    expected = ".safetensors, .npz, .mat or a PyTorch or TensorFlow checkpoint"
    file, *others = files = [regular_file(file, expected, "weights") for file in files_of(path)]
    size = sum(file.stat().st_size for file in files)
    if size > max_bytes:
        raise UserError(f"weights: {path} has {size} bytes; files over {max_bytes} bytes are refused.")
    check_sums(file)
    if take is not None and (others or file.suffix in (".safetensors", ".npz", ".mat")):
        raise UserError(f"--take {take}: {path} holds one set of weights; only PyTorch checkpoints hold several.")
    metadata: dict[str, str] = {}
    if others:
        state = _read_bundle(*files)
    elif file.suffix == ".safetensors":
        state, metadata = _read_safetensors(file)
    elif file.suffix == ".npz":
        state = _read_npz(file)
    elif file.suffix == ".mat":
        state = _read_mat(file)
    else:
        state = _read_pickle(file, take)
    if not state:
        raise UserError(f"weights: {path} holds no tensors; expected a state_dict.")
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_nested or value.is_meta:
            raise UserError(f"weights: {path}: {key} is no plain tensor of numbers; save it dense and dequantised.")
    return Checkpoint(_strip_prefix(state), metadata, file_digest(*files), file)


def check_sums(file: Path) -> None:
    """Verify the checksums in a zip archive (PyTorch's and NumPy's files are zip archives); torch does not do this.

    Raises UserError naming the file and the damaged part. Files of other kinds are accepted.
    """
    if not zipfile.is_zipfile(file):
        return
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        damaged = reason_of(error)
    if damaged is not None:
        raise UserError(f"{file} is damaged ({damaged}: its checksum does not match); get the file again.")


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        _check_header(file)
        # The reader accepts only file names in UTF-8, but it accepts any file by its descriptor.
        with file.open("rb") as stream:
            place = str(file) if printable(file) == str(file) else f"/dev/fd/{stream.fileno()}"
            with safe_open(place, framework="pt") as handle:
                return {key: handle.get_tensor(key) for key in handle.keys()}, dict(handle.metadata() or {})  # noqa: SIM118
    except _FILE_ERRORS as error:
        raise UserError(f"weights: {file} is not a complete safetensors file ({reason_of(error)}).") from None


def _check_header(file: Path) -> None:
    """Raise ValueError for a safetensors header that names a tensor twice: the reader would use the last one."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        # The reader refuses longer headers.
        header = stream.read(length) if length <= _MAX_HEADER else b"{}"

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) < len(items):
            raise ValueError("a key occurs twice in its header")
        return dict(items)

    json.loads(header, object_pairs_hook=pairs)


def _read_npz(file: Path) -> dict[str, Tensor]:
    try:
        # Checked before NumPy reads it: NumPy also accepts a file of one array, and a small file may expand a lot.
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > max(_DENSE * file.stat().st_size, 64 << 20):
            raise ValueError(f"its {file.stat().st_size:,} bytes unpack to {size:,}, as only zeros or the like do")
        # The file is opened here because NumPy leaves a damaged file open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in archive.files}
    except (*_FILE_ERRORS, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"weights: {file} is not a complete .npz archive of arrays ({reason_of(error)}).") from None


def _read_mat(file: Path) -> dict[str, Tensor]:
    try:
        return read_matconvnet(file)
    except _FILE_ERRORS as error:
        reason = what_it_is(file) or reason_of(error)
        raise UserError(f"weights: {file} is not a network of MatConvNet, MATLAB v7.3 ({reason}).") from None


def _read_bundle(index: Path, data: Path) -> dict[str, Tensor]:
    try:
        return read_bundle(index, data)
    except _FILE_ERRORS as error:
        raise UserError(
            f"weights: {index} is not a TensorFlow checkpoint that can be read here ({reason_of(error)})."
        ) from None


def _read_pickle(file: Path, take: str | None) -> dict[str, Tensor]:
    try:
        with file.open("rb") as stream, warnings.catch_warnings(), torch.serialization.safe_globals(_NUMPY_SCALARS):
            # These warnings are about pickle protocols; the file is read or refused in any case.
            warnings.simplefilter("ignore")
            content = torch.load(stream, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *_FILE_ERRORS) as error:
        if known := what_it_is(file):
            raise UserError(f"weights: {file} cannot be read: it is {known}.") from None
        if not isinstance(error, pickle.UnpicklingError):
            raise UserError(f"weights: {file} cannot be read as a PyTorch checkpoint ({reason_of(error)}).") from None
        # Torch's own text begins with the advice to run the code in the file.
        code = _CODE.search(str(error))
        reason = f"it needs the code of {shortened(code[1])}" if code else "torch.save did not write it"
        raise UserError(
            f"weights: {file} is refused: it is not a plain file of tensors ({reason})."
            " Save only the state_dict, with torch.save or safetensors."
        ) from None
    found = dict(_networks(content, (), set()))
    if take is not None:
        if take not in found:
            raise UserError(f"--take {take}: {file} has no such dictionary of tensors; it has {_names(found)}.")
        return found[take]
    named = [path for path in found if all(part in _WRAPPERS for part in path.split(".") if part)]
    if not named:
        others = f" Name one of {_names(found)} with `weights import --take NAME`." if found else ""
        raise UserError(
            f"weights: {file} holds {_describe(content)}; expected a state_dict of tensors,"
            f" bare or under one of {', '.join(_WRAPPERS)}.{others}"
        )
    best = min(named, key=lambda path: [_WRAPPERS.index(part) for part in path.split(".") if part])
    rivals = [path for path in found if path != best and _are_rivals(path, found[path], found[best])]
    rivals += [name for name in _means(content) if not any(f"{path}.".startswith(f"{name}.") for path in found)]
    if rivals:
        raise UserError(
            f"weights: {file} holds several sets of weights, {', '.join([best, *rivals])}; which one is meant? Name it:"
            f" `weights import --take {best}` or --take {rivals[0]}."
        )
    return found[best]


def _networks(content: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield every dictionary of tensors inside ``content`` with its dotted name; the name of ``content`` is ""."""
    if not isinstance(content, Mapping) or not content or id(content) in seen or len(path) > _DEPTH:
        return
    seen.add(id(content))
    if all(isinstance(value, Tensor) for value in content.values()):
        yield ".".join(path), {str(key): value for key, value in content.items()}
        return
    for name, value in content.items():
        if isinstance(name, str):
            yield from _networks(value, (*path, name), seen)


def _are_rivals(path: str, state: dict[str, Tensor], chosen: dict[str, Tensor]) -> bool:
    """Whether a user may want ``state`` instead of ``chosen``: a mean by its name, or other weights of one network."""
    one, other = _strip_prefix(state), _strip_prefix(chosen)
    alike = one.keys() == other.keys() and all(one[key].shape == other[key].shape for key in one)
    if alike and all(torch.equal(one[key], other[key]) for key in one):
        return False
    return alike or (_is_mean(path) and any(value.ndim for value in state.values()))


def _is_mean(name: str) -> bool:
    return any(word in _MEANS or word.endswith("ema") for word in re.split(r"[^a-z]+", name.lower()))


def _means(content: Any) -> list[str]:
    """Return the names of means that are not dictionaries of tensors: lists, or objects with other values."""
    if not isinstance(content, Mapping):
        return []
    return [name for name, value in content.items() if isinstance(name, str) and _is_mean(name) and _has_tensors(value)]


def _has_tensors(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Tensor):
        return value.ndim > 0
    if isinstance(value, Mapping):
        value = list(value.values())
    return isinstance(value, (list, tuple)) and depth < _DEPTH and any(_has_tensors(one, depth + 1) for one in value)


def _names(found: Mapping[str, Any]) -> str:
    return ", ".join(name or "one without a name" for name in found) or "none"


def _strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "module."
    if len(state) > 1 and "n_averaged" in state:
        # The counter that torch's own running mean stores beside the weights.
        rest = {key: value for key, value in state.items() if key != "n_averaged"}
        return _strip_prefix(rest) if all(key.startswith(prefix) for key in rest) else state
    while all(key.startswith(prefix) for key in state):
        state = {key[len(prefix) :]: value for key, value in state.items()}
    return state


def official_state(card: ModelCard, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the checkpoint's tensors under our keys, converted by the model's table if it has one."""
    state = checkpoint.state
    return card.convert_checkpoint(state) if card.convert_checkpoint else state


def stored_options(metadata: Mapping[str, str], source: object) -> dict[str, Any]:
    """Return the options in a weights file's metadata (JSON); raises UserError if they cannot be read."""
    text = metadata.get("options", "")
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"weights: {source} has unreadable options in its metadata: {shown(text)}.")
    return value


def save_state(path: str | Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors as safetensors, atomically, with ``metadata``; raises UserError if the file cannot be written.

    Tensors that share memory are written under each of their names. The same content gives the same bytes.
    """
    try:
        with whole_file(Path(path)) as partial:
            save_file(unshared(state), partial, metadata={key: printable(value) for key, value in metadata.items()})
            _sort_header(partial)
    except (OSError, SafetensorError) as error:
        raise UserError(f"weights: cannot write {path} ({reason_of(error)}).") from None


def _sort_header(file: Path) -> None:
    """Sort the metadata of a safetensors file by name, because the library writes it in no fixed order."""
    with file.open("r+b") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:
            stream.seek(8)
            stream.write(text.ljust(size))


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        keys = (shortened(key) if isinstance(key, str) else shown(key) for key in list(content)[:5])
        return f"a dictionary with keys {', '.join(keys)}"
    return f"a {type(content).__name__}"
