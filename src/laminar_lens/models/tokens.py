"""Prompts as rows of tokens: texts without special tokens, or a token tensor with its padding taken off."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from laminar_lens.arguments import characters, places
from laminar_lens.axes import Mask
from laminar_lens.errors import InputError, ShapeError, a_kind
from laminar_lens.models.context import context_length
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import bos_token_id
from laminar_lens.models.padding import PADDING as PADDING
from laminar_lens.models.quiet import quiet
from laminar_lens.texts.tokenization import token_ids


def token_rows(
    model: HookedModel, prompts: Any, *, mask: Mask = None, prepend_bos: bool = False
) -> tuple[list[list[int]], tuple[str, ...] | None]:
    """One list of token ids a prompt, without padding, and the texts where texts were given.

    Raises:
        InputError: no prompt; a blank one; one longer than the context (never truncated); tokens outside the
            vocabulary; a mask with holes; `prepend_bos` for a model without BOS. Each names the prompt.
        ShapeError: a tensor that is not [batch pos], or a mask of another shape.
    """
    prompts = (prompts,) if isinstance(prompts, str) else prompts
    texts: tuple[str, ...] | None = None
    if (
        hasattr(prompts, "dtype") and getattr(prompts.dtype, "kind", "i") in "OUT"
    ):  # arrays and series of texts
        prompts = list(prompts)
    if isinstance(prompts, Tensor) or (hasattr(prompts, "dtype") and hasattr(prompts, "ndim")):
        rows = unpadded(torch.as_tensor(places("prompts", prompts)), mask, int(model.cfg.d_vocab))
    else:
        texts = _checked_texts(prompts, mask)
        rows = _tokenized(model, texts)
        _check_vocabulary(rows, texts, int(model.cfg.d_vocab))
    if prepend_bos:
        rows = _with_bos(model, rows)
    context = context_length(model)
    for index, row in enumerate(rows):
        if len(row) > context:
            raise InputError(
                f"prompt {index}{_quote(texts, index)} has {len(row)} tokens, more than the model's "
                f"context of {context}; shorten it (nothing is truncated)"
            )
    return rows, texts


def _checked_texts(prompts: object, mask: Mask) -> tuple[str, ...]:
    if not isinstance(prompts, Sequence) or isinstance(prompts, bytes):
        raise InputError(
            f"prompts is {a_kind(prompts)}; expected a text, a sequence of texts or a token tensor "
            "[batch pos]"
        )
    if mask is not None:
        raise InputError("mask= goes with a token tensor; texts are batched without padding")
    if not prompts:
        raise InputError("prompts is empty; give at least one text")
    for index, text in enumerate(prompts):
        if not isinstance(text, str):
            raise InputError(
                f"prompt {index} is {a_kind(text)}, not a text; token ids go in one tensor [batch pos]"
            )
        if not text.strip():
            raise InputError(f"prompt {index} is blank ({text!r}); every prompt needs at least one token")
        characters(f"prompt {index}", text)
    return tuple(prompts)


def _tokenized(model: HookedModel, texts: tuple[str, ...]) -> list[list[int]]:
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise InputError("the model has no tokenizer; give prompts as a token tensor [batch pos]")
    with quiet():
        rows = token_ids(tokenizer, texts)
    for index, row in enumerate(rows):
        if not row:
            raise InputError(f"prompt {index}{_quote(texts, index)} has no tokens in this model's vocabulary")
    return rows


def _check_vocabulary(rows: list[list[int]], texts: tuple[str, ...], vocabulary: int) -> None:
    """Refuses a token that the model has no embedding of: some tokenizers have more than their model."""
    for index, row in enumerate(rows):
        if (largest := max(row)) >= vocabulary:
            raise InputError(
                f"prompt {index}{_quote(texts, index)} has token {largest}, outside the vocabulary "
                f"0 … {vocabulary - 1}: this model has no embedding of it; change the text"
            )


def unpadded(tokens: Tensor, mask: Mask, vocabulary: int) -> list[list[int]]:
    """The rows of a token tensor [batch pos] without what `mask`, or −1, says is padding; of any length.

    Raises:
        InputError, ShapeError: as `token_rows`.
    """
    if tokens.ndim != 2:
        raise ShapeError(f"prompts is a tensor of shape {tuple(tokens.shape)}; expected [batch pos]")
    if tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool:
        raise InputError(f"prompts is a tensor of {tokens.dtype}; expected integer token ids [batch pos]")
    if tokens.shape[0] == 0:
        raise InputError("prompts is empty; give at least one row of tokens")
    tokens = tokens.detach().cpu().long()
    real = tokens != PADDING if mask is None else torch.as_tensor(mask).detach().cpu().bool()
    if real.shape != tokens.shape:
        raise ShapeError(
            f"mask has shape {tuple(real.shape)}; expected that of the tokens, {tuple(tokens.shape)}"
        )
    rows = []
    for index in range(tokens.shape[0]):
        where = real[index].nonzero().flatten()
        if not len(where):
            raise InputError(f"prompt {index} is blank: all of its tokens are padding")
        first, last = int(where[0]), int(where[-1])
        if last - first + 1 != len(where):
            raise InputError(f"prompt {index} has padding between its tokens; padding belongs on one side")
        row = tokens[index, first : last + 1]
        if int(row.min()) < 0 or int(row.max()) >= vocabulary:
            bad = int(row[(row < 0) | (row >= vocabulary)][0])
            raise InputError(f"prompt {index} has token {bad}, outside the vocabulary 0 … {vocabulary - 1}")
        rows.append(row.tolist())
    return rows


def _with_bos(model: HookedModel, rows: list[list[int]]) -> list[list[int]]:
    bos = bos_token_id(model)
    if bos is None:
        raise InputError(
            "prepend_bos=True, but the model's tokenizer has no BOS token; use prepend_bos=False"
        )
    for index, row in enumerate(rows):
        if row[0] == bos:
            raise InputError(f"prompt {index} already starts with the BOS token {bos}; use prepend_bos=False")
    return [[bos, *row] for row in rows]


def _quote(texts: tuple[str, ...] | None, index: int) -> str:
    if texts is None:
        return ""
    text = texts[index]
    return f" ({text[:40] + '…' if len(text) > 40 else text!r})"
