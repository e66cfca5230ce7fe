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

    action: Action = "fail"  # What a break does.
    breaks_on: Literal["change", "worse"] = "change"  # Any change, or only one for the worse.
    tolerance: Share = 0.0  # The largest change that still counts as the same.


class Shapes(_Strict):
    """Shapes of input and output at each size."""

    action: Action = "fail"  # What a change does.


class Fingerprints(_Strict):
    """The output of the network; rounding differences between machines are far below the tolerance."""

    action: Action = "fail"  # What a break does.
    tolerance: Share = 1e-3  # The largest change that still counts as the same, as a share of the output's spread.


class Scores(_Strict):
    """Scores break when the change of the mean exceeds the tolerance and its interval over scenes excludes zero.

    Fewer than 6 scenes have no interval; then the tolerance alone decides.
    """

    action: Action = "fail"  # What a break does.
    breaks_on: Literal["change", "worse"] = "worse"  # Any change, or only one for the worse.
    tolerance: Share = 1e-4  # The largest change that still counts as the same.


class Timings(_Strict):
    """Only times of the same machine are compared; a disturbed time only warns."""

    action: Action = "fail"  # What a time does that is worse.
    tolerance: Share = 0.10  # The whole 95 % interval of the ratio must lie beyond it.


class Memory(_Strict):
    """The memory that a pass added, measured on the same machine."""

    action: Action = "warn"  # What memory does that grew.
    tolerance: Share = 0.10  # The largest change that still counts as the same.


class Records(_Strict):
    """What happens if the baseline has a record of a model and the results have none."""

    missing: Action = "fail"  # What a missing record does.


class Thresholds(_Strict):
    """All thresholds; a tolerance is a fraction of the value."""

    counts: Counts = Counts()  # Parameters, MACs, FLOPs, memory by counting.
    shapes: Shapes = Shapes()  # Shapes of input and output.
    fingerprints: Fingerprints = Fingerprints()  # The output for a fixed input.
    scores: Scores = Scores()  # The scores of images.
    timings: Timings = Timings()  # Times.
    memory: Memory = Memory()  # Memory that a pass added.
    records: Records = Records()  # Records that are missing.
    not_comparable: Action = "fail"  # What happens if a count or score can no longer be compared.
    ignore: list[str] = []  # Patterns of MODEL/MEASUREMENT, of measurements or of models that pass.
