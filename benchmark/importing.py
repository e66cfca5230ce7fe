"""Convert a published checkpoint into a weights file of this tool, and weights in training form to the deploy form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.selection import entry_of, options_text
from zoo.errors import UserError
from zoo.weights import Checkpoint, files_of, read_checkpoint, save_state


def import_weights(
    model: str,
    source: str | Path,
    out: str | Path,
    *,
    options: Mapping[str, Any],
    take: str | None = None,
    reporter: Reporter | None = None,
) -> dict[str, str]:
    """Convert a published checkpoint strictly to safetensors with our keys; return the written metadata.

    ``take`` names the weights to use if the checkpoint holds several sets, for example also their running mean.

    Raises UserError for unknown names and options, a file that does not hold tensors, and keys or shapes that do not
    fit the model.
    """
    refuse_inputs(f"weights import: -o {out}", [out], files_of(source))
    entry = entry_of(model, source, options, take=take)
    entry.tell_notes(reporter or Reporter())
    assert entry.checkpoint is not None
    metadata = {
        "model": entry.card.name,
        "options": options_text(entry.card, entry.options),
        "evidence": entry.evidence,
        **_source_of(entry.checkpoint),
    }
    if take is not None:
        metadata["source_part"] = take
    kept, known = ("recipe", "data_digest", "part", "source_part"), entry.checkpoint.metadata
    metadata |= {name: known[name] for name in kept if name in known}
    save_state(out, entry.checkpoint.state, metadata)
    return metadata


def deploy_weights(source: str | Path, out: str | Path, *, reporter: Reporter | None = None) -> dict[str, str]:
    """Convert a weights file of this tool from its network's training form to the deploy form; return its metadata.

    Metadata are kept, except the options, which name the deploy form; ``source`` and ``source_sha256`` name the first
    file, unless they name another one already. Raises UserError for a file that names no model, one of a network
    without two forms, and one in deploy form.
    """
    refuse_inputs(f"weights deploy: -o {out}", [out], [source])
    known = read_checkpoint(source).metadata
    if "model" not in known:
        raise UserError(
            f"weights deploy: {source} does not name its model; `weights import MODEL` takes it, and converts it too."
        )
    entry = entry_of(known["model"], source, {})
    assert entry.checkpoint is not None
    if not entry.checkpoint.held:
        why = "holds the deploy form already" if entry.card.forms else f"is of {entry.card.name}, which has one form"
        raise UserError(f"weights deploy: {source} {why}; there is nothing to convert.")
    entry.tell_notes(reporter or Reporter())
    metadata = {**known, "options": options_text(entry.card, entry.options), **_source_of(entry.checkpoint)}
    save_state(out, entry.checkpoint.state, metadata)
    return metadata


def _source_of(checkpoint: Checkpoint) -> dict[str, str]:
    """Return name and sha256 of the file that the weights come from, before any conversion."""
    known = checkpoint.metadata
    return {
        "source": known.get("source", checkpoint.path.name),
        "source_sha256": known.get("source_sha256", checkpoint.digest),
    }
