"""Arrays on disk that are read and written tile by tile: memory-mapped .npy files that never fill the memory."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.errors import UserError
from zoo.inputs import refuse_endless
from zoo.writing import partial_of

_ZEROS = 4 << 20


class MappedArray:
    """A float32 array in a file, as a tensor; ``forget`` removes its pages from this process."""

    def __init__(self, array: np.memmap) -> None:
        self._map: mmap.mmap = array._mmap  # type: ignore[attr-defined]
        self.array = array

    @property
    def tensor(self) -> Tensor:
        """The array as a tensor over the same pages."""
        return torch.from_numpy(self.array)

    def forget(self) -> None:
        """Drop the pages from this process's resident memory; the system keeps what was written to a shared map."""
        with contextlib.suppress(AttributeError, OSError, ValueError):
            self._map.madvise(mmap.MADV_DONTNEED)


def map_input(file: Path) -> MappedArray:
    """Map an ``.npy`` file for reading; writes to it would stay in this process. Raises as ``numpy.load`` does."""
    refuse_endless(file)
    return MappedArray(np.load(file, mmap_mode="c", allow_pickle=False))


@contextmanager
def new_array(path: Path, shape: Sequence[int]) -> Iterator[MappedArray]:
    """Make a float32 ``.npy`` file that is mapped while the block fills it, and gets its name when the block has ended.

    The space on the disk is reserved first: a full disk is then a UserError here. Without this, a write into a mapping
    of a full disk would end the process by SIGBUS.
    """
    partial = partial_of(path)
    size = int(np.prod(shape, dtype=np.int64)) * 4
    try:
        try:
            array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=tuple(shape))
            with partial.open("rb+", buffering=0) as stream:
                _take_room(stream, array.offset, size)
        except OSError as error:
            raise UserError(room_text(path, size, error)) from error
        mapped = MappedArray(array)
        yield mapped
        try:
            array.flush()
            os.replace(partial, path)
        except OSError as error:
            raise UserError(room_text(path, size, error)) from error
    finally:
        partial.unlink(missing_ok=True)


def _take_room(stream: FileIO, start: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(stream.fileno(), start, size)
            return
        except OSError as error:
            # Some file systems cannot reserve space, and report it so.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    zeros = memoryview(bytes(min(size, _ZEROS)))
    stream.seek(start)
    written = 0
    while written < size:
        written += stream.write(zeros[: size - written])
    # Network file systems report a full disk only here.
    os.fsync(stream.fileno())


def room_text(path: Path, size: int, error: OSError) -> str:
    """Return the message for an output of ``size`` bytes that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{path}: the output takes {size / 2**20:.1f} MiB and there is no room for it; free some or change -o."
    return f"{path}: cannot be written ({error.strerror}); name a folder that you may write to."
