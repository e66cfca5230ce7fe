"""Say what a file is that holds weights in a form that is not read here, and how they can be had from it."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

_HDF5 = b"\x89HDF\r\n\x1a\n"
# The first bytes of files, with the offset where they stand.
_BEGINNINGS = (
    (0, _HDF5, "an HDF5 file, as of Keras; a network of MatConvNet needs the suffix .mat"),
    (0, b"MATLAB 5.0", "a MATLAB file of version 5; write it again in MATLAB with save(..., '-v7.3')"),
    (0, b"\x93NUMPY", "one NumPy array; write all tensors by name with numpy.savez"),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (4, b"TFL3", "a TensorFlow Lite program; import the checkpoint that it was made from"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file; get it with git lfs pull"),
    (0, b"model_checkpoint_path", "a list of TensorFlow checkpoints; name the prefix of one of them"),
)
_PAGE = re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE)
_SUFFIXES = {
    ".onnx": "an ONNX program; import the checkpoint that it was exported from",
    ".meta": "the graph of a TensorFlow checkpoint; name its .index",
    ".pb": "a TensorFlow program; import its checkpoint, the prefix of an .index file",
}


def what_it_is(file: Path) -> str:
    """Return what a file that torch cannot read is, and how its weights can be had; empty if that is not known."""
    with file.open("rb") as stream:
        start = stream.read(512)
    for at, begin, words in _BEGINNINGS:
        if start[at : at + len(begin)] == begin and not (begin == _HDF5 and file.suffix == ".mat"):
            return words
    if _PAGE.match(start):
        return "a web page, not the file; download the file itself"
    if file.suffix in _SUFFIXES:
        return _SUFFIXES[file.suffix]
    names = _members(file)
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript program; torch.save(torch.jit.load(FILE, 'cpu').state_dict(), OTHER) writes its weights"
    if any(name.endswith("archive_format") for name in names):
        return "a program of torch.export; torch.save(torch.export.load(FILE).state_dict, OTHER) writes its weights"
    return ""


def _members(file: Path) -> list[str]:
    """Return the names in a zip archive; none for other files."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.namelist()
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return []
