"""Records made up for tests of tables and stores."""

from __future__ import annotations

from benchmark.types import Environment, Measurement, ProtocolRecord, Result, RunSpec


def measurement(value, *, unit="", kind="score", higher=True, version=1, **more) -> Measurement:
    return Measurement(
        value=value, unit=unit, definition="as defined", kind=kind, higher_is_better=higher, version=version, **more
    )


def result(model: str, psnr: float | None, *, machine="m1", threads=2, digest="d", version=1, **more) -> Result:
    measurements = {
        "params": measurement(1_000_000, kind="count", higher=False),
        "flops@12mp": measurement(2 * 10**12, kind="count", higher=False, input_shape=[1, 4, 1536, 2048]),
    }
    if psnr is not None:
        measurements["psnr[rgb]"] = measurement(psnr, unit="dB", version=version)
        timing = {"kind": "timing", "higher": False, "input_shape": [1, 4, 224, 224]}
        measurements["latency_ms"] = measurement(12.345, q1=12.0, q3=13.0, n=9, threads=threads, **timing)
    spec = RunSpec(
        model=model,
        options=more.get("options", {}),
        code="builtin-v1",
        weights_digest=None,
        dataset="zrr-standin",
        dataset_digest=digest,
        split="test",
        limit=None,
        protocol="zrr-v1",
        metrics={},
        profilers=[],
        device="cpu",
        precision="float32",
        threads=threads,
        seed=0,
        evaluate=psnr is not None,
    )
    environment = Environment(
        machine=machine,
        cpu=f"CPU {machine}",
        cores=2,
        memory_bytes=1,
        platform="Linux",
        python="3.11",
        torch="2.x",
        packages={},
        threads=threads,
        load=0.0,
        commit=None,
        dirty=None,
    )
    fields = {
        "key": spec.key() + machine,
        "model": model,
        "options": {},
        "dataset": "zrr-standin",
        "split": "test",
        "n": 12 if psnr is not None else 0,
        "evidence": "trained" if psnr is not None else "untrained",
        "status": "ok",
        "error": None,
        "seconds": 1.0,
        "created": "2026-01-01",
        "measurements": measurements,
        "per_image": None,
        "pictures": None,
        "spec": spec,
        "protocol": ProtocolRecord(name="zrr", version=1, text="clamped"),
        "environment": environment,
        "data": {"standin": True, "generator": 1, "sources": "abc"},
    }
    return Result(**{**fields, **more})
