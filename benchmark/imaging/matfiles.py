"""MATLAB files: v5 through scipy, v7.3 (which is HDF5) through h5py."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from zoo.errors import UserError
from zoo.inputs import refuse_endless

_HDF5 = b"\x89HDF\r\n\x1a\n"
# What scipy raises for a file that is cut off or no MATLAB file at all.
_READ_ERRORS = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, MemoryError, zlib.error, MatReadError)


def find_mat(folder: Path, stem: str) -> Path | None:
    """Return the file ``<stem>.mat`` in ``folder``, whatever its case: ``ValidationGTBlocksSrgb.mat`` exists too."""
    wanted = f"{stem}.mat".lower()
    try:
        found = sorted(path for path in folder.iterdir() if path.name.lower() == wanted)
    except OSError:
        return None
    return found[0] if found else None


def read_variable(name: str, path: Path, variable: str) -> NDArray[Any]:
    """Return a numeric variable, its name matched without case, with the axes in MATLAB's order.

    Raises UserError naming the file if it is damaged or has no such variable; the message
    then says what is inside. ``name`` is the dataset, for errors.
    """
    return _read_hdf5(name, path, variable) if is_hdf5(name, path) else _read_v5(name, path, variable)


def is_hdf5(name: str, path: Path) -> bool:
    """Return whether a file is HDF5, after the 512 bytes that MATLAB writes before it or from its start."""
    try:
        refuse_endless(path)
        with path.open("rb") as stream:
            head = stream.read(512 + len(_HDF5))
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be read ({error.strerror or error}). Copy it again.") from error
    return head.startswith(_HDF5) or head[512:] == _HDF5


def _read_v5(name: str, path: Path, variable: str) -> NDArray[Any]:
    try:
        inside = {entry[0]: entry[1] for entry in whosmat(str(path))}
        key = _match(name, path, variable, inside)
        value = loadmat(str(path), variable_names=[key])[key]
    except NotImplementedError as error:
        raise UserError(f"{name}: {path} is a MATLAB file that scipy cannot read ({error}). Save it as -v7.") from None
    except _READ_ERRORS as error:
        raise _damaged(name, path, error) from error
    return np.asarray(value)


def _read_hdf5(name: str, path: Path, variable: str) -> NDArray[Any]:
    import h5py  # it takes 0.2 s to import, and the published files are v5

    try:
        with h5py.File(path, "r") as file:
            inside = {key: getattr(file[key], "shape", ()) for key in file if not key.startswith("#")}
            node = file[_match(name, path, variable, inside)]
            if not hasattr(node, "shape"):
                raise UserError(
                    f"{name}: {path} holds a structure called '{variable}'; expected numbers. Copy it again."
                )
            # MATLAB's axes run the other way round in HDF5.
            return np.asarray(node[()]).transpose()
    except _READ_ERRORS as error:
        raise _damaged(name, path, error) from error


def _match(name: str, path: Path, variable: str, inside: dict[str, Any]) -> str:
    for key in inside:
        if key.lower() == variable.lower():
            return key
    held = ", ".join(f"{key} {'x'.join(map(str, shape))}" for key, shape in inside.items()) or "nothing"
    raise UserError(f"{name}: {path} has no variable '{variable}'; it holds {held}. Is it the right file?")


def _damaged(name: str, path: Path, error: BaseException) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(f"{name}: {path} is damaged or no MATLAB file ({reason}). Copy it again.")
