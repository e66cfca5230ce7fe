"""Records made up for tests of tables and stores."""

from __future__ import annotations

from typing import Any

from benchmark.types import Environment, Measurement, ProtocolRecord, Result, RunSpec


def measurement(value, *, unit="", kind="score", higher=True, version=1, **more) -> Measurement:
    return Measurement(
        value=value, unit=unit, definition="as defined", kind=kind, higher_is_better=higher, version=version, **more
    )


def make_record(model: str, **fields: Any) -> Result:
    """Return a record of the stand-in without measurements; ``fields`` are those of the record, its spec (``spec``)
    and its environment (``environment``) that differ from what is usual here."""
    options = fields.get("options", {})
    spec = {
        "model": model, "options": options, "code": "builtin-v1", "weights_digest": None,
        "dataset": fields.get("dataset", "zrr-standin"), "dataset_digest": "digest", "split": "test", "limit": None,
        "protocol": "zrr-v1", "metrics": {}, "profilers": [], "device": "cpu", "precision": "fp32", "threads": 2,
        "seed": 0, "evaluate": False,
    }  # fmt: skip
    spec = RunSpec(**{**spec, **fields.pop("spec", {})})
    environment = {
        "machine": "m1", "cores": 2, "memory_bytes": 2**33, "platform": "Linux", "python": "3.11", "torch": "2.x",
        "packages": {"numpy": "2.0"}, "threads": spec.conditions.threads, "load": 0.0, "commit": "0123456789abcdef",
        "dirty": False, **fields.pop("environment", {}),
    }  # fmt: skip
    environment = Environment(**{"cpu": f"CPU {environment['machine']}", **environment})
    usual = {
        "key": spec.key() + environment.machine, "model": model, "options": options, "dataset": spec.dataset,
        "split": spec.split, "n": 0, "evidence": "untrained", "status": "ok", "error": None, "seconds": 1.0,
        "created": "2026-01-01", "measurements": {}, "per_image": None, "pictures": None, "spec": spec,
        "protocol": ProtocolRecord(name="zrr", version=1, text="clamped"), "environment": environment,
        "data": {"standin": True, "generator": 1, "sources": "abc"},
    }  # fmt: skip
    return Result(**{**usual, **fields})


def result(model: str, psnr: float | None, *, machine="m1", threads=2, digest="d", version=1, **more) -> Result:
    """Return a record with costs, and with ``psnr`` quality and a time."""
    measurements = {
        "params": measurement(1_000_000, kind="count", higher=False),
        "flops@12mp": measurement(2 * 10**12, kind="count", higher=False, input_shape=[1, 4, 1536, 2048]),
    }
    if psnr is not None:
        measurements["psnr[rgb]"] = measurement(psnr, unit="dB", version=version)
        timing = {"kind": "timing", "higher": False, "input_shape": [1, 4, 224, 224]}
        measurements["latency_ms"] = measurement(12.345, q1=12.0, q3=13.0, n=9, threads=threads, **timing)
    quality = {"n": 12, "num_scenes": more.get("n", 12), "evidence": "trained"} if psnr is not None else {}
    spec = {"dataset_digest": digest, "threads": threads, "evaluate": psnr is not None}
    beside = {"spec": spec, "environment": {"machine": machine}, "measurements": measurements}
    return make_record(model, **{**beside, **quality, **more})


def under(spec: RunSpec, **conditions: Any) -> RunSpec:
    """Return a spec with other conditions."""
    return spec.model_copy(update={"conditions": spec.conditions.model_copy(update=conditions)})
