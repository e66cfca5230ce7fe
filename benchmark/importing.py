"""Convert a published checkpoint into a weights file of this tool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.selection import entry_of, jsonable_options
from zoo.weights import save_state


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
    refuse_inputs(f"weights import: -o {out}", [out], [source])
    entry = entry_of(model, source, options, take=take)
    entry.tell_notes(reporter or Reporter())
    assert entry.checkpoint is not None
    metadata = {
        "model": entry.card.name,
        "options": json.dumps(jsonable_options(entry.options), sort_keys=True),
        "evidence": entry.evidence,
        "source": entry.checkpoint.metadata.get("source", entry.checkpoint.path.name),
        "source_sha256": entry.checkpoint.metadata.get("source_sha256", entry.checkpoint.digest),
    }
    if take is not None:
        metadata["source_part"] = take
    kept, known = ("recipe", "data_digest", "part", "source_part"), entry.checkpoint.metadata
    metadata |= {name: known[name] for name in kept if name in known}
    save_state(out, entry.checkpoint.state, metadata)
    return metadata
