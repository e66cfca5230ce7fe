"""``zoo-bench doctor``: the environment, and whether timings here can be trusted."""

from __future__ import annotations

import json

import torch

from benchmark.timing.doctor import doctor_text, examine, standing_reasons
from benchmark.units import GIB


def test_doctor_prints_one_json_document(zoo_bench) -> None:
    done = zoo_bench("doctor", "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert document["versions"]["torch"] == torch.__version__
    assert document["threads"] == torch.get_num_threads()
    assert 1 <= document["usable_cores"] <= document["cores"]
    assert {"instruction_sets", "libraries", "memory_bytes", "available_bytes", "load", "cuda"} <= set(document)
    timings = document["timings"]
    assert timings["trusted"] is (not timings["reasons"])
    assert document["probe"]["calibration_ms"]["median"] > 0


def test_doctor_says_in_words_what_speaks_against_timings() -> None:
    document = examine(probe_seconds=0.01)
    document["timings"] = {"trusted": False, "reasons": ["the hypervisor took 5.0 % of the machine's time"]}
    text = doctor_text(document)
    assert "timings        should not be trusted now:\n               the hypervisor took 5.0 %" in text
    assert "can be trusted now" in doctor_text(document | {"timings": {"trusted": True, "reasons": []}})


def test_what_the_system_does_not_tell_is_said() -> None:
    unknown = {"clock_mhz": None, "governor": None, "available_bytes": None, "instruction_sets": []}
    text = doctor_text(examine(probe_seconds=0.01) | unknown)
    assert "clock unknown, governor unknown" in text
    assert "available unknown" in text


def test_standing_reasons_name_governor_and_memory() -> None:
    assert standing_reasons(governor="performance", available=8 * GIB, total=16 * GIB) == []
    assert standing_reasons(governor=None, available=None, total=0) == []
    assert standing_reasons(governor="powersave", available=GIB, total=16 * GIB) == [
        "the clock's governor is powersave; set it to performance",
        "1.0 of 16.0 GiB memory are available; free some",
    ]
