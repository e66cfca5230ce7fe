"""MATLAB files: v5 through scipy, v7.3 (which is HDF5) through h5py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat, whosmat

from benchmark.units import shape_text
from zoo.errors import UserError, reason_of
from zoo.inputs import refuse_endless

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CLASSES = {"double": "float64", "single": "float32"}
# A check of a variable's shape (in MATLAB's order) and type before its values are read; it may raise UserError.
Accept = Callable[[tuple[int, ...], str], None]


def find_mat(folder: Path, stem: str) -> Path | None:
    """Return the file ``<stem>.mat`` in ``folder``, ignoring case: ``ValidationGTBlocksSrgb.mat`` exists too."""
    wanted = f"{stem}.mat".lower()
    try:
        found = sorted(path for path in folder.iterdir() if path.name.lower() == wanted and path.is_file())
    except OSError:
        return None
    return found[0] if found else None


def read_variable(name: str, path: Path, variable: str, accept: Accept = lambda shape, dtype: None) -> NDArray[Any]:
    """Return a numeric variable with the axes in MATLAB's order; its name is matched without case.

    Raises UserError naming the file if it is damaged or has no such variable; the message
    then says what is inside. ``name`` is the dataset, for errors.
    """
    read = _read_hdf5 if is_hdf5(name, path) else _read_v5
    try:
        return read(name, path, variable, accept)
    except UserError:
        raise
    except Exception as error:
        # Every exception of scipy and h5py is caused by the file, because they trust the file's content.
        raise UserError(f"{name}: {path} is damaged or no MATLAB file ({reason_of(error)}). Copy it again.") from error


def is_hdf5(name: str, path: Path) -> bool:
    """Return whether a file is HDF5, from its start or after the 512 bytes that MATLAB writes first."""
    try:
        refuse_endless(path)
        with path.open("rb") as stream:
            head = stream.read(512 + len(_HDF5))
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be read ({error.strerror or error}). Copy it again.") from error
    return head.startswith(_HDF5) or head[512:] == _HDF5


def _read_v5(name: str, path: Path, variable: str, accept: Accept) -> NDArray[Any]:
    try:
        inside = {entry[0]: entry[1:] for entry in whosmat(str(path))}
        key = _match(name, path, variable, {one: shape for one, (shape, _) in inside.items()})
        shape, kind = inside[key]
        accept(tuple(shape), _CLASSES.get(kind, kind))
        return np.asarray(loadmat(str(path), variable_names=[key])[key])
    except NotImplementedError as error:
        raise UserError(f"{name}: {path} is a MATLAB file that scipy cannot read ({error}). Save it as -v7.") from None


def _read_hdf5(name: str, path: Path, variable: str, accept: Accept) -> NDArray[Any]:
    import h5py  # importing it takes 0.2 s, and the published files are v5

    with h5py.File(path, "r") as file:
        # MATLAB does not write links, which may form loops or lead out of the file.
        own = [key for key in file if isinstance(file.get(key, getlink=True), h5py.HardLink)]
        inside = {key: getattr(file[key], "shape", None) or () for key in own if not key.startswith("#")}
        node = file[_match(name, path, variable, inside)]
        if not isinstance(node, h5py.Dataset) or node.shape is None:
            raise UserError(f"{name}: {path} holds a structure called '{variable}'; expected numbers. Copy it again.")
        # HDF5 stores MATLAB's axes in reverse order.
        accept(node.shape[::-1], str(node.dtype))
        return np.asarray(node[()]).transpose()


def _match(name: str, path: Path, variable: str, inside: dict[str, Any]) -> str:
    for key in inside:
        if key.lower() == variable.lower():
            return key
    held = ", ".join(f"{key} {shape_text(shape)}" for key, shape in inside.items()) or "nothing"
    raise UserError(f"{name}: {path} has no variable '{variable}'; it holds {held}. Is it the right file?")
