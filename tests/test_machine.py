"""The processor in records: one of another generation is another machine, even under the same name."""

from pathlib import Path

import pytest

from benchmark.host import environment, machine

_GENOA = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD  EPYC\nstepping\t: 1\n"
_TURIN = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
_ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\n"


def _pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    (tmp_path / "cpuinfo").write_text(text, encoding="utf-8")
    monkeypatch.setattr(machine, "_PROC", tmp_path)


def test_processors_of_one_name_and_two_generations_are_two_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _pretend(monkeypatch, tmp_path, _GENOA)
    # Both are kept for the life of the process.
    name, identity = environment._cpu_name.__wrapped__, environment._machine_id.__wrapped__
    monkeypatch.setattr(environment, "_cpu_name", name)
    one = name(), identity()
    (tmp_path / "cpuinfo").write_text(_TURIN, encoding="utf-8")
    other = name(), identity()

    assert one[0] == "AMD EPYC (family 25, model 17)"
    assert other[0] == "AMD EPYC (family 26, model 2)"
    assert one[1] != other[1]


def test_a_processor_without_these_fields_has_no_invented_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _pretend(monkeypatch, tmp_path, _ARM)
    assert machine.cpu_name() is None
    _pretend(monkeypatch, tmp_path, _ARM + "model name\t: Neoverse-N1\n")
    assert machine.cpu_name() == "Neoverse-N1"
