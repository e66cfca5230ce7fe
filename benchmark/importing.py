"""Convert a published checkpoint into a weights file of this tool, and weights in training form to the deploy form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.imaging.imagefiles import read_picture
from benchmark.imaging.levels import scaled
from benchmark.probing import convention_warning
from benchmark.replacing import refuse_inputs
from benchmark.reporting import Reporter
from benchmark.selection import Entry, entry_of, options_text
from zoo.errors import UserError, in_one_line
from zoo.weights import Checkpoint, files_of, read_checkpoint, save_state


def import_weights(
    model: str,
    source: str | Path,
    out: str | Path,
    *,
    options: Mapping[str, Any],
    take: str | None = None,
    try_on: str | Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, str]:
    """Convert a published checkpoint strictly to safetensors with our keys; return the written metadata.

    ``take`` names the weights to use if the checkpoint holds several sets, for example also their running mean. Weights
    that are not known are tried on a synthetic picture, or ``try_on``, under several conventions of the input.

    Raises UserError for unknown names and options, a file that does not hold tensors, and keys or shapes that do not
    fit the model.
    """
    refuse_inputs(f"weights import: -o {out}", [out], [*files_of(source), try_on])
    entry = entry_of(model, source, options, take=take)
    reporter = reporter or Reporter()
    entry.tell_notes(reporter)
    if entry.evidence == "weights-file" or try_on is not None:
        _try(entry, try_on, reporter)
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


def _try(entry: Entry, try_on: str | Path | None, reporter: Reporter) -> None:
    """Report whether the weights look as if they were trained with another convention of the input."""
    picture = None
    if try_on is not None:
        pixels = read_picture("--try-on", Path(try_on), kinds=("RGB",)).pixels
        picture, _ = scaled(pixels, None, np.float64)
    try:
        warning = convention_warning(entry.card, entry.options, entry.build(), picture)
    except UserError:
        raise
    except Exception as error:
        # The code of a user's network may raise anything, and the weights can be imported all the same.
        warning = f"the convention of its input could not be tried ({in_one_line(error)})"
    if warning:
        reporter.note(f"{entry.label}: {warning}")
