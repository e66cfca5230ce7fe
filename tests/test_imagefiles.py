"""Files of every kind are read as they are stored, or refused in one line that says what they are and what to do."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from benchmark.imaging.imagefiles import read_picture
from tests.deep_images import png16
from zoo.errors import UserError

tifffile = pytest.importorskip("tifffile")

ROWS, COLUMNS = np.mgrid[:40, :48]
RGB = np.stack([(5 * ROWS + 3 * COLUMNS + 40 * c) % 256 for c in range(3)], axis=-1).astype(np.uint8)
DEEP = RGB.astype(np.uint16) * 251 + 7
GREY = DEEP[..., 1].copy()
# EXIF data of one entry: the picture is to be shown turned by a quarter.
TURNED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def saved(picture, format, **options) -> bytes:
    stream = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, format, **options)
    return stream.getvalue()


def tiff(*pictures, bigtiff=False, byteorder="<", first=None, **options) -> bytes:
    """Return a TIFF of several pictures; ``first``: options of the first one only."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, bigtiff=bigtiff, byteorder=byteorder) as writer:
        for number, picture in enumerate(pictures):
            writer.write(picture, **{**options, **(first or {} if number == 0 else {})})
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes) -> bytes:
    """Return a PNG of ``RGB`` with chunks behind its head."""
    whole = saved(RGB, "PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def raw_png(size, data: bytes, *, bits=8, kind=2, interlaced=0) -> bytes:
    head = struct.pack(">IIBBBBB", size[1], size[0], bits, kind, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def netpbm(kind: str, values, largest: int) -> bytes:
    head = f"{kind}\n# a comment\n{values.shape[1]} {values.shape[0]}\n{largest}\n".encode()
    return head + values.astype(">u2" if largest > 255 else np.uint8).tobytes()


def mpo() -> bytes:
    return saved(RGB, "MPO", save_all=True, append_images=[Image.fromarray(RGB[:20])], quality=95)


def rotation(number: int) -> dict:
    return {"extratags": [(274, "H", 1, number, True)]}


def jpeg() -> bytes:
    return saved(RGB, "JPEG", quality=95)


def jpeg_of(height: int, width: int) -> bytes:
    """Return a JPEG whose head says another size."""
    content = bytearray(jpeg())
    start = content.find(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def deep_jpeg() -> bytes:
    content = bytearray(jpeg())
    content[content.find(b"\xff\xc0") + 4] = 12
    return bytes(content)


def tall_tiff() -> bytes:
    """Return a TIFF whose head says more rows than it has."""
    content = bytearray(saved(RGB, "TIFF"))
    entry = content.find(struct.pack("<HHI", 257, 4, 1))
    content[entry + 8 : entry + 12] = struct.pack("<I", 4000)
    return bytes(content)


def few_strips() -> bytes:
    content = bytearray(tiff(RGB, photometric="rgb", rowsperstrip=8, compression="zlib"))
    for tag in (273, 279):
        found = next(at for kind in (3, 4) if (at := content.find(struct.pack("<HHI", tag, kind, 5))) >= 0)
        content[found + 4 : found + 8] = struct.pack("<I", 4)
    return bytes(content)


def many_scans() -> bytes:
    start, end = (jpeg().find(marker) for marker in (b"\xff\xda", b"\xff\xd9"))
    return jpeg()[:end] + jpeg()[start : start + 14] * 500 + b"\xff\xd9"


def dng() -> bytes:
    version = {"extratags": [(50706, "B", 4, b"\1\4\0\0", True)], "photometric": "rgb"}
    return tiff(RGB[::4, ::4].copy(), GREY, first={**version, "subfiletype": 1, "subifds": 1}, photometric="cfa")


def nef() -> bytes:
    first = {"photometric": "rgb", "subfiletype": 1, "subifds": 1}
    return tiff(RGB[::4, ::4].copy(), GREY, first=first, photometric="minisblack")


LINES = b"".join(b"\0" + row.tobytes() for row in RGB)
DARK_END = np.where(ROWS[..., None] < 38, RGB, 0).astype(np.uint8)

READ = {
    "png16": (lambda: png16(DEEP), DEEP),
    "gray16": (lambda: saved(GREY, "PNG"), GREY),
    "large text": (lambda: png(chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(3 << 20)))), RGB),
    "large profile": (lambda: png(chunk(b"iCCP", b"key\0\0" + zlib.compress(bytes(3 << 20)))), RGB),
    "gamma": (lambda: png(chunk(b"gAMA", struct.pack(">I", 45455))), RGB),
    "bytes behind the end": (lambda: png() + b"more", RGB),
    "black last rows": (lambda: saved(DARK_END, "PNG"), DARK_END),
    "mpo": (mpo, None),
    "jpeg, bytes behind the end": (lambda: jpeg() + b"more", None),
    "tiff16": (lambda: tiff(DEEP, photometric="rgb", rowsperstrip=7), DEEP),
    "big tiff": (lambda: tiff(DEEP, photometric="rgb", bigtiff=True), DEEP),
    "tiles": (lambda: tiff(DEEP, photometric="rgb", tile=(16, 16), compression="zlib", predictor=2), DEEP),
    "planes": (lambda: tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate"), RGB),
    "turned tiff": (lambda: tiff(RGB, photometric="rgb", **rotation(3)), RGB),
    "turned tiff16": (lambda: tiff(DEEP, photometric="rgb", byteorder=">", compression="zlib", **rotation(6)), DEEP),
    "turned mosaic": (lambda: tiff(GREY, photometric="minisblack", bigtiff=True, **rotation(8)), GREY),
    "white is 0": (lambda: tiff(GREY, photometric="miniswhite"), 65535 - GREY),
    "white is 0, other order": (lambda: tiff(GREY, photometric="miniswhite", byteorder=">"), 65535 - GREY),
    "white is 0, compressed": (lambda: tiff(GREY, photometric="miniswhite", compression="zlib"), 65535 - GREY),
    "white is 0, 8 bits": (lambda: tiff(RGB[..., 0], photometric="miniswhite"), 255 - RGB[..., 0]),
    "a smaller copy behind": (
        lambda: tiff(RGB, RGB[::2, ::2].copy(), photometric="rgb", first={"subfiletype": 0}, subfiletype=1),
        RGB,
    ),
    "ppm16": (lambda: netpbm("P6", DEEP, 65535), DEEP),
    "pgm16": (lambda: netpbm("P5", GREY, 65535), GREY),
    "pgm of 10 bits": (lambda: netpbm("P5", GREY >> 6, 1023), GREY >> 6),
    "text ppm": (lambda: b"P3 48 40 255\n" + " ".join(map(str, RGB.ravel())).encode(), RGB),
}


@pytest.mark.parametrize("name", READ)
def test_pixels_are_those_of_the_file(tmp_path, name):
    make, expected = READ[name]
    (tmp_path / "x").write_bytes(make())
    pixels = read_picture("test", tmp_path / "x").pixels
    if expected is None:
        expected = np.asarray(Image.open(io.BytesIO(make())))
    assert pixels.dtype == expected.dtype
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tiff(RGB, photometric="rgb", **rotation(6)),
        lambda: png(chunk(b"eXIf", TURNED)),
        lambda: saved(RGB, "JPEG", exif=b"Exif\0\0" + TURNED),
        lambda: saved(RGB, "WEBP", lossless=True, exif=b"Exif\0\0" + TURNED),
    ],
)
def test_an_orientation_is_told_and_not_applied(tmp_path, make):
    (tmp_path / "x").write_bytes(make())
    picture = read_picture("test", tmp_path / "x")
    assert (picture.orientation, picture.pixels.shape) == (6, RGB.shape)


def first_cut() -> bytes:
    """Return an MPO whose first picture stops half-way, the second one being whole."""
    whole = mpo()
    end = whole.find(b"\xff\xd9")
    return whole[: end // 2] + whole[end + 2 :]


REFUSED = {
    "animated png": (
        lambda: saved(RGB, "PNG", save_all=True, append_images=[Image.fromarray(RGB[::-1])]),
        "is a PNG of 2 pictures; expected one",
    ),
    "animated webp": (
        lambda: saved(RGB, "WEBP", save_all=True, append_images=[Image.fromarray(RGB[::-1])]),
        "is a WEBP of 2 pictures; expected one",
    ),
    "pages": (lambda: tiff(RGB, RGB, photometric="rgb"), "is a TIFF of 2 pictures; expected one"),
    "two ppm": (lambda: netpbm("P6", RGB, 255) * 2, "several pictures; expected one"),
    "dng": (dng, "is a DNG, a camera's RAW file; expected a picture"),
    "nef": (nef, "is a camera's RAW file"),
    "mosaic tiff": (lambda: tiff(GREY, photometric="cfa"), "is a camera's RAW file"),
    "cr2": (lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "it is a CR2"),
    "heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), "it is a HEIC"),
    "avif": (lambda: b"\0\0\0\x18ftypavif" + bytes(99), "it is an AVIF"),
    "jpeg 2000": (lambda: b"\xff\x4f\xff\x51" + bytes(99), "it is a JPEG 2000"),
    "jpeg xl": (lambda: b"\xff\x0a" + bytes(99), "it is a JPEG XL"),
    "gif": (lambda: saved(RGB, "GIF"), "it is a GIF"),
    "array": (lambda: b"\x93NUMPY" + bytes(99), "it is a NumPy array"),
    "git lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
    "floats": (lambda: tiff(GREY.astype(np.float32)), "is a TIFF of 32-bit floats"),
    "signed": (lambda: tiff(RGB[..., 0].astype(np.int8)), "is a TIFF of 8-bit signed numbers"),
    "another channel": (
        lambda: tiff(np.dstack([RGB, RGB[..., :1]]), photometric="rgb", extrasamples=["unspecified"]),
        "is a RGB with another channel TIFF",
    ),
    "lab": (lambda: tiff(RGB, photometric="cielab"), "is a Lab TIFF"),
    "4 bits": (lambda: raw_png((8, 8), bytes(8 * 5), bits=4, kind=0), "is a 4-bit gray PNG"),
    "ppm of 10 bits": (lambda: netpbm("P6", DEEP >> 6, 1023), "as 16-bit PNG and give --white 1023"),
    "pbm": (lambda: b"P4\n8 8\n" + bytes(8), "is a PBM"),
    "jpeg of 12 bits": (deep_jpeg, "is a JPEG of 12 bits a colour; expected 8"),
    "jpeg of many scans": (many_scans, "is a JPEG of more than 100 scans"),
    "tiff of few rows": (tall_tiff, "1 of 100 strips or tiles are there"),
    "tiff of few strips": (few_strips, "4 of 5 strips or tiles are there"),
    "few rows": (lambda: raw_png(RGB.shape, LINES[:-145]), "its last rows are missing"),
    "few rows, interlaced": (lambda: raw_png(RGB.shape, LINES[:100], interlaced=1), "damaged or cut off"),
    "mpo, first picture cut": (first_cut, "a marker in a wrong place"),
    "ppm cut": (lambda: netpbm("P6", DEEP, 65535)[:-1], "its end is missing"),
    "webp cut": (lambda: saved(RGB, "WEBP")[:-8], "its end is missing"),
    "too many pixels": (lambda: jpeg_of(65535, 65535), "has more than 178 megapixels"),
    "few bytes for many pixels": (lambda: jpeg_of(3000, 3000), "cannot hold 3000x3000 pixels"),
    "bomb": (lambda: raw_png((9000, 9000), bytes(9000 * 9001), kind=0), "a picture of 9000x9000 pixels, 77 MiB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_in_one_line(tmp_path, name):
    make, words = REFUSED[name]
    (tmp_path / "x").write_bytes(make())
    with pytest.raises(UserError) as caught:
        read_picture("test", tmp_path / "x")
    text = str(caught.value)
    assert text.startswith(f"test: {tmp_path / 'x'} ")
    assert words in text
    assert "\n" not in text


def test_a_damaged_tiff_prints_nothing_of_its_own(tmp_path, capfd):
    content = bytearray(tiff(DEEP, photometric="rgb", compression="zlib"))
    content[-600:-200] = bytes(400)
    (tmp_path / "x").write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged or cut off"):
        read_picture("test", tmp_path / "x")
    assert capfd.readouterr() == ("", "")


def test_a_pipe_is_no_picture(tmp_path):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(UserError, match="it is a pipe"):
        read_picture("test", tmp_path / "x")


@pytest.mark.parametrize("seed", range(4))
def test_damage_anywhere_is_one_line_or_a_picture(tmp_path, seed):
    """Bytes changed, taken out, put in or zeroed, in the head as often as elsewhere."""
    random = np.random.RandomState(seed)
    sources = [png(), png16(DEEP), jpeg(), mpo(), saved(RGB, "JPEG", progressive=True), tiff(DEEP, photometric="rgb")]
    sources += [tiff(DEEP, photometric="rgb", compression="zlib", tile=(16, 16)), saved(RGB, "WEBP")]
    sources += [saved(RGB, "TIFF", compression="tiff_lzw"), saved(RGB, "BMP"), netpbm("P6", DEEP, 65535), nef()]
    for number in range(60):
        content = bytearray(sources[number % len(sources)])
        start = random.randint(min(len(content), 200) if number % 2 else len(content))
        stop = start + random.randint(1, 60)
        if number % 5 == 0:
            del content[start:stop]
        elif number % 5 == 1:
            content[start:start] = random.bytes(stop - start)
        elif number % 5 == 2:
            content[start:] = bytes(len(content) - start)
        else:
            content[start:stop] = random.bytes(len(content[start:stop]))
        (tmp_path / "x").write_bytes(bytes(content))
        found = read_or_refusal(tmp_path / "x")
        assert "\n" not in found
        assert found.startswith(("read", f"test: {tmp_path / 'x'} "))


def read_or_refusal(path) -> str:
    try:
        return f"read {read_picture('test', path).pixels.shape}"
    except UserError as error:
        return str(error)
