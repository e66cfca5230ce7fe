"""What breaks a build: the settings of ``zoo-bench check --config FILE.yaml``, all optional.

counts: {breaks_on: change}              # parameters, MACs, FLOPs, memory by counting: exact
scores: {tolerance: 1.0e-4}              # share of the score that is rounding; beyond it the interval over scenes
                                         # decides, and with fewer than 6 scenes every change counts
fingerprints: {tolerance: 1.0e-3}        # share of the output's spread
timings: {action: warn, tolerance: 0.1}  # the whole 95 % interval of the ratio must lie beyond 10 %
ignore: ["*/peak_conv_bytes*"]           # patterns of MODEL/MEASUREMENT, of measurements or of models
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Action = Literal["fail", "warn", "ignore"]
Share = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Counts(_Strict):
    """Counts are exact, so any change comes from the network: a lost layer makes it cheaper, which looks better."""

    action: Action = "fail"
    breaks_on: Literal["change", "worse"] = "change"
    tolerance: Share = 0.0


class Shapes(_Strict):
    """Shapes of input and output at each size."""

    action: Action = "fail"


class Fingerprints(_Strict):
    """The output of the network; rounding differences between machines are far below the tolerance."""

    action: Action = "fail"
    tolerance: Share = 1e-3


class Scores(_Strict):
    """Scores break when the change of the mean exceeds the tolerance and its interval over scenes excludes zero.

    Fewer than 6 scenes have no interval; then the tolerance alone decides.
    """

    action: Action = "fail"
    breaks_on: Literal["change", "worse"] = "worse"
    tolerance: Share = 1e-4


class Timings(_Strict):
    """Only times of the same machine are compared; a disturbed time only warns."""

    action: Action = "fail"
    tolerance: Share = 0.10


class Memory(_Strict):
    """The memory that a pass added, measured on the same machine."""

    action: Action = "warn"
    tolerance: Share = 0.10


class Records(_Strict):
    """What happens if the baseline has a record of a model and the results have none."""

    missing: Action = "fail"


class Thresholds(_Strict):
    """All thresholds. ``tolerance``: the largest change that still counts as the same, as a fraction of the value.

    ``not_comparable``: what happens if a count or score can no longer be compared.
    """

    counts: Counts = Counts()
    shapes: Shapes = Shapes()
    fingerprints: Fingerprints = Fingerprints()
    scores: Scores = Scores()
    timings: Timings = Timings()
    memory: Memory = Memory()
    records: Records = Records()
    not_comparable: Action = "fail"
    ignore: list[str] = []
