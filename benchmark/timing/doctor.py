"""Describe this machine and installation, and say whether its timings can be trusted: ``zoo-bench doctor``."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmark.host import machine
from benchmark.host.environment import describe_environment
from benchmark.host.turns import timing_turn
from benchmark.reporting import Reporter
from benchmark.timing.child import CALIBRATION, calibration_kernel, stopwatch
from benchmark.timing.sampling import observed, summarize, taint_reasons
from benchmark.units import GIB

PROBE_SECONDS = 1.0
_MIN_PROBES, _MAX_PROBES = 8, 100
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "KMP_AFFINITY", "MALLOC_CONF", "LD_PRELOAD")


def examine(reporter: Reporter | None = None, *, probe_seconds: float = PROBE_SECONDS) -> dict[str, Any]:
    """Return the environment and a judgement as JSON-ready values.

    Times the calibration kernel for about ``probe_seconds``, under the lock that timings hold. Values that the system
    does not report are None.
    """
    here = describe_environment()
    threads = torch.get_num_threads()
    with timing_turn(reporter or Reporter()):
        probe, reasons = _probe(threads, probe_seconds)
    advice = reasons + standing_reasons(
        governor=machine.frequency_governor(), available=machine.available_memory(), total=here.memory_bytes
    )
    return {
        "versions": {"python": here.python, "torch": here.torch, **here.packages},
        "commit": here.commit,
        "platform": here.platform,
        "machine": here.machine,
        "cpu": here.cpu,
        "virtual": machine.is_virtual(),
        "instruction_sets": machine.instruction_sets(),
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": here.cores,
        "usable_cores": machine.usable_cores(),
        "cpu_quota": machine.cpu_quota(),
        "threads": threads,
        "interop_threads": torch.get_num_interop_threads(),
        "clock_mhz": machine.clock_mhz(),
        "governor": machine.frequency_governor(),
        "memory_bytes": here.memory_bytes,
        "available_bytes": machine.available_memory(),
        "libraries": _libraries(),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "cuda": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "load": here.load,
        "probe": probe,
        "timings": {"trusted": not advice, "reasons": advice},
    }


def _probe(threads: int, seconds: float) -> tuple[dict[str, Any], list[str]]:
    clock, kernel = stopwatch("cpu"), calibration_kernel()
    for _ in range(3):
        clock(kernel)
    before = machine.snapshot()
    samples: list[float] = []
    while len(samples) < _MIN_PROBES or (sum(samples) < 1000 * seconds and len(samples) < _MAX_PROBES):
        samples.append(clock(kernel))
    after = machine.snapshot()
    cores = machine.usable_cores()
    probe = {
        "kernel": CALIBRATION,
        "calibration_ms": summarize(samples).model_dump(exclude={"samples"}),
        **observed(before, after, cores=cores),
    }
    return probe, taint_reasons(before, after, samples, threads=threads, cores=cores)


def standing_reasons(*, governor: str | None, available: int | None, total: int) -> list[str]:
    """Return the reasons why timings on this machine are never reliable."""
    reasons = []
    if governor in ("powersave", "ondemand", "conservative"):
        reasons.append(f"the clock's governor is {governor}; set it to performance")
    if available is not None and total and available < total // 10:
        reasons.append(f"{available / GIB:.1f} of {total / GIB:.1f} GiB memory are available; free some")
    return reasons


def _libraries() -> dict[str, Any]:
    backends = torch.backends
    build = [" ".join(line.strip(" -").split()) for line in torch.__config__.show().splitlines()]
    blas = re.search(r"\bBLAS_INFO=(\w+)", torch.__config__.show())
    return {
        "blas": blas[1] if blas else None,
        "mkl": next((line for line in build if "Math Kernel Library" in line), None),
        "onednn": next((line for line in build if "MKL-DNN" in line or "oneDNN" in line), None),
        "onednn_enabled": backends.mkldnn.is_available(),
        "openmp": next((line for line in build if line.startswith("OpenMP")), None),
        "libc": " ".join(platform.libc_ver()) or None,
    }


def doctor_text(document: Mapping[str, Any]) -> str:
    """Return the findings of ``examine`` as text for people."""
    probe, libraries = document["probe"], document["libraries"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    clock = "clock unknown" if document["clock_mhz"] is None else f"{document['clock_mhz']:.0f} MHz"
    available = document["available_bytes"]
    lines = [
        f"versions       {versions}",
        f"machine        {document['machine']}, {document['platform']}{', virtual' if document['virtual'] else ''}",
        f"processor      {document['cpu']}, {clock}, governor {document['governor'] or 'unknown'}",
        f"instructions   {' '.join(document['instruction_sets']) or 'unknown'} (torch uses"
        f" {document['torch_capability']})",
        f"cores          {document['usable_cores']} usable of {document['cores']}; torch uses {document['threads']}"
        f" threads ({document['interop_threads']} between operations)",
        f"memory         {document['memory_bytes'] / GIB:.1f} GiB, "
        + ("available unknown" if available is None else f"{available / GIB:.1f} GiB available"),
        *(f"{name:14} {value}" for name, value in libraries.items() if isinstance(value, str)),
        f"cuda           {', '.join(document['cuda']) or 'no device'}",
        *(f"variable       {name}={value}" for name, value in document["variables"].items()),
        f"load           {document['load']}",
        _probe_line(probe),
    ]
    return "\n".join([*lines, *_verdict(document["timings"]["reasons"])])


def _probe_line(probe: Mapping[str, Any]) -> str:
    times = probe["calibration_ms"]
    text = f"probe          calibration kernel {times['median']:.2f} ms ({times['q1']:.2f}-{times['q3']:.2f})"
    if probe["others_busy_cores"] is not None:
        text += f", other processes {probe['others_busy_cores']:.2f} cores"
    return text + ("" if probe["steal_share"] is None else f", steal {100 * probe['steal_share']:.1f} %")


def _verdict(reasons: Sequence[str]) -> list[str]:
    if not reasons:
        return ["timings        can be trusted now"]
    return ["timings        should not be trusted now:", *(f"               {reason}" for reason in reasons)]
