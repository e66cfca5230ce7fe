"""One pass over a full-scale image: a record with costs and time, or with why there is none."""

from __future__ import annotations

import pytest

from benchmark.timing import fullscale
from benchmark.timing import session as timing_session


@pytest.fixture(autouse=True)
def _quick(tiny, monkeypatch) -> None:
    monkeypatch.setattr(timing_session, "ceilings", lambda threads, reporter: None)
    monkeypatch.setattr(fullscale, "BUDGET_SECONDS", 0.2)


def test_a_record_holds_costs_and_the_time_of_one_pass() -> None:
    record = fullscale.time_full_scale("tiny_net", (40, 60))
    assert (record.status, record.n, record.split) == ("ok", 0, "40x60")
    assert record.measurements["macs@fullscale"].value == (4 * 4 * 9 + 4 * 12 * 9) * 40 * 60
    latency = record.measurements["latency_ms@fullscale"]
    assert latency.input_shape == [1, 4, 40, 60]
    assert latency.value > 0
    assert "in a process of its own" in latency.definition


def test_a_model_that_fails_is_a_record_with_its_costs() -> None:
    record = fullscale.time_full_scale("tiny_broken", (40, 60), options={"how": "kill"})
    assert (record.status, record.error) == ("error", "error: killed by SIGKILL")
    assert record.measurements["params@fullscale"].value == 60
