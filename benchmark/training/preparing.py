"""Prepare everything that the loop needs from a recipe; all mistakes are found here, before the first step."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmark.host import machine
from benchmark.metrics import chosen_ids
from benchmark.opening import card_at, open_dataset
from benchmark.reporting import Reporter
from benchmark.selection import options_text, weights_file
from benchmark.training.batches import Batch, Cut, EpochPlan, SampleCache, make_batch
from benchmark.training.fitting import check_batch_fits, check_single, footprint, free_bytes
from benchmark.training.losses import Objective, PerceptualLoss, load_perceptual, vgg19_features
from benchmark.training.recipe import Recipe, recipe_digest
from benchmark.training.subset import Subset
from benchmark.training.validating import Validator
from benchmark.types import Dataset, DatasetCard
from benchmark.units import GIB, shape_text
from zoo.card import ModelCard
from zoo.errors import UserError, in_one_line
from zoo.fitting import load_strictly
from zoo.forms import in_form, training_options
from zoo.options import resolve_options
from zoo.weights import official_state, read_checkpoint


@dataclass(frozen=True)
class Data:
    """The training samples, how they become batches, and the validator that scores the network."""

    card: DatasetCard
    cache: SampleCache
    cut: Cut
    plan: EpochPlan
    validator: Validator
    digest: str
    # The available part of the training split, as "12 of 44487"; empty for the whole split.
    part: str

    def batch(self, step: int) -> Batch:
        """Return the first process's batch of a step."""
        return make_batch(self.cache, self.plan, self.cut, step)


def options_of(recipe: Recipe, card: ModelCard) -> dict[str, Any]:
    """Return the options of the network that is trained: it is in training form, unless the recipe names a form."""
    return training_options(card, resolve_options(card.name, card.options, recipe.options))


def total_steps(recipe: Recipe, plan: EpochPlan) -> int:
    """Return the number of steps of the run: ``epochs`` or ``max_steps``, whichever is reached first."""
    limits = [recipe.max_steps, recipe.epochs and recipe.epochs * plan.steps_per_epoch]
    return min(limit for limit in limits if limit is not None)


def open_two(recipe: Recipe, card: DatasetCard, other: str | None, reporter: Reporter) -> tuple[Dataset, Dataset]:
    """Open the split that a recipe trains on, and the split ``other``; notes are not repeated if they are the same."""
    fallback = "train" if "train" in card.splits else card.default_split
    train = open_dataset(card, recipe.data_root, recipe.split or fallback, reporter, partial=recipe.partial)
    if recipe.limit or recipe.window or recipe.wrong_targets:
        train = Subset(train, limit=recipe.limit, window=recipe.window, wrong_targets=recipe.wrong_targets)
    if card.adds_noise:
        return train, _noisy(recipe)
    held_out = open_dataset(card, recipe.data_root, other, partial=recipe.partial)
    for note in getattr(held_out, "notes", ()) if held_out.split != train.split else ():
        reporter.note(note)
    return train, held_out


def _noisy(recipe: Recipe) -> Dataset:
    """Return the pictures to validate on, with noise; raises UserError if the recipe does not say of which level."""
    low, high = recipe.noise_range() or (0.0, 0.0)
    sigma = recipe.validation.sigma
    if sigma is None and low < high:
        raise UserError(f"recipe: validation.sigma: expected one level of the range [{low:g}, {high:g}], as 25.")
    root = recipe.validation.data_root or recipe.data_root
    own = recipe.data_options() | {"sigma": f"{low if sigma is None else sigma:.10g}"}
    return open_dataset(card_at(recipe.dataset, root, **own), root)


def check_noise(recipe: Recipe, card: ModelCard, data: DatasetCard) -> None:
    """Raise UserError if the level of the noise is not known, of a dataset that adds it or for a network told it."""
    if data.adds_noise and recipe.sigma is None:
        raise UserError(
            f"recipe: sigma: {data.name} needs the level of the noise, as 25, or a range of levels, as [0, 75]."
        )
    if card.input.noise_level and not data.adds_noise:
        raise UserError(
            f"recipe: model: {card.name} is told the level of the noise, which {data.name} does not know; train it on"
            " the dataset awgn."
        )


def open_data(recipe: Recipe, card: ModelCard, device: torch.device, processes: int, reporter: Reporter) -> Data:
    """Open the training and validation splits; raises UserError for every problem with them."""
    data_card = card_at(recipe.dataset, recipe.data_root, **recipe.data_options())
    if card.task != data_card.task:
        raise UserError(f"recipe: model: {card.name} is a {card.task} model, {data_card.name} needs {data_card.task}.")
    check_noise(recipe, card, data_card)
    chosen_ids(recipe.validation.metrics, (), gray=data_card.is_gray)
    samples, held_out = open_two(recipe, data_card, recipe.validation.split, reporter)
    spec = card.input_for(options_of(recipe, card))
    return Data(
        card=data_card,
        cache=SampleCache(samples, budget_bytes=int(recipe.cache_gib * GIB)),
        cut=Cut(spec, recipe.crop, recipe.augment, recipe.seed, recipe.noise_range()),
        plan=EpochPlan(len(samples.ids), recipe.crops_per_image, recipe.batch_size, recipe.seed, processes),
        validator=Validator(held_out, spec, data_card.protocol, recipe.validation, device),
        digest=samples.digest(),
        part=samples.provenance.get("part", ""),
    )


def build_model(recipe: Recipe, card: ModelCard, reporter: Reporter) -> nn.Module:
    """Build the network with weights from the seed or from ``init``; raises UserError if these do not fit."""
    torch.manual_seed(recipe.seed)
    options = options_of(recipe, card)
    model = card.create(options)
    if not any(True for _ in model.parameters()):
        raise UserError(f"recipe: model: {card.name} has no parameters; there is nothing to train.")
    if recipe.init is not None:
        file = weights_file(card.name, recipe.init)
        found = in_form(card, options, official_state(card, read_checkpoint(file)), recipe.init)
        for line in (*found.notes, *load_strictly(model, found.state, name=card.name, source=recipe.init)):
            reporter.note(f"{recipe.init}: {line}")
    return model


def make_objective(recipe: Recipe, data: Data, reporter: Reporter) -> Objective:
    """Return the loss, loading VGG-19's weights if they are needed; report the terms that the recipe left out."""
    wanted = any(term.name == "vgg" for term in recipe.loss) and recipe.perceptual != "off"
    perceptual = load_perceptual(recipe.perceptual) if wanted else None
    objective = Objective(recipe, data.cut.spec, perceptual)
    if objective.dropped:
        terms = ", ".join(objective.dropped)
        reporter.note(f"train: the loss has no term {terms} (perceptual: off); the weights record this.")
    return objective


def check_step(
    recipe: Recipe, card: ModelCard, objective: Objective, data: Data, device: torch.device, reporter: Reporter
) -> None:
    """Run one step without data; raises UserError for a size that the network refuses or a batch that is too big."""
    options, batch = options_of(recipe, card), data.batch(0)
    with torch.device("meta"):
        perceptual = PerceptualLoss(vgg19_features()).to("meta") if objective.perceptual is not None else None
    shadow = Objective(recipe, data.cut.spec, perceptual)
    epoch = max(term.from_epoch for term in objective.terms)
    sizes: Any = (lambda: card.create(options), shadow, batch.planes[:1], batch.target[:1])
    try:
        need = footprint(*sizes, epoch=epoch)
        if recipe.batch_size == 1:
            check_single(*sizes, epoch=epoch, name=card.name)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"train: {card.name} cannot be trained on {shape_text(batch.planes.shape[-2:])}: {error};"
            " choose another crop."
        ) from None
    except Exception as error:
        # A user's network may need real tensors; then the batch is used without a check of its memory.
        reporter.note(f"warning: memory not predicted: {in_one_line(error, 120)}")
        return
    reporter.detail(f"train: a step needs about {need.bytes(recipe.batch_size) / GIB:.2f} GiB")
    check_batch_fits(need, recipe.batch_size, free_bytes(device), tuple(batch.planes.shape))


def metadata_of(recipe: Recipe, name: str, card: ModelCard, data: Data, objective: Objective) -> dict[str, str]:
    """Return the metadata of the weights' file that describe its origin, without step and scores.

    ``name``: that of the recipe, or of a sweep and its point with a slash between.
    """
    metadata = {
        "model": card.name,
        "options": options_text(card, options_of(recipe, card)),
        "evidence": "trained",
        "recipe": name.partition("/")[0],
        "recipe_digest": recipe_digest(recipe),
        "seed": str(recipe.seed),
        "lr": repr(recipe.lr),
        "dataset": data.cache.dataset.name,
        "data_digest": data.digest,
    }
    found = {"part": data.part, "lr_rule": recipe.lr_rule or "", "dropped_terms": ",".join(objective.dropped)}
    return metadata | {key: text for key, text in found.items() if text}


@contextmanager
def process_settings(recipe: Recipe) -> Iterator[None]:
    """Set threads and deterministic kernels for the run, and restore the previous settings afterwards.

    From here on the C library keeps freed memory: every step frees memory and allocates the same amount again, and
    getting it from the system takes up to half of a step's time on the CPU.
    """
    machine.keep_free_memory()
    threads = torch.get_num_threads()
    draws = random.getstate(), np.random.get_state()
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    rng = torch.get_rng_state()
    torch.set_num_threads(recipe.threads or threads)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags
        torch.set_rng_state(rng)
        random.setstate(draws[0])
        np.random.set_state(draws[1])


def make_fabric(recipe: Recipe) -> Any:
    """Return Lightning's Fabric, which provides processes and devices; under torchrun or Slurm it uses theirs."""
    from lightning_fabric import Fabric

    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise UserError("recipe: device: cuda is not available here; use --set device=cpu.")
    cuda = torch.cuda.is_available() if recipe.device == "auto" else recipe.device == "cuda"
    local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("SLURM_NTASKS_PER_NODE", recipe.devices)))
    world = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", local)))
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=local,
        num_nodes=max(1, world // local),
        # Unused levels of PyNET and unused heads have no gradient.
        strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
    )
