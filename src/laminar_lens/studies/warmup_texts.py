"""The texts of a warm-up study: written by the model, or windows of one length cut from what was given."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.models import sample_tokens
from laminar_lens.models.context import context_length
from laminar_lens.models.quiet import quiet
from laminar_lens.models.tokens import token_rows
from laminar_lens.prompts import check_prompts, read_prompts

DEFAULT_TEXTS = 1200
"""Enough for an answer at every position of 9 layers at once, where angles scatter by up to about 0.28
rad."""

DEFAULT_LENGTH = 64
SHORTEST = 4


@dataclass(frozen=True)
class Texts:
    """Token ids [text pos] of one length, without a BOS, and the group of each text (None: all
    independent)."""

    tokens: Tensor
    groups: np.ndarray | None


def chosen_texts(
    model: Any,
    texts: Any,
    n_texts: int,
    length: int | None,
    groups: Any,
    prepend_bos: bool,
    seed: int,
    notes: list[str],
    progress: Progress | None,
) -> Texts:
    """Windows of one length; texts that are shorter are left out, counted in `notes`.

    Raises:
        InputError: a length that the context does not hold; fewer than 2 texts of that length; groups that
            do not fit.
    """
    room = context_length(model) - int(prepend_bos)
    if texts is None:
        wanted = _length(length, room, DEFAULT_LENGTH)
        if n_texts < 2:
            raise InputError(f"n_texts is {n_texts}; at least 2 texts are needed, usually {DEFAULT_TEXTS}")
        tokens = sample_tokens(model, n_texts, wanted, seed=seed, progress=progress)
        return Texts(tokens, _labels(groups, n_texts))
    is_ids = hasattr(texts, "ndim")
    rows, labels = _given(model, texts, _length(length, room, DEFAULT_LENGTH))
    wanted = _length(length, room, max(map(len, rows)) if is_ids else DEFAULT_LENGTH)
    labels = _labels(groups, len(rows)) if labels is None else labels
    enough = [k for k, row in enumerate(rows) if len(row) >= wanted]
    if len(enough) < 2:
        raise InputError(_too_few(sorted(map(len, rows)), len(enough), wanted))
    if len(enough) < len(rows):
        notes.append(
            f"{len(rows) - len(enough)} of {len(rows)} texts have fewer than {wanted} tokens: left out."
        )
    tokens = torch.tensor([rows[k][:wanted] for k in enough])
    return Texts(tokens, None if labels is None else labels[np.array(enough)])


def _too_few(lengths: list[int], n: int, wanted: int) -> str:
    """What is missing, where fewer than 2 texts have the length: texts, or tokens."""
    if len(lengths) < 2:
        return f"there is only {len(lengths)} text, at least 2 of {wanted} tokens are needed; give more texts"
    instead = f", or length={lengths[-2]}" if lengths[-2] >= SHORTEST else ""
    return (
        f"{n} of {len(lengths)} texts have {wanted} tokens, at least 2 are needed; give longer texts{instead}"
    )


def _length(length: int | None, room: int, default: int) -> int:
    wanted = min(default, room) if length is None else length
    if not SHORTEST <= wanted <= room:
        raise InputError(
            f"length is {wanted}; expected {SHORTEST} … {room} tokens, what the model's context holds"
        )
    return wanted


def _labels(groups: Any, n: int) -> np.ndarray | None:
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise InputError(f"groups has shape {labels.shape}; give one label for each of the {n} texts")
    return labels


def _given(model: Any, texts: Any, length: int) -> tuple[list[list[int]], np.ndarray | None]:
    """Tokens of each text; of several files the windows that each holds, and the number of the file."""
    if hasattr(texts, "ndim"):
        return token_rows(model, texts)[0], None
    if isinstance(texts, os.PathLike):
        texts = read_prompts(Path(texts))
    if not (isinstance(texts, Sequence) and texts and all(isinstance(t, os.PathLike) for t in texts)):
        return _tokenized(model, check_prompts(texts)), None
    whole = _tokenized(model, check_prompts([_read(Path(path)) for path in texts]))
    cut = [[row[i : i + length] for i in range(0, len(row) - length + 1, length)] for row in whole]
    rows = [window for windows in cut for window in windows]
    if not rows:
        raise InputError(
            f"none of the {len(texts)} files has {length} tokens; give longer files, or a length="
        )
    return rows, np.repeat(np.arange(len(cut)), [len(windows) for windows in cut])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{str(path)!r} is not UTF-8 at byte {error.start}: save it as UTF-8") from None
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read ({error.strerror or error}): check the path"
        ) from None


def _tokenized(model: Any, texts: Sequence[str]) -> list[list[int]]:
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise InputError("the model has no tokenizer; give texts as token ids [text pos]")
    with quiet():
        rows = tokenizer(list(texts), add_special_tokens=False, padding=False, truncation=False)["input_ids"]
    return [list(map(int, row)) for row in rows]
