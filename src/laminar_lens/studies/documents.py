"""Packed rows: several documents in one row of tokens, each with positions of its own.

A study cuts such a row and measures each document by itself, as if it had been given so: position 0 is its
first token, and no attention crosses documents. A mask keeps the row and counts in each document anew; what
the analysis that it is for does with attention across documents is up to that analysis.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from laminar_lens.arguments import shown
from laminar_lens.axes import Starts
from laminar_lens.errors import InputError, ShapeError, a_kind

Rows = list[list[int]]


def document_starts_of(
    ids: Int[Tensor, "batch pos"], real: Bool[Tensor, "batch pos"], starts: Starts
) -> Bool[Tensor, "batch pos"]:
    """Where documents start in token ids [batch pos]; the first real token of a row always starts one.

    Args:
        ids: of the tokens.
        real: False for padding.
        starts: None; a token id, wherever it stands the first token of a document (a BOS, or a separator read
            as one); or bool [batch pos], True at each document's first token.

    Raises:
        InputError, ShapeError: something else.
    """
    first = real & (real.cumsum(dim=1) == 1)
    if starts is None:
        return first
    if (token := _token(starts)) is not None:
        return (real & (ids == token)) | first
    marks = _marks(starts)
    if marks.shape != ids.shape:
        raise ShapeError(
            f"document_starts has shape {tuple(marks.shape)}, tokens {tuple(ids.shape)}; they must agree"
        )
    return (real & marks.to(real.device)) | first


def places_in_documents(
    real: Bool[Tensor, "batch pos"], starts: Bool[Tensor, "batch pos"]
) -> Int[Tensor, "batch pos"]:
    """Place of each real token in its document, from 1 on; 0 for padding."""
    count = real.cumsum(dim=1)
    before = torch.where(starts, count - 1, torch.zeros_like(count)).cummax(dim=1).values
    return torch.where(real, count - before, torch.zeros_like(count))


def of_documents(
    at_starts: Bool[Tensor, "batch pos"], starts: Bool[Tensor, "batch pos"]
) -> Bool[Tensor, "batch pos"]:
    """What holds of each document's first token, at every token of the document."""
    width = starts.shape[1]
    columns = torch.arange(width, device=starts.device).expand_as(starts)
    latest = torch.where(starts, columns, torch.full_like(columns, -1)).cummax(dim=1).values
    held: Tensor = at_starts.gather(1, latest.clamp(min=0)) & (latest >= 0)
    return held


def flags_by_row(ids: Int[Tensor, "batch pos"], starts: Starts) -> list[list[bool]]:
    """Whether each token of each row, without its padding (−1), starts a document; `starts` as in
    `document_starts_of`."""
    real = (ids >= 0).cpu()
    begins = document_starts_of(ids.cpu(), real, starts)
    return [row[keep].tolist() for row, keep in zip(begins, real, strict=True)]


def check_starts(starts: Starts, vocabulary: int) -> None:
    """Refuses a token that no text can hold.

    Raises:
        InputError: an id outside the vocabulary, or what is neither None, an id nor bool.
    """
    token = None if starts is None else _token(starts)
    if token is not None and token >= vocabulary:
        raise InputError(
            f"document_starts is {shown(token)}; expected a token id of the vocabulary, 0 … {vocabulary - 1}"
        )


def uncut_note(starts: Starts, n_rows: int, n_documents: int) -> str:
    """What a reader must know where nothing was cut; empty where something was."""
    if n_documents > n_rows:
        return ""
    named = starts_setting(starts)
    what = "document_starts" if named == "given" else f"Token {named} (document_starts)"
    return f"{what} cuts none of the {n_rows} texts: each is measured as one document."


def starts_setting(starts: Starts) -> int | str:
    """`document_starts` as settings record it, JSON-safe."""
    token = _token(starts)
    return "given" if token is None else token


def cut_rows(rows: Rows, starts: Sequence[Sequence[bool]]) -> tuple[Rows, list[int]]:
    """The documents of rows, in order, and the row of each; a row's first token always starts one."""
    documents: Rows = []
    owners: list[int] = []
    for index, (row, flags) in enumerate(zip(rows, starts, strict=True)):
        at = [0, *(place for place, start in enumerate(flags) if start and place > 0), len(row)]
        documents += [row[begin:end] for begin, end in pairwise(at)]
        owners += [index] * (len(at) - 1)
    return documents, owners


def cut_at(rows: Rows, starts: Starts) -> tuple[Rows, list[int]]:
    """As `cut_rows`, of texts: only a token id says where a document of a text starts.

    Raises:
        InputError: something else than a token id.
    """
    token = _token(starts)
    if token is None:
        raise InputError(
            "document_starts as bool [batch pos] goes with token ids; for texts give the id of the token "
            "that starts a document"
        )
    return cut_rows(rows, [[one == token for one in row] for row in rows])


def packed_note(rows: Iterable[Sequence[int]], special: Mapping[str, Any]) -> str:
    """What a reader must know of rows that have a BOS, EOS or separator inside; empty where none has.

    Args:
        rows: token ids without padding.
        special: `special_tokens` of the model.
    """
    ids = {int(special[role]) for role in ("bos", "eos", "sep", "cls") if role in special}
    if special.get("unk") != special.get(
        "bos"
    ):  # TransformerLens may give the unknown token for a missing EOS
        ids.discard(special.get("unk", -1))
    n = packed = 0
    seen: set[int] = set()
    for row in rows:
        n += 1
        if found := ids.intersection(row[1:-1]):
            packed += 1
            seen |= found
    if not packed:
        return ""
    named = " or ".join(map(str, sorted(seen)))
    return (
        f"{packed} of {n} texts have token {named} (BOS, EOS or separator) inside, as packed rows of several "
        f"documents have: positions are counted from the row's start. To count from each document's, give "
        "that token as document starts, or cut the texts there."
    )


def _token(starts: Any) -> int | None:
    """The token id that starts documents, or None where that is no number."""
    if isinstance(starts, bool):
        raise InputError(
            f"document_starts is {starts}; expected a token id, or bool [batch pos], True at each document's "
            "first token"
        )
    if isinstance(starts, int) or (getattr(starts, "ndim", None) == 0 and _is_whole(starts)):
        if int(starts) < 0:
            raise InputError(
                f"document_starts is {shown(starts)}; expected a token id of the vocabulary, from 0 on"
            )
        return int(starts)
    return None


def _is_whole(value: object) -> bool:
    return not torch.as_tensor(value).is_floating_point() and torch.as_tensor(value).dtype != torch.bool


def _marks(starts: object) -> Tensor:
    try:
        marks = torch.as_tensor(starts)
    except (TypeError, ValueError, RuntimeError):
        marks = None
    if marks is None or marks.dtype != torch.bool:
        what = a_kind(starts) if marks is None else f"a tensor of {marks.dtype}"
        raise InputError(
            f"document_starts is {what}; expected a token id, or bool [batch pos], True at each document's "
            "first token"
        )
    return marks
