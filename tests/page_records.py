"""Records for the tests of the HTML page: small ones of any name and number, and files of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.types import Environment, Measurement, ProtocolRecord, Result, RunSpec

HOSTILE = "</script><img src=x onerror=alert(1)><!--<b>&amp;"
STANDIN = {"standin": True, "generator": 1, "sources": "abc"}


def measurement(value: float | None, kind: str, higher: bool | None, unit: str = "", **more: Any) -> Measurement:
    """Return a measurement whose definition is its kind."""
    return Measurement(value=value, unit=unit, definition=f"a {kind}", kind=kind, higher_is_better=higher, **more)


def record(
    model: str,
    psnr: float | None = None,
    *,
    flops: int = 10**12,
    latency: float | None = None,
    machine: str = "machine1",
    options: dict[str, Any] | None = None,
    more: dict[str, Measurement] | None = None,
    **fields: Any,
) -> Result:
    """Return a record: with ``psnr`` one of quality, else of costs alone."""
    shape = [1, 4, 1536, 2048]
    measurements = {"flops@12mp": measurement(flops, "count", False, "FLOP", input_shape=shape)}
    if psnr is not None:
        measurements["psnr[rgb]"] = measurement(psnr, "score", True, "dB", n=3)
    if latency is not None:
        beside = {"q1": latency * 0.9, "q3": latency * 1.1, "n": 9, "threads": 2}
        measurements["latency_ms"] = measurement(latency, "timing", False, "ms", input_shape=[1, 4, 224, 224], **beside)
    data = fields.setdefault("data", STANDIN)
    fields.setdefault("dataset", "zrr-standin" if data.get("standin") else "zrr")
    fields.setdefault("evidence", "trained" if psnr is not None else "untrained")
    fields.setdefault("status", "ok")
    spec = RunSpec(
        model=model,
        options=options or {},
        code="builtin-v1",
        weights_digest=None,
        dataset=fields["dataset"],
        dataset_digest="digest",
        split="test",
        limit=None,
        protocol="zrr-v1",
        metrics={"psnr[rgb]": 1} if psnr is not None else {},
        profilers=["macs", "latency"] if latency is not None else ["macs"],
        device="cpu",
        precision="fp32",
        threads=2,
        seed=0,
        evaluate=psnr is not None,
    )
    environment = Environment(
        machine=machine,
        cpu=f"CPU of {machine}",
        cores=2,
        memory_bytes=2**33,
        platform="Linux",
        python="3.11",
        torch="2.x",
        packages={"numpy": "2.0"},
        threads=2,
        load=0.0,
        commit="0123456789abcdef",
        dirty=False,
    )
    defaults: dict[str, Any] = {"error": None, "seconds": 1.0, "created": "2026-01-02T03:04:05+00:00"}
    defaults |= {"per_image": None, "pictures": None, "n": 3 if psnr is not None else 0}
    return Result(
        key=spec.key() + machine,
        model=model,
        options=options or {},
        split="test",
        measurements=measurements | (more or {}),
        spec=spec,
        protocol=ProtocolRecord(name="zrr", version=1, text="clamped"),
        environment=environment,
        **defaults | fields,
    )


def write_records(path: Path, records: Sequence[Result]) -> Path:
    """Write records as ``results.jsonl`` of a run; return the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{one.model_dump_json()}\n" for one in records), encoding="utf-8")
    return path
