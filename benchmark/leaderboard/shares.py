"""What the squared error of a row is made of: its size and the shares of its parts, from the parts in the record."""

from __future__ import annotations

import math

from benchmark.metrics import ERROR_IDS, ERROR_PARTS, error_shares
from benchmark.types import Measurement, Result

_TOTAL = "error"
_SHARE_OF = {part: f"share[{part}]" for part in ERROR_PARTS}
# The columns of the table that says what the error is made of, and all ids that are shown there.
SHARES = (_TOTAL, *_SHARE_OF.values())
COLUMNS = (*(id for id in ERROR_IDS if id not in ERROR_PARTS.values()), *SHARES)
SHOWN_THERE = frozenset((*COLUMNS, *ERROR_IDS))
NOTE = (
    "Shares of the squared error, summed over all images (each by its mean over pixels), that a shift of each image"
    " explains, then one affine transform of its colours; the rest is what neither explains. They follow from"
    " `error[shift]`, `error[colour]` and `error[rest]` in the records."
)


def shares_of(result: Result) -> dict[str, Measurement]:
    """Return the mean squared error and the shares of its parts in percent; nothing if the parts were not scored."""
    parts = {id: result.measurements[id] for id in ERROR_PARTS.values() if id in result.measurements}
    means = {id: None if one.value is None else float(one.value) for id, one in parts.items()}
    shares = error_shares(means)
    if shares is None:
        return {}
    first = next(iter(parts.values()))
    total = math.fsum(value for value in means.values() if value is not None)
    definition = f"mean squared error inside the border, the sum of {', '.join(parts)}"
    # The intervals of the parts are not that of their sum.
    without = {"ci_low": None, "ci_high": None}
    found = {_TOTAL: first.model_copy(update={"value": total, "definition": definition, **without})}
    for part, share in shares.items():
        definition = f"mean {ERROR_PARTS[part]} over all images as a share of the mean error"
        found[_SHARE_OF[part]] = Measurement(
            value=100 * share, unit="% of error", definition=definition, kind="score", n=first.n
        )
    return found
