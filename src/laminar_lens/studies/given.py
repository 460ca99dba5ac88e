"""Texts that were given to a study, as rows of tokens: of texts, files, token ids, packed rows."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from laminar_lens.arguments import shown
from laminar_lens.axes import Labels, Prompts, Starts
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import special_tokens
from laminar_lens.models.padding import is_token_tensor, without_pads
from laminar_lens.models.quiet import quiet
from laminar_lens.models.tokens import token_rows, unpadded
from laminar_lens.prompts import check_prompts
from laminar_lens.studies.documents import (
    check_starts,
    cut_at,
    cut_rows,
    flags_by_row,
    packed_note,
    uncut_note,
)
from laminar_lens.texts.files import Found, holds_records, place, read_texts
from laminar_lens.texts.reading import read_document
from laminar_lens.texts.tokenization import token_ids


def group_labels(groups: object, n: int) -> np.ndarray | None:
    """One label for each of n texts; None where every text is by itself."""
    if groups is None:
        return None
    try:
        labels = np.asarray(groups)
        np.unique(labels)  # what has no order makes no groups
    except (TypeError, ValueError):
        raise InputError(f"groups is {shown(groups)}; give one label, a text or number, a text") from None
    if labels.shape != (n,):
        raise InputError(f"groups has shape {labels.shape}; give one label for each of the {n} texts")
    return labels


def given_rows(
    model: HookedModel, texts: Any, length: int, groups: Labels, starts: Starts, notes: list[str]
) -> tuple[list[list[int]], np.ndarray | None]:
    """Tokens and group of each text; of several files of text the windows that each holds, and the number of
    the file; of packed rows their documents."""
    texts, files = read_given(texts, notes)
    rows, owners = _documents(model, texts, starts, notes)
    if not files:
        labels = group_labels(groups, max(owners) + 1)
        return rows, None if labels is None else labels[np.array(owners)]
    if groups is not None:
        raise InputError("groups= goes with single texts: of several files of text, each is a group")
    cut = [[row[i : i + length] for i in range(0, len(row) - length + 1, length)] for row in rows]
    windows = [window for found in cut for window in found]
    if not windows:
        raise InputError(
            f"none of the {len(texts)} files has {length} tokens; give longer files, or a length="
        )
    return windows, np.repeat(owners, [len(found) for found in cut])


def read_given(texts: Any, notes: list[str]) -> tuple[Any, bool]:
    """Texts of one file or of several that hold records, of which blank ones are noted; of other files what
    each holds; else what was given. And whether each is a file by itself.

    Raises:
        InputError: as `read_texts`; files of two kinds; the name of a file that is given as a text.
    """
    if isinstance(texts, str) and os.path.lexists(place(texts)[0]):
        raise InputError(
            f"texts is {texts!r}, which is the name of a file or folder here: give Path({texts!r}) to read "
            f"it, or [{texts!r}] for these letters"
        )
    files = _several(texts)
    if isinstance(texts, os.PathLike) or (files and holds_records(texts[0])):
        found = [read_texts(path) for path in (texts if files else [texts])]
        texts, files = [text for one in found for text in one.texts], False
        notes += Found(tuple(texts), sum(one.blank for one in found)).note
    return ([read_document(path) for path in texts] if files else texts), files


def _several(texts: object) -> bool:
    """Whether several files are given, all of texts or all of records."""
    if not (isinstance(texts, Sequence) and texts and all(isinstance(one, os.PathLike) for one in texts)):
        return False
    of_records = [holds_records(path) for path in texts]
    if any(of_records) and not all(of_records):
        raise InputError(
            f"{os.fspath(texts[of_records.index(True)])!r} holds records, "
            f"{os.fspath(texts[of_records.index(False)])!r} is one text: give files of one kind"
        )
    return True


def _documents(
    model: HookedModel, texts: Prompts, starts: Starts, notes: list[str]
) -> tuple[list[list[int]], list[int]]:
    """Token ids of each text, or of each document of packed ones, and which text it is of."""
    check_starts(starts, int(model.cfg.d_vocab))
    texts, padding = without_pads(model, texts)
    notes += [padding] if padding else []
    is_ids = is_token_tensor(texts)
    if is_ids and starts is not None:  # a row may be longer than the context, its documents are cut anyway
        rows = unpadded(torch.as_tensor(texts), None, int(model.cfg.d_vocab))
    elif hasattr(texts, "ndim"):
        rows = token_rows(model, texts)[0]
    else:
        rows = _tokenized(model, check_prompts(texts))
    if starts is None:
        packed = packed_note(rows, special_tokens(model))
        notes += [packed] if packed else []
        return rows, list(range(len(rows)))
    flags = flags_by_row(torch.as_tensor(texts), starts) if is_ids else None
    cut, owners = cut_at(rows, starts) if flags is None else cut_rows(rows, flags)
    uncut = uncut_note(starts, len(rows), len(cut))
    notes += [uncut] if uncut else []
    return cut, owners


def _tokenized(model: HookedModel, texts: Sequence[str]) -> list[list[int]]:
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise InputError("the model has no tokenizer; give texts as token ids [text pos]")
    with quiet():
        return token_ids(tokenizer, texts)
