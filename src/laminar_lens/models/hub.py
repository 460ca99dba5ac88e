"""Models of the Hugging Face Hub: which state of one is meant, and whether its weights are here already."""

import sys
from pathlib import Path
from typing import Any

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError
from laminar_lens.models import names
from laminar_lens.models.folder.files import FolderError, read_json
from laminar_lens.models.folder.weights import stored_weights

OWN = ("NeelNanda/", "ArthurConmy/", "Baidicoot/")
"""Whose models are in a format of TransformerLens's own, which Hugging Face does not read."""

_REVISIONS = {"EleutherAI/pythia": "step{}", "stanford-crfm/": "checkpoint-{}"}
"""How the states of a training are called, by the beginning of a name that TransformerLens lists them for."""


def check_choice(
    name: object,
    *,
    revision: object = None,
    checkpoint: object = None,
    device: object = None,
    device_map: object = None,
    tokenizer: object = None,
) -> None:
    """Refuses a choice of state or place that the model of a checked name does not have.

    Raises:
        InputError: names the argument, and what to do.
    """
    path = names.local_path(name)
    for what, value in (("revision", revision), ("checkpoint", checkpoint)):
        if value is not None and path is not None:
            raise InputError(
                f"{what}={shown(value)} chooses a state of a model on the Hugging Face Hub, but "
                f"{shown(str(name))} is on this machine, in one state: leave it out"
            )
    if revision is not None and checkpoint is not None:
        raise InputError("revision= and checkpoint= both choose a state of the model: give one of them")
    if device_map is not None and device is not None:
        raise InputError("device= and device_map= both say where the model goes: give one of them")
    if device_map is not None and path is not None and path.is_file():
        raise InputError(
            f"device_map= spreads a folder or a model of the Hub, but {shown(str(name))} is one file, read "
            "onto one device: give device="
        )
    if tokenizer is not None:
        raise InputError(
            f"tokenizer= belongs to a model in memory, but {shown(str(name))} brings its own: leave it out"
        )


def is_held(model: object) -> bool:
    """Whether it is a Hugging Face model in memory; Transformers is not imported where nothing else did."""
    transformers = sys.modules.get("transformers")
    return transformers is not None and isinstance(model, transformers.PreTrainedModel)


def check_held(model: object, **given: Any) -> None:
    """Refuses what is chosen when a model is loaded, of one that is loaded.

    Raises:
        InputError: names the argument.
    """
    if what := next((name for name, value in given.items() if value is not None), None):
        raise InputError(
            f"{what}={shown(given[what])} is for loading, but this {type(model).__name__} is in memory: load "
            f"it so, or leave {what}= out"
        )


def check_own(name: str, check: object, revision: object) -> None:
    """Refuses what takes Hugging Face to read a model that it does not read.

    Raises:
        InputError: names the argument.
    """
    if check or revision is not None:
        what = "check=True" if check else f"revision={shown(revision)}"
        raise InputError(
            f"{what}: {name!r} is in a format of TransformerLens's own, which Hugging Face does not read: "
            "leave it out"
        )


def revision_of(official: str, checkpoint: int) -> str:
    """The revision that a training checkpoint is, by its step.

    Raises:
        InputError: TransformerLens lists no checkpoints of the model, or not this one.
    """
    try:
        from transformer_lens.tools.model_registry.checkpoints import get_checkpoint_labels
    except ImportError:
        from transformer_lens.loading_from_pretrained import get_checkpoint_labels
    form = next((form for start, form in _REVISIONS.items() if official.startswith(start)), None)
    if form is None:
        raise InputError(
            f"checkpoint={checkpoint}: TransformerLens lists no training checkpoints of {official!r}: leave "
            "it out, or give revision="
        )
    steps = get_checkpoint_labels(official)[0]
    if checkpoint not in steps:
        near = min(steps, key=lambda step: abs(step - checkpoint))
        raise InputError(
            f"checkpoint={checkpoint} is none of {official!r}, whose steps go from {steps[0]:,} to "
            f"{steps[-1]:,}: the nearest is {near}"
        )
    return form.format(checkpoint)


def cached(name: str, revision: str | None) -> Path | None:
    """The folder of the local cache with the whole weights of a Hub model; None where there is none."""
    folder = snapshot(name, revision)
    try:
        return folder if folder and stored_weights(folder, read_json(folder / "config.json")) else None
    except FolderError:
        return None


def snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of the local cache for one state of a Hub model, named after its commit; None where not even
    its configuration is here."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None
