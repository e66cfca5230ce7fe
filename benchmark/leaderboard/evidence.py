"""What a row's weights are, as a sign and words; and the signs of records that should not be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.types import Evidence, Result

BADGES: dict[Evidence, tuple[str, str]] = {
    "published": ("¶", "printed in a paper, not measured here"),
    "official-weights": ("★", "the weights that the authors published, known by their digest"),
    "trained": ("●", "trained by the recipe named"),
    "weights-file": ("◆", "a file of the user's, by the beginning of its sha256"),
    "parameter-free": ("□", "nothing to train"),
    "untrained": ("○", "random weights, no quality"),
}
EDITED, CONFLICTING = "✎", "≠"


def evidence_text(result: Result, conflicts: Mapping[str, str]) -> str:
    """Return sign and evidence; recipes and files are named, so that a score can be traced, and failures said."""
    text = f"{BADGES[result.evidence][0]} {result.evidence}"
    if result.weights is not None:
        trained_on = f", on {result.weights['part']} images" if "part" in result.weights else ""
        text += f" ({result.weights.get('recipe') or result.weights['sha256'][:8]}{trained_on})"
    if result.status != "ok":
        text += f", {result.status}"
    text += f" {EDITED} edited by hand" if result.is_edited else ""
    return text + (f" {CONFLICTING} conflicting records" if result.key in conflicts else "")


def legend(rows: Sequence[Result]) -> str:
    """Return what the signs of these rows mean."""
    used = [evidence for evidence in BADGES if any(row.evidence == evidence for row in rows)]
    return f"Evidence: {'; '.join(f'{BADGES[e][0]} {e}: {BADGES[e][1]}' for e in used)}."
