"""TensorFlow checkpoints read without TensorFlow: equal to what was written, and one clear line for anything else."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden_rule import fill
from zoo import UserError, create_model, get_card
from zoo.models import dped, microisp
from zoo.tensorbundle import _masked_crc, read_bundle
from zoo.weights import file_digest, read_checkpoint

DATA = Path(__file__).parent / "data" / "networks"
TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}


def varint(value: int) -> bytes:
    head, value = value & 127, value >> 7
    return bytes([head | 128]) + varint(value) if value else bytes([head])


def entry(kind: int, shape: tuple[int, ...], offset: int, size: int, crc: int, *, shard: int = 0) -> bytes:
    sides = b"".join(b"\x12" + varint(len(side)) + side for side in (b"\x08" + varint(n) for n in shape))
    text = b"\x08" + varint(kind) + b"\x12" + varint(len(sides)) + sides
    text += (b"\x18" + varint(shard) if shard else b"") + (b"\x20" + varint(offset) if offset else b"")
    return text + b"\x28" + varint(size) + b"\x35" + struct.pack("<I", crc)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A block of a LevelDB table: every 16th key is written whole, the others without what they share."""
    text, starts, before = b"", [], b""
    for index, (key, value) in enumerate(entries):
        shared = 0
        if index % 16:
            shared = next((i for i, (a, b) in enumerate(zip(key, before)) if a != b), min(len(key), len(before)))
        else:
            starts.append(len(text))
        text += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return text + b"".join(struct.pack("<I", start) for start in starts) + struct.pack("<I", len(starts))


def table(entries: list[tuple[bytes, bytes]], *, per_block: int = 40) -> bytes:
    text, places = b"", []

    def add(content: bytes) -> bytes:
        nonlocal text
        handle = varint(len(text)) + varint(len(content))
        text += content + b"\0" + struct.pack("<I", _masked_crc(content + b"\0"))
        return handle

    for first in range(0, len(entries), per_block):
        part = entries[first : first + per_block]
        places.append((part[-1][0] + b"~", add(block(part))))
    ends = add(block([])) + add(block(places))
    return text + ends.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def write_bundle(prefix: Path, variables: dict[str, np.ndarray], change: Callable[..., None] | None = None) -> Path:
    """Write variables as TensorFlow does; ``change`` may spoil the entries, a dictionary by name."""
    data, entries = b"", {"": b"\x08\x01\x1a\x02\x08\x01"}
    for name, value in sorted(variables.items()):
        content = value.tobytes()
        entries[name] = entry(TYPES[value.dtype.name], value.shape, len(data), len(content), _masked_crc(content))
        data += content
    if change:
        change(entries)
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(table([(name.encode(), text) for name, text in sorted(entries.items())]))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    return index


def in_tensorflow(model: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights of a network under TensorFlow's names and in its layout, and under ours."""
    names = {"dped_rgb": dped, "microisp": microisp}[model].tensorflow_names()
    keys = json.loads((DATA / f"{'dped' if model == 'dped_rgb' else model}_keys.json").read_text())
    state = fill({key: tuple(value.shape) for key, value in create_model(model).state_dict().items()}, 0.8)
    variables = {}
    for name, shape, _ in keys["tensorflow_variables"]:
        value = state[names[name]]
        variables[name] = np.ascontiguousarray(value.transpose(2, 3, 1, 0) if value.ndim == 4 else value).reshape(shape)
    return variables, state


def test_the_checksum_is_that_of_the_standard() -> None:
    crc = 0xE3069283  # CRC-32C of the digits 1 to 9
    assert _masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_variables_come_back_with_their_types(tmp_path) -> None:
    draw = np.random.RandomState(0)
    variables = {f"scope/w_{i}": draw.rand(3, 2, i % 3 + 1).astype("float32") for i in range(100)}
    variables |= {"step": np.array(7, "int64"), "double": draw.rand(2), "none": np.zeros((0, 3), "float32")}
    index = write_bundle(tmp_path / "model.ckpt", variables)
    state = read_bundle(index, tmp_path / "model.ckpt.data-00000-of-00001")
    assert state.keys() == variables.keys()
    assert all(np.array_equal(state[name].numpy(), value) for name, value in variables.items())
    assert {state[name].numpy().dtype for name in variables} == {np.dtype(t) for t in ("float32", "float64", "int64")}


@pytest.mark.parametrize(
    ("model", "name"),
    [("dped_rgb", ""), ("microisp", ""), ("microisp", ".index"), ("microisp", ".data-00000-of-00001")],
)
def test_published_checkpoints_load_by_any_of_their_names(zoo_bench, tmp_path, model: str, name: str) -> None:
    variables, state = in_tensorflow(model)
    write_bundle(tmp_path / "net.ckpt", variables)
    files = [tmp_path / f"net.ckpt{suffix}" for suffix in (".index", ".data-00000-of-00001")]
    out = tmp_path / "w.safetensors"
    outcome = zoo_bench("weights", "import", model, f"{tmp_path / 'net.ckpt'}{name}", "-o", out)
    assert outcome.code == 0, outcome.err
    imported = read_checkpoint(out)
    assert imported.metadata["source_sha256"] == file_digest(*files)
    assert all(np.array_equal(imported.state[key].numpy(), value) for key, value in state.items())


def test_neither_file_of_a_checkpoint_is_replaced(zoo_bench, tmp_path) -> None:
    index = write_bundle(tmp_path / "net", in_tensorflow("microisp")[0])
    before = index.read_bytes()
    for target in (index, tmp_path / "net.data-00000-of-00001"):
        outcome = zoo_bench("weights", "import", "microisp", tmp_path / "net", "-o", target)
        assert outcome.code == 2
        assert "would replace the input" in outcome.err
    assert index.read_bytes() == before


W = np.arange(6, dtype="float32").reshape(2, 3)
GOOD = _masked_crc(W.tobytes())


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (entry(1, (2, 3), 0, 24, GOOD ^ 1), "the checksum of w does not match"),
        (entry(1, (2, 3), 8, 24, GOOD), "w ends beyond the 24 bytes of net.data-00000-of-00001"),
        (entry(1, (2, 3), 1 << 60, 24, GOOD), "w ends beyond"),
        (entry(1, (1 << 31, 1 << 28), 0, 1 << 61, GOOD), "ends beyond the 24 bytes"),
        (entry(1, (2, 4), 0, 24, GOOD), "expected 32 in one file"),
        (entry(1, (2, 3), 0, 24, GOOD, shard=1), "in one file"),
        (entry(7, (2, 3), 0, 24, GOOD), "w has TensorFlow's type 7"),
        (entry(1, (2, 3), 0, 24, GOOD) + b"\x3a\x00", "w is stored in slices"),
        (b"\x08\x01\x12\x7f", "an entry is damaged"),
        (b"\x08" + b"\xff" * 20, "an entry is damaged"),
        (b"\x08", "an entry is cut off"),
        (b"\x10\x05\x08\x01\x28\x18", "an entry is damaged"),
    ],
)
def test_a_damaged_entry_is_one_line(tmp_path, spoiled: bytes, message: str) -> None:
    write_bundle(tmp_path / "net", {"w": W}, lambda entries: entries.update(w=spoiled))
    with pytest.raises(UserError, match=rf"net\.index is not a TensorFlow checkpoint .*\(.*({message})"):
        read_checkpoint(tmp_path / "net")


def test_variables_that_overlap_take_no_memory(tmp_path) -> None:
    many = {f"w{i:04}": entry(1, (2, 3), 0, 24, GOOD) for i in range(2000)}
    write_bundle(tmp_path / "net", {"w": W}, lambda entries: entries.update(many))
    with pytest.raises(UserError, match="ends beyond the 24 bytes"):
        read_checkpoint(tmp_path / "net")


@pytest.mark.parametrize("spoil", ["truncated", "empty", "byte", "magic", "grown", "compressed", "other"])
def test_a_damaged_index_is_one_line(tmp_path, spoil: str) -> None:
    index = write_bundle(tmp_path / "net", {"w": W, "x": W})
    content = bytearray(index.read_bytes())
    if spoil == "truncated":
        content = content[10:]
    elif spoil == "empty":
        content.clear()
    elif spoil == "byte":
        content[20] ^= 1
    elif spoil == "magic":
        content[-1] ^= 1
    elif spoil == "grown":
        content = bytearray(5 << 20) + content
    elif spoil == "compressed":
        content[content.index(b"\0", 60)] = 1
    else:
        content = bytearray(torch.rand(99).numpy().tobytes())
    index.write_bytes(content)
    with pytest.raises(UserError, match=r"net\.index is not a TensorFlow checkpoint that can be read here \("):
        read_checkpoint(tmp_path / "net.index")


def test_a_missing_half_is_named(tmp_path) -> None:
    index = write_bundle(tmp_path / "net", {"w": W})
    (tmp_path / "net.data-00000-of-00001").unlink()
    with pytest.raises(UserError, match=r"no file at .*net\.data-00000-of-00001; expected"):
        read_checkpoint(tmp_path / "net")
    index.unlink()
    (tmp_path / "net.data-00000-of-00001").write_bytes(b"")
    with pytest.raises(UserError, match=r"no file at .*net\.index; expected"):
        read_checkpoint(tmp_path / "net.data-00000-of-00001")


def test_our_keys_need_no_table() -> None:
    for name in ("dped_rgb", "microisp"):
        convert = get_card(name).convert_checkpoint
        assert convert is not None
        assert convert({"other": torch.ones(1)}).keys() == {"other"}
