"""The environment in which a result was measured: machine, versions, threads, load, commit of this tool."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
import uuid
from importlib import metadata
from pathlib import Path

import torch

from benchmark.host import machine
from benchmark.types import Environment

_PACKAGES = (
    *("zoo-bench", "numpy", "scipy", "pillow", "scikit-image", "timm"),
    *("onnxruntime", "onnxscript", "openvino", "executorch"),
)


def describe_environment() -> Environment:
    """Return the environment as it is now, with the number of threads that torch uses."""
    commit, dirty = _git_state()
    return Environment(
        machine=_machine_id(),
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        platform=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=str(torch.__version__),
        packages={name: _version(name) for name in _PACKAGES},
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
        commit=commit,
        dirty=dirty,
    )


def describe_version() -> str:
    """Return the versions of this tool, torch and Python as a line, with the commit of a checkout."""
    commit, dirty = _git_state()
    checkout = f", commit {commit[:12]}{' with changes' if dirty else ''}" if commit else ""
    return (
        f"zoo-bench {_version('zoo-bench')} (torch {torch.__version__}, Python {platform.python_version()}{checkout})"
    )


@functools.cache
def code_of_tool() -> str:
    """Return a digest of this tool's own code, which is the same on every machine that has the same version."""
    root, digest = Path(__file__).resolve().parents[2], hashlib.sha256()
    for file in sorted(file for name in ("zoo", "benchmark") for file in (root / name).rglob("*.py")):
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


@functools.cache
def _cpu_name() -> str:
    return machine.cpu_name() or platform.processor() or platform.machine()


@functools.cache
def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


@functools.cache
def _machine_id() -> str:
    """Return a digest that identifies this machine without revealing its name or address."""
    id_file = Path("/etc/machine-id")
    own = id_file.read_text().strip() if id_file.exists() else ""
    parts = (own or str(uuid.getnode()), _cpu_name(), str(os.cpu_count()), str(_memory_bytes() >> 30))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]


@functools.cache
def _git_state() -> tuple[str | None, bool | None]:
    """Return the commit and whether the tree differs from it, if the tool runs from its own checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
