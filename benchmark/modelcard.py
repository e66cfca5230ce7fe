"""A model card in the form of the Hugging Face Hub, written from what a file of weights says about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cleaning import markdown, markdown_code, one_line
from benchmark.metrics import METRICS
from benchmark.replacing import refuse_inputs, replace_text
from benchmark.selection import Entry, entry_of, options_text
from benchmark.types import decode_number
from zoo.errors import UserError, printable, shortened
from zoo.official import OfficialFile, official_files
from zoo.weights import Checkpoint, files_of, read_checkpoint

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_PIPELINE = "image-to-image"
_TAGS = {
    "raw2rgb": ["raw-to-rgb", "isp"],
    "denoise_rgb": ["denoising"],
    "denoise_gray": ["denoising"],
    "enhance_rgb": ["image-enhancement"],
}
_ABOUT = {
    "recipe": "recipe",
    "recipe_digest": "digest of the recipe",
    "seed": "seed",
    "step": "steps",
    "lr": "learning rate",
    "lr_rule": "rule for the learning rate",
    "dataset": "dataset",
    "part": "part of the dataset",
    "data_digest": "digest of the data",
    "dropped_terms": "terms of the loss that were left out",
    "source": "made from",
    "source_sha256": "sha256 of that file",
}


def write_model_card(file: str | Path, out: str | Path | None = None, *, licence: str | None = None) -> Path:
    """Write a model card for a file of weights, by default as README.md beside it; return its path.

    The card holds what the file's metadata say, and nothing else: model and options, how it was trained and on what,
    scores on held-out images. ``licence`` is that of the weights, by its id on the hub; a published file has its own.
    Raises UserError for a file that names no model and is no published one, for weights that do not fit, and for a
    README.md that is there already, unless ``out`` names it.
    """
    # The metadata must not be trusted before the tensors fit the model that they name.
    checkpoint = read_checkpoint(file)
    entry = entry_of(_model_of(checkpoint, file), file, {})
    path = Path(out) if out is not None else Path(file).parent / "README.md"
    refuse_inputs(f"weights card: -o {path}", [path], files_of(file))
    if out is None and path.exists():
        raise UserError(f"weights card: there is a {path} already; name the file to write with -o.")
    replace_text(path, model_card(entry, licence=licence), "-o")
    return path


def _model_of(checkpoint: Checkpoint, file: str | Path) -> str:
    known = _published(checkpoint)
    name = checkpoint.metadata.get("model") or (known.model if known else None)
    if name is None:
        raise UserError(
            f"weights card: {file} does not name its model, and is no published file that is known; `weights import"
            " MODEL` makes one that does."
        )
    return name


def _published(checkpoint: Checkpoint) -> OfficialFile | None:
    digests = (checkpoint.digest, checkpoint.metadata.get("source_sha256"))
    return next((known for known in official_files() if known.sha256 in digests and known.model), None)


def model_card(entry: Entry, *, licence: str | None = None) -> str:
    """Return the text of a model card (YAML and Markdown) for a model with weights."""
    from huggingface_hub import ModelCard, ModelCardData

    assert entry.checkpoint is not None
    checkpoint, card = entry.checkpoint, entry.card
    metadata, file = checkpoint.metadata, one_line(printable(checkpoint.path.name))
    published = _published(checkpoint) if entry.evidence == "official-weights" else None
    scores = _scores(metadata)
    results = _results(scores)
    data = ModelCardData(
        library_name="zoo-bench",
        pipeline_tag=_PIPELINE,
        tags=[card.name, *_TAGS.get(card.task, ()), "zoo-bench"],
        license=licence,
        # The hub wants a name where there are results.
        model_name=entry.label if results else None,
        eval_results=results or None,
    )
    about = [("model", card.name), ("options", options_text(card, entry.options)), ("evidence", entry.evidence)]
    about += [(words, metadata[key]) for key, words in _ABOUT.items() if metadata.get(key)]
    about += [("sha256 of this file", checkpoint.digest)]
    text = _TEXT.format(
        title=markdown(entry.label),
        summary=markdown(card.summary.replace("``", "`")),
        paper=f"\nPaper: {markdown(card.paper)}." if card.paper else "",
        licence=_licence_text(published, licence),
        about="\n".join(f"| {words} | {markdown(str(value))} |" for words, value in about),
        scores=_scores_text(scores),
        model=card.name,
        file=file,
        code=markdown_code(f"zoo-bench run --dataset NAME --weights {card.name}={file}"),
        options="".join(f", {key}={value!r}" for key, value in sorted(entry.options.items())),
        digest=checkpoint.digest,
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}"))


def _scores(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the stored scores; empty if there are none that can be read."""
    try:
        found = json.loads(metadata.get("scores", ""))
    except (ValueError, RecursionError):
        return {}
    scores = found.get("scores") if isinstance(found, dict) else None
    if not isinstance(scores, dict):
        return {}
    numbers = {id: decode_number(value) for id, value in scores.items()}
    return {**found, "scores": {id: value for id, value in numbers.items() if type(value) in (int, float)}}


def _results(scores: Mapping[str, Any]) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    dataset = shortened(scores.get("dataset", "unknown"))
    return [
        EvalResult(
            task_type=_PIPELINE,
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=shortened(scores["split"]) if "split" in scores else None,
            metric_type=id.partition("[")[0],
            metric_name=id,
            metric_value=value,
        )
        for id, value in scores.get("scores", {}).items()
    ]


def _licence_text(published: OfficialFile | None, licence: str | None) -> str:
    if published:
        return f"Published as {markdown(published.words)}, at <{published.address}>."
    return f"{markdown(licence)}." if licence else "Not stated."


def _scores_text(scores: Mapping[str, Any]) -> str:
    if not scores.get("scores"):
        return "The file holds no scores."
    where = ", ".join(
        [
            f"{markdown(str(scores.get('n', '?')))} images of {markdown(str(scores.get('dataset', '?')))}",
            f"split {markdown(str(scores.get('split', '?')))}",
            f"protocol {markdown(str(scores.get('protocol', '?')))}",
        ]
    )
    lines = [f"These weights, on {where}:", "", "| metric | value | definition |", "|---|---|---|"]
    for id, value in scores["scores"].items():
        card = METRICS.get(id) if id in METRICS else None
        unit, definition = (card.unit, card.definition) if card else ("", "not known to this version")
        lines.append(f"| {markdown_code(id)} | {value:.6g} {unit} | {markdown(definition)} |".replace("  |", " |"))
    if "standin" in str(scores.get("dataset", "")):
        lines += ["", "A stand-in is made from photographs. Such scores say nothing about real sensors."]
    return "\n".join(lines)


_TEXT = """\
# {title}

{summary}
{paper}

## Licence of the weights

{licence}

## What the file says of itself

| | |
|---|---|
{about}

## Scores

{scores}

## Use

With zoo-bench: {code}, or from the hub:

```
zoo-bench run --dataset NAME --weights '{model}=hf://OWNER/REPOSITORY/{file}@REVISION#sha256={digest}'
```

```python
from zoo import create_model, load_weights

network = load_weights(create_model("{model}"{options}), "{file}")
```
"""
