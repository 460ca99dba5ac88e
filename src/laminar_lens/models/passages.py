"""Which texts a study measures where none are given, and the windows of the passages that it then takes.

The passages are English. That they suit a model is told by its tokenizer alone: it must know them (at most
`MOST_LOST` of their tokens unknown), give them back (at most so many of their letters lost in its tokens),
and write tokens that the model has. A model of another language whose tokenizer is made of bytes passes; one
without a tokenizer, or with that of molecules or of another script, does not, and nothing is chosen in its
place.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from laminar_lens.axes import Prompts
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import describe_name
from laminar_lens.models.names import WRITES_ITS_TEXTS
from laminar_lens.models.quiet import quiet
from laminar_lens.models.unknown import unknown_token
from laminar_lens.stats.streams import stream
from laminar_lens.texts.passages import (
    N_PASSAGES,
    NAMED,
    PASSAGES,
    SAMPLED,
    check_number,
    passages,
)
from laminar_lens.texts.tokenization import Tokenizer, token_ids

GIVEN = "given"
"""What a study's settings say of other texts than the named ones."""

MOST_LOST = 0.05
"""Share of tokens that are unknown, or of letters that no token holds, from which passages say too little."""

READ_BACK = 7
"""Of so many passages one is decoded again: of every kind and every subject some are."""

ADVICE = "give texts=FILE, or texts='sampled' to let the model write them"


@dataclass(frozen=True)
class Windows:
    """Tokens of passages.

    Attributes:
        rows: of each chosen passage the tokens from a random one on, to its end.
        whole: all of its tokens.
    """

    rows: list[list[int]]
    whole: list[list[int]]


def named_texts(model: HookedModel, texts: object) -> str:
    """ "passages", "sampled" or "given": what `texts=` means for this model."""
    if texts is None:
        return SAMPLED if describe_name(model) in WRITES_ITS_TEXTS else PASSAGES
    return texts if isinstance(texts, str) and texts in NAMED else GIVEN


def own_texts_note(model: HookedModel, texts: Prompts) -> list[str]:
    """That a shipped model's texts are its own, where nobody asked for any."""
    if texts is not None or named_texts(model, texts) != SAMPLED:
        return []
    name = describe_name(model)
    return [
        f"The texts are sampled: {name} writes its own. Choose passages as texts to measure the English ones."
    ]


def notes_of_a_part(model: HookedModel, notes: Iterable[str], known: Sequence[str]) -> list[str]:
    """The notes of a warm-up that is part of something else, as that says them, without the `known` ones."""
    own = own_texts_note(model, None)
    sampled = f"The warm-up's texts are sampled: {describe_name(model)} writes its own."
    said = [sampled if note in own else f"Warm-up: {note}" for note in notes if note not in known]
    return [note for note in said if note not in known]


def check_language(model: HookedModel, advice: str = ADVICE) -> list[list[int]]:
    """Tokens of every passage, if they are of the model's language; see the head of this module.

    Args:
        model: any TransformerLens model.
        advice: ends the message.

    Raises:
        InputError: they are not, or that cannot be told without a tokenizer.
    """
    tokenizer, name = getattr(model, "tokenizer", None), describe_name(model)
    if tokenizer is None:
        raise InputError(f"{name} has no tokenizer to read the English passages with: {advice}")
    with quiet():
        rows = token_ids(tokenizer, passages())
    tokens = np.concatenate([np.array(row, dtype=np.int64) for row in rows])
    if not len(tokens) or int(tokens.max()) >= int(model.cfg.d_vocab):
        raise InputError(f"{name} has no embedding of some tokens of the English passages: {advice}")
    token = unknown_token(tokenizer, from_text=True)
    unknown = 0.0 if token is None else float(np.mean(tokens == token))
    if unknown > MOST_LOST:
        raise InputError(
            f"{unknown:.0%} of the tokens of the English passages are unknown to the tokenizer of {name}: "
            f"{advice}"
        )
    if (lost := _lost_letters(tokenizer, rows)) > MOST_LOST:
        raise InputError(
            f"the tokenizer of {name} loses {lost:.0%} of the letters of the English passages: {advice}"
        )
    return rows


def windows(rows: Sequence[list[int]], length: int, n_texts: int | None, seed: int) -> Windows:
    """Passages in random order, each from a random token on, so that no text starts where a passage does.

    Args:
        rows: tokens of every passage.
        length: tokens that must be left from there on; a passage of fewer is given from its second token on.
        n_texts: so many of them, all by default.
        seed: of order and beginnings; those of one passage are the same whatever `n_texts` is.

    Raises:
        InputError: fewer than two are wanted, or more than there are.
    """
    n = N_PASSAGES if n_texts is None else check_number(n_texts)
    rng = stream(seed, "passages")
    order, shares = rng.permutation(N_PASSAGES)[:n], rng.random(N_PASSAGES)
    whole = [rows[k] for k in order]
    starts = [1 + int(shares[k] * max(1, len(rows[k]) - length)) for k in order]
    return Windows([row[start:] for row, start in zip(whole, starts, strict=True)], whole)


def _lost_letters(tokenizer: Tokenizer, rows: Sequence[list[int]]) -> float:
    """Share of the letters and digits of some passages that their tokens do not give back, but for case."""
    decode = getattr(tokenizer, "decode", None)
    if decode is None:
        return 0.0
    with quiet():
        back = _letters(" ".join(str(decode(row, skip_special_tokens=True)) for row in rows[::READ_BACK]))
    there = _letters(" ".join(passages()[::READ_BACK]))
    return (there - back).total() / there.total()


def _letters(text: str) -> Counter[str]:
    every = Counter(unicodedata.normalize("NFKD", text.casefold()))
    return Counter({one: n for one, n in every.items() if one.isalnum()})
