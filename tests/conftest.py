"""Fixtures shared by the tests: a cache of their own, the tiny plug-in, the command line in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmark.measured import Ceilings
from zoo import plugins

TINY = Path(__file__).parent / "plugins" / "tiny.py"
CEILINGS = Ceilings(gemm_gflops=100.0, copy_gbs=10.0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="also run the tests marked thorough, as CI does")
    parser.addoption("--slow", action="store_true", help="run all tests, those marked slow too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow = config.getoption("--slow")
    thorough = slow or config.getoption("--thorough")
    for item in items:
        if "slow" in item.keywords and not slow:
            item.add_marker(pytest.mark.skip(reason="slow; runs with --slow"))
        elif "thorough" in item.keywords and not thorough:
            item.add_marker(pytest.mark.skip(reason="thorough; runs with --thorough, and in CI"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests away from the user's cache and datasets; the stand-in is built once per session."""
    before = dict(os.environ)
    base = tmp_path_factory.getbasetemp()
    # One cache for all worker processes; building the stand-in at the same time is part of what is tested.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["ZOO_BENCH_CACHE"] = str(shared / "cache")
    # A worker of pytest-xdist has COLUMNS=80, which would decide how wide tables are.
    for name in ("ZOO_BENCH_DATA", "ZOO_BENCH_DEBUG", "COLUMNS"):
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def _share_of_the_cores() -> None:
    """Give each worker process its share: two that both use every core slow each other down several times."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny() -> Path:
    """Load the tiny plug-in; return its path."""
    plugins.load_file(TINY)
    return TINY


@pytest.fixture(autouse=True)
def _known_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the tests the measurement of this machine, for which both workers would wait; one test does it."""
    monkeypatch.setattr("benchmark.timing.session.ceilings", lambda threads, reporter: CEILINGS)


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def zoo_bench():
    """Run the command line in this process and return its outcome."""
    from benchmark.cli import cli

    def call(*arguments: object) -> Outcome:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return call
