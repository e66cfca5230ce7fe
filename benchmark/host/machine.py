"""The state of the machine: load, steal, clock, memory; read from /proc if there is one.

Every function returns None (or an empty value) if the system does not report it; nothing is guessed.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
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
    """Counters at one moment; two of them show what happened between. Times are in seconds, over all cores."""

    clock: float
    busy: float | None
    steal: float | None
    # Processor time of all threads of this process.
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
    fields = _text(_PROC / "stat").partition("\n")[0].split()[1:]
    try:
        ticks = os.sysconf("SC_CLK_TCK")
        user, nice, system, _, _, irq, soft, steal = (int(value) / ticks for value in fields[:8])
    except (OSError, ValueError):
        return None, None
    return user + nice + system + irq + soft, steal


def clock_mhz() -> float | None:
    """Return the mean clock of the cores in MHz (a virtual machine shows a constant)."""
    values = [float(value) for value in _processors("cpu MHz")]
    return sum(values) / len(values) if values else None


def cpu_name() -> str | None:
    """Return the name that the processor reports, with its family and model.

    In a virtual machine the name may be that of all generations ("AMD EPYC"), of which one is twice as fast as another.
    """
    name, family, model = (next(iter(_processors(key)), "") for key in ("model name", "cpu family", "model"))
    which = [f"{key} {value.strip()}" for key, value in (("family", family), ("model", model)) if value.strip()]
    return f"{' '.join(name.split())} ({', '.join(which)})" if name and which else " ".join(name.split()) or None


def usable_cores() -> int:
    """Return how many cores this process may use, given its affinity and a container's quota."""
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
    """Return the bytes that a new process can use without swapping, also within a container's limit."""
    available = _field(_PROC / "meminfo", "MemAvailable:")
    candidates = [] if available is None else [available]
    with contextlib.suppress(OSError, ValueError):
        limit, used = ((_CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit != "max":
            candidates.append(int(limit) - int(used))
    return min(candidates) if candidates else None


def has_process_memory() -> bool:
    """Whether the memory of a process can be read here."""
    return (_PROC / "self" / "status").exists()


def resident_bytes(pid: int | str = "self") -> int | None:
    """Return the resident memory of a process; None if it has ended or the system does not report it."""
    return _field(_PROC / str(pid) / "status", "VmRSS:")


def settled_resident_bytes() -> int | None:
    """Give unused memory back to the system and return this process's resident memory."""
    gc.collect()
    return_free_memory()
    return resident_bytes()


def growth(before: int | None, after: int | None) -> int | None:
    """Return by how many bytes memory grew, at least 0; None if either value is not known."""
    return None if before is None or after is None else max(0, after - before)


def peak_resident_bytes() -> int | None:
    """Return the largest resident memory of this process since it began or its mark was reset."""
    return _field(_PROC / "self" / "status", "VmHWM:")


def data_bytes() -> int | None:
    """Return the bytes of this process's private writable address space, which RLIMIT_DATA limits."""
    return _field(_PROC / "self" / "status", "VmData:")


def anonymous_bytes() -> int | None:
    """Return the part of this process's resident memory that belongs to no file."""
    return _field(_PROC / "self" / "status", "RssAnon:")


def reset_peak_resident() -> bool:
    """Reset this process's peak mark to its present resident memory; return whether the system allows it."""
    try:
        (_PROC / "self" / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def tree_resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants (a shared page counts once for each of them)."""
    children = _text(_PROC / str(pid) / "task" / str(pid) / "children").split()
    return (resident_bytes(pid) or 0) + sum(tree_resident_bytes(int(child)) for child in children)


def out_of_memory_kills() -> int:
    """Return how many processes the system has killed for lack of memory since it started."""
    lines = _text(_PROC / "vmstat").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def prefer_as_victim() -> None:
    """When memory runs out, let the system kill this process before others."""
    with contextlib.suppress(OSError):
        (_PROC / "self" / "oom_score_adj").write_text("1000")


def skip_take_down() -> None:
    """Let this process end, when Python is done, without the libraries' own take-down, where the C library can do so.

    With torch the take-down and Python's last search for cycles take half a second and 125 MiB, and a library that
    crashes in it would change the exit status. Handlers of ``atexit`` run and files are flushed as ever.
    """
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.fflush(None)
        # The handler that is registered last is called first, with the exit status.
        library.on_exit(ctypes.cast(library._exit, ctypes.c_void_p), None)


def return_free_memory() -> None:
    """Hand freed heap back to the system, so that only what is in use is resident."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def keep_free_memory() -> bool:
    """Let the C library keep freed memory for the rest of the process; return whether it can do so (glibc can).

    Blocks under 2 GiB come from the heap and stay in it: a pass need not take again what the last one gave back.
    """
    return _set_malloc(_MMAP_THRESHOLD, (1 << 31) - 1) and _set_malloc(_TRIM_THRESHOLD, -1)


def give_memory_back() -> bool:
    """Let the C library give blocks of 128 KiB and more back when they are freed; return whether it can do so.

    glibc starts like that, but puts larger and larger blocks into its heap, where freed blocks lie between used ones.
    """
    return _set_malloc(_MMAP_THRESHOLD, 128 << 10)


def give_large_blocks_back() -> bool:
    """Let the C library give blocks of 8 MiB and more back when they are freed, and keep 64 MiB of its heap.

    For images in pieces: to give back their many tensors of some MiB and take them again costs three times the work.
    """
    return _set_malloc(_MMAP_THRESHOLD, 8 << 20) and _set_malloc(_TRIM_THRESHOLD, 64 << 20)


def give_blocks_back() -> bool:
    """Let the C library give blocks of 1 MiB and more back when they are freed; return whether it can do so."""
    return _set_malloc(_MMAP_THRESHOLD, 1 << 20) and _set_malloc(_TRIM_THRESHOLD, 1 << 20)


def use_one_heap() -> bool:
    """Let all threads use one heap for the rest of the process; return whether the C library can do so (glibc can).

    A heap of a single thread holds no block of 64 MiB: such tensors would be taken page by page every time.
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
    flags = next((value.split() for value in _processors("flags", "Features")), [])
    return [name for name in _EXTENSIONS if name in flags]


def is_virtual() -> bool:
    """Whether this is a virtual machine: others on the host may take time that only ``steal`` shows."""
    return " hypervisor" in _text(_PROC / "cpuinfo")


def frequency_governor() -> str | None:
    """Return the policy that sets the clock of the first core."""
    return _text(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip() or None


def _text(file: Path) -> str:
    """Return the text of a file; an empty text if the file is missing or cannot be read."""
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _field(file: Path, name: str) -> int | None:
    """Return the bytes that a line "name  KIBIBYTES kB" gives."""
    lines = _text(file).splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def _processors(*names: str) -> list[str]:
    """Return the values that the processors' list has under these names, one for each core."""
    lines = (line.partition(":") for line in _text(_PROC / "cpuinfo").splitlines())
    return [value for name, _, value in lines if name.strip() in names]
