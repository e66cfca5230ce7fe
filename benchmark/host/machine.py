"""What the machine says about itself: load, steal, clock, memory; read from /proc where there is one.

Every function returns None (or an empty value) where the system does not tell; nothing is guessed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_CGROUP = Path("/sys/fs/cgroup")
# Vector and matrix extensions that decide the speed of convolutions.
_EXTENSIONS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_bf16", "asimd", "sve", "bf16", "i8mm"),
)


@dataclass(frozen=True)
class Snapshot:
    """Counters of one moment; two of them say what happened between. Times in seconds, over all cores."""

    clock: float
    busy: float | None
    steal: float | None
    # Processor time of this process, all threads.
    own: float
    load: float | None
    mhz: float | None


def snapshot() -> Snapshot:
    """Read the counters now."""
    busy, steal = _cpu_times()
    own = os.times()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Snapshot(time.perf_counter(), busy, steal, own.user + own.system, load, clock_mhz())


def _cpu_times() -> tuple[float | None, float | None]:
    try:
        fields = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, soft, steal = (int(value) / ticks for value in fields[:8])
    except (OSError, ValueError):
        return None, None
    return user + nice + system + irq + soft, steal


def clock_mhz() -> float | None:
    """Return the mean clock of the cores in MHz (a virtual machine shows a constant)."""
    try:
        lines = (_PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        return None
    values = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return sum(values) / len(values) if values else None


def usable_cores() -> int:
    """Return how many cores this process may use: affinity and a container's quota counted."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, min(cores, int(quota))) if quota else cores


def cpu_quota() -> float | None:
    """Return a container's limit in cores."""
    try:
        limit, period = (_CGROUP / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def available_memory() -> int | None:
    """Return the bytes that a new process can use without swapping, a container's limit counted."""
    candidates = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        candidates.append(_field(_PROC / "meminfo", "MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit != "max":
            candidates.append(int(limit) - int(used))
    return min(candidates) if candidates else None


def has_process_memory() -> bool:
    """Whether the memory of a process can be read here."""
    return (_PROC / "self" / "status").exists()


def resident_bytes(pid: int | str = "self") -> int | None:
    """Return the resident memory of a process; None if it has gone or the system does not tell."""
    return _status(pid, "VmRSS:")


def peak_resident_bytes(pid: int | str = "self") -> int | None:
    """Return the largest resident memory of a process since it began or its mark was reset."""
    return _status(pid, "VmHWM:")


def data_bytes() -> int | None:
    """Return this process's private writable address space: what RLIMIT_DATA limits."""
    return _status("self", "VmData:")


def reset_peak_resident() -> bool:
    """Set this process's peak mark back to what is resident now; return whether the system allows it."""
    try:
        (_PROC / "self" / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def tree_resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants (pages shared by them count for each)."""
    total = resident_bytes(pid) or 0
    try:
        children = (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    except OSError:
        children = []
    return total + sum(tree_resident_bytes(int(child)) for child in children)


def out_of_memory_kills() -> int:
    """Return how many processes the system has killed for lack of memory since it started."""
    try:
        for line in (_PROC / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def prefer_as_victim() -> None:
    """When memory runs out, let the system kill this process before others."""
    with contextlib.suppress(OSError):
        (_PROC / "self" / "oom_score_adj").write_text("1000")


def return_free_memory() -> None:
    """Hand freed heap back to the system, so that the resting level holds only what lives."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_free_memory() -> bool:
    """Let the C library keep what is freed, for good; return whether this system's can be told so (glibc can).

    Blocks under 2 GiB come from the heap and stay in it: no pass pays for pages that the last one gave back.
    """
    return _set_malloc(_MMAP_THRESHOLD, (1 << 31) - 1) and _set_malloc(_TRIM_THRESHOLD, -1)


def give_memory_back() -> bool:
    """Let the C library give blocks of 128 KiB and more back when they are freed; return whether it can be told so.

    glibc begins like that, but moves larger and larger blocks into its heap, where freed ones lie between live ones.
    """
    return _set_malloc(_MMAP_THRESHOLD, 128 << 10)


def give_large_blocks_back() -> bool:
    """Let the C library give blocks of 8 MiB and more back when they are freed, and keep 64 MiB of its heap.

    For images in pieces: given back and taken again, their many tensors of some MiB cost three times the work itself.
    """
    return _set_malloc(_MMAP_THRESHOLD, 8 << 20) and _set_malloc(_TRIM_THRESHOLD, 64 << 20)


def use_one_heap() -> bool:
    """Let all threads take memory from one heap, for good; return whether the C library can be told so (glibc can).

    The heaps that threads have of their own hold no block of 64 MiB: such tensors come page by page, every time.
    """
    return _set_malloc(_ARENA_MAX, 1)


# Parameters of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8


def _set_malloc(parameter: int, value: int) -> bool:
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).mallopt(parameter, value))
    return False


def instruction_sets() -> list[str]:
    """Return the vector extensions of the processor."""
    try:
        lines = (_PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        return []
    flags = next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())
    return [name for name in _EXTENSIONS if name in flags]


def is_virtual() -> bool:
    """Whether a hypervisor runs below: neighbours may take time that only ``steal`` shows."""
    try:
        return " hypervisor" in (_PROC / "cpuinfo").read_text()
    except OSError:
        return False


def frequency_governor() -> str | None:
    """Return how the clock of the first core is chosen."""
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None


def _status(pid: int | str, field: str) -> int | None:
    try:
        return _field(_PROC / str(pid) / "status", field)
    except (OSError, ValueError, IndexError):
        return None


def _field(path: Path, name: str) -> int:
    lines = [line for line in path.read_text().splitlines() if line.startswith(name)]
    return int(lines[0].split()[1]) * 1024
