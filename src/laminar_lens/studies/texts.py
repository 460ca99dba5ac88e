"""The texts of a warm-up study: written by the model, or windows of one length cut from what was given."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from laminar_lens.arguments import shown
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.models import sample_tokens
from laminar_lens.models.context import context_length
from laminar_lens.models.info import special_tokens
from laminar_lens.models.padding import is_token_tensor, without_pads
from laminar_lens.models.quiet import quiet
from laminar_lens.models.tokens import token_rows, unpadded
from laminar_lens.prompts import check_prompts, read_prompts
from laminar_lens.studies.documents import (
    check_starts,
    cut_at,
    cut_rows,
    flags_by_row,
    packed_note,
    starts_setting,
    uncut_note,
)
from laminar_lens.studies.observations import Observations, Origin, check_repeats, observations
from laminar_lens.studies.options import LONGEST, SHORTEST, USUAL_TEXTS, Options
from laminar_lens.texts.reading import read_document
from laminar_lens.texts.tokenization import token_ids


@runtime_checkable
class Chosen(Protocol):
    """What a study measures, texts or prompts, as a run and its labels need it."""

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of each, without a BOS."""

    @property
    def groups(self) -> np.ndarray | None:
        """The group of each; None where all are independent."""

    @property
    def hashed(self) -> Any:
        """What provenance takes the hash of."""

    @property
    def settings(self) -> dict[str, Any]:
        """What a study records of them, JSON-safe."""

    def ends(self, sentence: str) -> str:
        """A sentence, and how many observations it rests on where that is not their number."""


@dataclass(frozen=True)
class Texts:
    """Token ids [text pos] of one length, without a BOS, and the group of each text (None: all
    independent); `checked` says which of the texts that there were they are, `document_starts` what packed
    rows were cut by."""

    tokens: Tensor
    groups: np.ndarray | None
    checked: Observations | None = None
    document_starts: Any = None

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of each text, without a BOS."""
        rows: list[list[int]] = self.tokens.tolist()
        return rows

    @property
    def hashed(self) -> np.ndarray:
        """What provenance takes the hash of."""
        return np.asarray(self.tokens.numpy())

    def ends(self, sentence: str) -> str:
        """A study's sentence, and how many observations it rests on where that is not the number of texts."""
        return sentence if self.checked is None else self.checked.ends(sentence)

    @property
    def settings(self) -> dict[str, Any]:
        """What a study records of them, JSON-safe: how many there were and how many are observations."""
        n = len(self.tokens)
        checked = self.checked
        counts = (n, n) if checked is None else (len(checked.keep), checked.n)
        found: dict[str, Any] = {
            "n_texts": counts[0],
            "observations": counts[1],
            "length": self.tokens.shape[1],
        }
        found["grouped"] = self.groups is not None
        if self.document_starts is not None:
            found["document_starts"] = starts_setting(self.document_starts)
        return found


def chosen_texts(
    model: Any,
    texts: Any,
    options: Options,
    notes: list[str],
    progress: Progress | None,
    *,
    reach: Callable[[int], int] | None = None,
) -> Texts:
    """Windows of one length; texts that are shorter are left out, counted in `notes`, and so are texts that
    are no observations of their own (see `laminar_lens.studies.observations`).

    Args:
        model, texts, progress: as in `warmup_study`.
        options: how many texts, their length, groups and document starts, BOS and seed.
        notes: get what a reader must know.
        reach: on how many first tokens of a text, by its length, depends what is measured; all by default.

    With `document_starts` each document of a packed row is a text by itself; of texts, a token id says where
    one starts.

    Raises:
        InputError: a length that the context does not hold; fewer than 2 texts of that length; groups that
            do not fit.
    """
    n_texts, length, groups = options.n_texts, options.length, options.groups
    document_starts = options.document_starts
    room = context_length(model) - int(options.prepend_bos)
    if texts is None:
        wanted = _length(length, room, LONGEST)
        if document_starts is not None:
            raise InputError(
                "document_starts= goes with texts= that are given; the model writes single texts"
            )
        if n_texts < 2:
            raise InputError(f"n_texts is {n_texts}; at least 2 texts are needed, usually {USUAL_TEXTS}")
        tokens = sample_tokens(model, n_texts, wanted, seed=options.seed, progress=progress)
        return _checked(model, tokens, _labels(groups, n_texts), "model", (), reach, notes)
    is_ids = hasattr(texts, "ndim") and document_starts is None
    rows, labels = _given(model, texts, _length(length, room, LONGEST), groups, document_starts, notes)
    lengths = sorted(map(len, rows))
    as_given = is_ids and lengths[0] == lengths[-1]  # rows that padding made alike are texts like others
    wanted = _length(length, room, lengths[-1] if as_given else LONGEST)
    enough = [k for k, row in enumerate(rows) if len(row) >= wanted]
    origin: Origin = "ids" if is_token_tensor(texts) else "text"
    if len(enough) < 2:
        check_repeats(rows, getattr(model, "tokenizer", None), origin, groups=labels)
        raise InputError(_too_few(lengths, len(enough), wanted))
    if lost := len(rows) - len(enough):
        said = f"{lost} of {len(rows)} texts have fewer than {wanted} tokens: left out"
        if 2 * lost > len(rows):
            notes.insert(0, f"{said}; length={_of_half(lengths)} would keep at least half of them.")
        else:
            notes.append(f"{said}.")
    tokens = torch.tensor([rows[k][:wanted] for k in enough])
    labels = None if labels is None else labels[np.array(enough)]
    whole = [rows[k] for k in enough]
    return _checked(model, tokens, labels, origin, whole, reach, notes, document_starts)


def _checked(
    model: Any,
    tokens: Tensor,
    groups: np.ndarray | None,
    origin: Origin,
    whole: Sequence[Sequence[int]],
    reach: Callable[[int], int] | None,
    notes: list[str],
    document_starts: Any = None,
) -> Texts:
    """The texts that are observations, or parts of a group that is one."""
    found = observations(
        tokens.tolist(),
        getattr(model, "tokenizer", None),
        origin,
        groups=groups,
        whole=whole,
        reach=None if reach is None else reach(tokens.shape[1]),
    )
    found.tell(notes)
    if found.keep.all():
        return Texts(tokens, groups, found, document_starts)
    kept = None if groups is None else groups[found.keep]
    return Texts(tokens[torch.from_numpy(found.keep)], kept, found, document_starts)


def _too_few(lengths: list[int], n: int, wanted: int) -> str:
    """What is missing, where fewer than 2 texts have the length: texts, or tokens."""
    if len(lengths) < 2:
        return f"there is only {len(lengths)} text, at least 2 of {wanted} tokens are needed; give more texts"
    half = _of_half(lengths)
    instead = f", or length={half}, which at least half of them have" if half >= SHORTEST else ""
    return (
        f"{n} of {len(lengths)} texts have {wanted} tokens, at least 2 are needed; give longer texts{instead}"
    )


def _of_half(lengths: list[int]) -> int:
    """The greatest length that half of the texts have, at least two; `lengths` in increasing order."""
    return lengths[min(len(lengths) // 2, len(lengths) - 2)]


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
    try:
        labels = np.asarray(groups)
        np.unique(labels)  # what has no order makes no groups
    except (TypeError, ValueError):
        raise InputError(f"groups is {shown(groups)}; give one label, a text or number, a text") from None
    if labels.shape != (n,):
        raise InputError(f"groups has shape {labels.shape}; give one label for each of the {n} texts")
    return labels


def _given(
    model: Any, texts: Any, length: int, groups: Any, starts: Any, notes: list[str]
) -> tuple[list[list[int]], np.ndarray | None]:
    """Tokens and group of each text; of several files the windows that each holds, and the number of the
    file; of packed rows their documents."""
    if isinstance(texts, os.PathLike):
        texts = read_prompts(os.fspath(texts))
    files = isinstance(texts, Sequence) and bool(texts) and all(isinstance(t, os.PathLike) for t in texts)
    rows, owners = _documents(
        model, [read_document(path) for path in texts] if files else texts, starts, notes
    )
    if not files:
        labels = _labels(groups, max(owners) + 1)
        return rows, None if labels is None else labels[np.array(owners)]
    cut = [[row[i : i + length] for i in range(0, len(row) - length + 1, length)] for row in rows]
    windows = [window for found in cut for window in found]
    if not windows:
        raise InputError(
            f"none of the {len(texts)} files has {length} tokens; give longer files, or a length="
        )
    return windows, np.repeat(owners, [len(found) for found in cut])


def _documents(model: Any, texts: Any, starts: Any, notes: list[str]) -> tuple[list[list[int]], list[int]]:
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


def _tokenized(model: Any, texts: Sequence[str]) -> list[list[int]]:
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        raise InputError("the model has no tokenizer; give texts as token ids [text pos]")
    with quiet():
        return token_ids(tokenizer, texts)
