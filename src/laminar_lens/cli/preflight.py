"""What can be told about a run from the model's folder alone: its context, its layers, and its tokens.

Only for a folder on this machine (novella is one): the tokenizer and the configuration are read without
TransformerLens, so that a prompt that cannot work is refused at once. For other models the study says it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laminar_lens.cli.requests import ModelChoice, SequentialRequest
from laminar_lens.errors import InputError
from laminar_lens.models.names import local_folder
from laminar_lens.prompts import find_targets

CONTEXT_KEYS = ("n_positions", "n_ctx", "max_position_embeddings")
LAYER_KEYS = ("n_layer", "num_hidden_layers", "n_layers")


class FolderTokenizer:
    """A folder's tokenizer.json, with the part of a Hugging Face tokenizer that finding a target needs."""

    is_fast = True

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(path))

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        """Token ids and character offsets, without special tokens."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return {"input_ids": encoding.ids, "offset_mapping": encoding.offsets}


def check_sequential(request: SequentialRequest) -> SequentialRequest:
    """The request, if its layers, prompts and target fit the model.

    Raises:
        InputError: a layer out of range; a prompt of one token or longer than the context; a target that is
            absent, is a text's first token, or that the skip leaves no pair of.
    """
    check_layers(request.model)
    tokenizer = _tokenizer(request.model)
    if tokenizer is None:
        return request
    texts = request.prompts.texts
    check_lengths(request.model, [len(tokenizer(text)["input_ids"]) for text in texts], texts)
    targets = find_targets(tokenizer, texts, request.target, request.occurrence, request.regex)
    from laminar_lens.pairs import target_pairs

    target_pairs(targets, skip=request.skip, bos=int(request.model.prepend_bos))
    return request


def check_layers(choice: ModelChoice) -> None:
    """Refuses a layer that the model does not have, where its folder tells how many it has."""
    n_layers = _number(_config(choice), LAYER_KEYS)
    beyond = [layer for layer in choice.layers or () if n_layers is not None and layer > n_layers]
    if beyond:
        raise InputError(
            f"--layers {beyond[0]} is out of range: {choice.name} has hidden states 0 (the embedding) to "
            f"{n_layers}; choose among them"
        )


def check_length(choice: ModelChoice, length: int) -> int:
    """`length` if texts of that many tokens fit the context, where the model's folder tells it."""
    context = _number(_config(choice), CONTEXT_KEYS)
    if context is not None and length + choice.prepend_bos > context:
        raise InputError(
            f"--length {length} is too long: {choice.name} reads at most {context} tokens; give "
            f"{context - choice.prepend_bos} or less"
        )
    return length


def check_lengths(choice: ModelChoice, lengths: Sequence[int], texts: Sequence[str]) -> None:
    """Refuses prompts that are too short for an angle or too long for the model."""
    context = _number(_config(choice), CONTEXT_KEYS)
    for index, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        total = length + choice.prepend_bos
        if total < 2:
            raise InputError(
                f"prompt {index} ({text!r}) has one token: an angle needs two; write a longer prompt"
            )
        if context is not None and total > context:
            start = text[:40] + ("…" if len(text) > 40 else "")
            raise InputError(
                f"prompt {index} ({start!r}) has {total} tokens, but {choice.name} reads at most {context}: "
                "shorten it; nothing is cut silently"
            )


def _config(choice: ModelChoice) -> dict[str, Any]:
    folder = local_folder(choice.name)
    if folder is None:
        return {}
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _number(config: dict[str, Any], keys: Sequence[str]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _tokenizer(choice: ModelChoice) -> FolderTokenizer | None:
    folder = local_folder(choice.name)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    try:
        return FolderTokenizer(folder / "tokenizer.json")
    except Exception:  # a broken tokenizer is the model's loading to explain
        return None
