"""What decides the key of a record: each field of what describes a run is declared here, as deciding or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark.cli.run import run_command as command
from benchmark.conditions import Conditions, Limits
from benchmark.datasets import DATASETS
from benchmark.reporting import Reporter
from benchmark.results.store import Store
from benchmark.running.session import Session
from benchmark.selection import Entry
from benchmark.sweeping import points
from benchmark.timing import fullscale
from benchmark.types import RunSpec
from zoo import get_card
from zoo.weights import Checkpoint

# Another value for each field: all that a spec holds decides.
OTHER: dict[str, Any] = {
    "model": "unet_w8", "options": {"width": 8}, "code": "1" * 16, "weights_digest": "2" * 64, "dataset": "zrr",
    "dataset_digest": "other", "split": "train", "limit": 3, "protocol": "zrr-v2", "metrics": {"psnr[rgb]": 2},
    "profilers": ["macs"], "conditions": Conditions(threads=3), "seed": 1, "evaluate": False, "scoring": "one-pass",
    "skip_bad": True,
}  # fmt: skip
SPEC = RunSpec(
    model="unet", options={}, code="0" * 16, weights_digest=None, dataset="zrr-standin", dataset_digest="digest",
    split="test", limit=None, protocol="zrr-v1", metrics={"psnr[rgb]": 1}, profilers=[], device="cpu",
    precision="fp32", threads=2, seed=0, evaluate=True,
)  # fmt: skip


def test_every_field_of_a_spec_is_declared_here() -> None:
    assert OTHER.keys() == RunSpec.model_fields.keys(), "a new field: give another value of it above"


@pytest.mark.parametrize("field", RunSpec.model_fields)
def test_every_field_of_a_spec_decides_the_key(field: str) -> None:
    other = SPEC.model_copy(update={field: OTHER[field]})
    assert getattr(other, field) != getattr(SPEC, field)
    assert other.key() != SPEC.key()


# Keys that records have, by what their specs say besides ``SPEC``: no change of the code may move them.
GOLDEN: list[tuple[dict[str, Any], str]] = [
    ({}, "0707c1256a0938d6ecc1"),
    ({"threads": 3}, "633760e65a4b5a14a49a"),
    ({"device": "cuda"}, "e10ab7d5fe22e1e76f21"),
    ({"precision": "bf16"}, "48d2af8082ceb2ca5969"),
    ({"channels_last": True}, "effd3d6b81821ea3aa62"),
    ({"backend": "openvino"}, "baf78863baa8439a0b57"),
    ({"tile": "auto"}, "93022ea7560284188ae6"),
    ({"tile": "256x320"}, "e46da6578598f7491ec4"),
    ({"tile": "64x64", "approximate": True}, "e14c949f8734f007e41f"),
    ({"scoring": "one-pass"}, "fa7f6645568871ad1ed1"),
    ({"skip_bad": True}, "4ee3d89f227e53a0cf9b"),
    ({"sigma": 15}, "2261763c4e29566db690"),
    ({"precision": "int8", "backend": "onnxruntime", "calibrate": "zrr,min-max,32,0123"}, "cd274e4e91481946be31"),
    ({"sigma": "estimate"}, "e409a687060f9cbbaebd"),
    ({"options": {"widths": [1, 2], "a": 1.5}}, "e24253a0ae6281ca6042"),
    ({"backend": "onnxruntime", "tile": "auto", "threads": 1, "seed": 7, "limit": 3}, "56e39709697a71c1098f"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "key"), GOLDEN)
def test_keys_stay_what_they_were(fields: dict[str, Any], key: str) -> None:
    spec = RunSpec(**{**SPEC.model_dump(), **fields})
    assert spec.key() == key
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec


# Of each condition another value: all decide. Limits only decide whether there is a number.
CONDITIONS: dict[str, Any] = {
    "threads": 3, "device": "cuda", "precision": "bf16", "channels_last": True, "backend": "openvino", "tile": "auto",
    "approximate": True, "sigma": 15.0, "calibrate": "zrr,min-max,8,0123456789abcdef",
    "exact_kernels": True,
}  # fmt: skip


def test_every_condition_is_declared_here() -> None:
    assert CONDITIONS.keys() == Conditions.model_fields.keys()


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_decide_the_key(name: str, session: Session) -> None:
    usual = Conditions(threads=2)
    other = usual.model_copy(update={name: CONDITIONS[name]})
    entry, size = entry_of(session), (64, 64)
    if name == "sigma":
        # Only of networks that are told the level of the noise.
        keys = [dataclasses.replace(session, conditions=one).spec_of(entry).key() for one in (usual, other)]
        assert keys[0] == keys[1]
        entry = entry_of(session, card=get_card("ffdnet_color"))
    keys = [dataclasses.replace(session, conditions=one).spec_of(entry).key() for one in (usual, other)]
    assert keys[0] != keys[1]
    keys = [fullscale._spec(entry, size, 0, one).key() for one in (usual, other)]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("name", CONDITIONS)
def test_every_condition_has_its_flag_and_its_words(name: str) -> None:
    usual, value = Conditions(tile="64x64"), CONDITIONS[name]
    other = usual.model_copy(update={name: value})
    flag = f"--{name.replace('_', '-')}"
    assert other.flags() != usual.flags()
    assert flag in other.flags()
    flags = [parameter.opts[0] for parameter in command.params if parameter.name in CONDITIONS]
    assert flag in flags
    # The number of threads stands beside the words wherever they do.
    assert (other.words() == usual.words()) == (name == "threads")


class Data:
    """A split that knows its name and a digest."""

    name, split, ids = "zrr-standin", "test", ("0", "1", "2", "3")

    def __init__(self, **other: Any) -> None:
        self.content, self.provenance = "content", {}
        vars(self).update(other)

    def digest(self, limit: int | None = None) -> str:
        return f"{self.content} of {limit}"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(
        card=DATASETS.get("zrr"), dataset_options={}, data=Data(), root=tmp_path, store=Store(tmp_path),
        reporter=Reporter(), metrics=["psnr[rgb]"], limit=None, seed=0, sizes=("dataset",),
        conditions=Conditions(threads=2), limits=Limits(), exact=False, skip_bad=False, partial=False, isolate=True,
    )  # fmt: skip


def entry_of(session: Session, **other: Any) -> Entry:
    card = dataclasses.replace(get_card("unet_w8"))
    vars(card)["code_digest"] = "0" * 16
    checkpoint = Checkpoint({}, {}, "2" * 64, session.root / "w.safetensors")
    return Entry(
        **{"card": card, "options": {}, "checkpoint": checkpoint, "evidence": "trained", "evaluate": True} | other
    )


# Where the data lie, where records go and who is told decide nothing; what scores of which images, everything. How much
# of a dataset is there (--partial) is in the digest of its files.
SESSION: dict[str, tuple[Any, bool]] = {
    "dataset_options": ({"rule": "other"}, False), "root": (Path("elsewhere"), False), "store": (None, False),
    "executor": (None, False), "mixed": (True, False), "counts": ({"unet_w8 {}": None}, False),
    "reporter": (None, False), "isolate": (False, False), "partial": (True, False),
    "metrics": (["ssim[gaussian11,rgb]"], True),
    "limit": (3, True), "seed": (1, True), "sizes": (("dataset", "1mpix"), True), "exact": (True, True),
    # Another machine times models that do not run on the images.
    "timer": (lambda work: None, False),
    "skip_bad": (True, True), "conditions": (Conditions(threads=3), True), "limits": (Limits(1 << 30, 9.0), False),
}  # fmt: skip


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Session)])
def test_what_is_common_to_a_run_decides_the_key(name: str, session: Session) -> None:
    entry = entry_of(session)
    before = session.spec_of(entry).key()
    if name == "card":
        protocol = dataclasses.replace(session.card.protocol, version=99)
        others: list[Any] = [dataclasses.replace(session.card, protocol=protocol)]
    elif name == "data":
        others = [Data(content="other"), Data(name="zrr"), Data(split="train")]
    else:
        assert name in SESSION, "a new field: say above whether it decides"
        others = [SESSION[name][0]]
    decides = SESSION[name][1] if name in SESSION else True
    for other in others:
        key = dataclasses.replace(session, **{name: other}).spec_of(entry).key()
        assert (key != before) == decides


def test_weights_code_options_and_whether_it_is_scored_decide_the_key(session: Session) -> None:
    other_code = dataclasses.replace(get_card("unet_w8"))
    vars(other_code)["code_digest"] = "1" * 16
    others = [
        {},
        {"checkpoint": None},
        {"checkpoint": Checkpoint({}, {}, "3" * 64, session.root / "w.safetensors")},
        {"card": other_code},
        {"options": {"width": 4}},
        {"evaluate": False},
        {"evidence": "untrained"},
    ]
    keys = [session.spec_of(entry_of(session, **other)).key() for other in others]
    assert len(set(keys)) == len(keys)
    moved = Checkpoint({}, {}, "2" * 64, Path("elsewhere") / "same.safetensors")
    assert session.spec_of(entry_of(session, checkpoint=moved)).key() == keys[0]
    assert session.spec_of(entry_of(session, weights_label="a")).key() == keys[0]
    size = (64, 64)
    full = [fullscale._spec(entry_of(session, **other), size, 0, Conditions(threads=2)).key() for other in others[3:5]]
    full += [fullscale._spec(entry_of(session), *more).key() for more in ((size, 0, Conditions(threads=2)),
             ((64, 96), 0, Conditions(threads=2)), (size, 1, Conditions(threads=2)))]  # fmt: skip
    assert len(set(full)) == len(full)


def test_code_data_protocol_and_metrics_decide_the_key_of_a_point_of_a_sweep(monkeypatch) -> None:
    def key(train: Any = None, test: Any = None, **more: Any) -> str:
        monkeypatch.setattr(points, "METRICS", {"psnr[rgb]": SimpleNamespace(version=more.get("metric", 1))})
        protocol = SimpleNamespace(name="zrr", version=more.get("version", 1))
        card = SimpleNamespace(protocol=protocol)
        splits = points.Splits(card, train or Data(split="train"), test or Data(), more.get("images", 4), 4)
        recipe = SimpleNamespace(flat=lambda: {"lr": more.get("lr", 0.1), "workers": 1})
        point = SimpleNamespace(card=SimpleNamespace(code_digest=more.get("code", "0")), recipe=recipe)
        sweep = SimpleNamespace(threads=more.get("threads", 1), evaluation=SimpleNamespace(metrics=["psnr[rgb]"]))
        return points.point_key(SimpleNamespace(sweep=sweep), point, splits)

    others = [{}, {"code": "1"}, {"train": Data(content="other")}, {"test": Data(content="other")}, {"version": 2},
              {"metric": 2}, {"images": 3}, {"threads": 2}, {"lr": 0.2}]  # fmt: skip
    keys = [key(**other) for other in others]
    assert len(set(keys)) == len(keys)
