"""Which of a study's texts are observations: checked after they are chosen, before anything is measured.

Texts whose measured tokens are the same, or all but the same (see stats/observations.py), are one
observation, and so are all that are mostly unknown tokens: the first stays, the others are left out and
counted. With groups, a text stands for its group: repeats inside a group stay, as the group counts once
anyway; one that repeats a text of another group is left out, and a group of which nothing is left is none.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Shaped

from laminar_lens.errors import InputError
from laminar_lens.models.unknown import unknown_token
from laminar_lens.prompts import Target
from laminar_lens.stats.observations import Rows, mostly, repeats
from laminar_lens.texts.tokenization import Tokenizer

Origin = Literal["text", "ids", "model"]
"""Where tokens come from: given as text, given as token ids, written by the model itself."""

MANY_REPEATS, MANY_UNKNOWN, MOST = 0.2, 0.05, 0.5
"""Shares above which repeats, or unknown tokens, are a warning at the top; and above which, a refusal."""
OPENING = 8
"""Texts begin alike that share at least so many first tokens, and a quarter of all."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Which texts are observations.

    Attributes:
        keep: by text, True where it is one (or a part of its group's).
        n: how many there are: texts that are kept, or their groups.
        words: "200 texts, 37 of them repeats: 163 observations.", or "200 texts in 4 groups: 4
            observations."; empty where every text is one.
        alarms: for the head of the warnings.
        notes: for their end.
    """

    keep: Bool[np.ndarray, " text"]
    n: int
    words: str
    alarms: tuple[str, ...]
    notes: tuple[str, ...]

    def tell(self, notes: list[str]) -> None:
        """Puts alarms before, and notes behind, what a reader must know."""
        notes[:0] = self.alarms
        notes.extend(self.notes)

    def ends(self, sentence: str) -> str:
        """A study's sentence, and how many observations it rests on where that is not the number of texts."""
        return f"{sentence} {self.words}" if self.words else sentence


def observations(
    rows: Rows,
    tokenizer: Tokenizer | None,
    origin: Origin,
    *,
    what: str = "texts",
    groups: Shaped[np.ndarray, " text"] | None = None,
    whole: Rows = (),
    reach: int | None = None,
    apart: Sequence[Hashable] | None = None,
) -> Observations:
    """The check of a study's texts.

    Args:
        rows: token ids of each text, as they are measured.
        tokenizer: of the model, or None.
        origin: where the texts come from.
        what: how they are called.
        groups: one label a text, where texts of one group are one observation.
        whole: the same texts before they were cut to a length.
        reach: what is measured depends on so many first tokens; all by default.
        apart: one label a text; texts with different labels are no repeats, whatever else they share, and may
            begin alike.

    Raises:
        InputError: over half of the texts are repeats, or over half of their tokens unknown; fewer than two
            observations are left of two texts or more.
    """
    compared = [row[:reach] for row in rows]
    unknown = _unknown_shares(rows, tokenizer, origin)
    unknowns = _unknown_alarm(rows, unknown, tokenizer, what)
    again = repeats(compared, groups, apart)
    keep = ~again
    keep[keep] = ~mostly(unknown[keep])
    n = int(keep.sum()) if groups is None else len(np.unique(groups[keep]))
    n_texts, lost = len(keep), int((~keep).sum())
    kind = "repeats" if groups is None else "repeats of another group's"
    kind += "" if again.sum() == lost else " or mostly unknown tokens"
    counted = f"{n:,} observation{'' if n == 1 else 's'}"
    words = f"{n_texts:,} {what}, {lost:,} of them {kind}: {counted}."
    grouped = f"{n_texts:,} {what} in {n:,} group{'' if n == 1 else 's'}: {counted}." if n < n_texts else ""
    cause = f"{words} {_cause(origin, compared, whole, what)}"
    if lost > MOST * n_texts or (lost and n < 2):
        raise InputError(cause)
    many = lost > MANY_REPEATS * n_texts
    alarms = ([f"{cause}."] if many else []) + unknowns
    if apart is None:
        labels = range(n_texts) if groups is None else groups.tolist()
        alarms += _openings({(tuple(compared[k]), labels[k]) for k in np.flatnonzero(keep)}, what)
    notes = (words,) if lost and not many else ()
    return Observations(keep, n, words if lost else grouped, tuple(alarms), notes)


def check_repeats(rows: Rows, tokenizer: Tokenizer | None, origin: Origin, **how: Any) -> None:
    """Refuses copies before they are found too short; arguments and errors as of `observations`."""
    if len(rows) > 1 and all(map(len, rows)):
        observations(rows, tokenizer, origin, **how)


def prompt_observations(
    rows: Rows, tokenizer: Tokenizer | None, targets: Sequence[Sequence[Target]]
) -> Observations:
    """The same for prompts with the targets of each: with other tokens or places of the target they are no
    repeats."""
    pairs = [
        tuple((one.start, *row[max(one.start - 1, 0) : one.start + 1]) for one in found)
        for row, found in zip(rows, targets, strict=True)
    ]
    return observations(rows, tokenizer, "text", what="prompts", apart=pairs)


def _unknown_alarm(rows: Rows, shares: np.ndarray, tokenizer: Tokenizer | None, what: str) -> list[str]:
    """What to say of unknown tokens; nothing where there are few.

    Raises:
        InputError: over half of all tokens are unknown.
    """
    share = float(np.average(shares, weights=[len(row) for row in rows]))
    token = getattr(tokenizer, "unk_token", None)
    if share > MOST:
        raise InputError(
            f"{share:.0%} of the tokens of these {what} are unknown to the model's tokenizer ({token!r}): "
            f"give {what} in the language and script that it was made for, or the model's own tokenizer"
        )
    if share <= MANY_UNKNOWN:
        return []
    return [
        f"{share:.0%} of the tokens are unknown to the model's tokenizer ({token!r}): what is measured there "
        "is one vector, whatever the text says."
    ]


def _unknown_shares(rows: Rows, tokenizer: Tokenizer | None, origin: Origin) -> np.ndarray:
    """Share of unknown tokens in each text; a model never writes one."""
    token = None if origin == "model" else unknown_token(tokenizer, from_text=origin == "text")
    return np.array([0.0 if token is None else float(np.mean(np.equal(row, token))) for row in rows])


def _cause(origin: Origin, compared: Rows, whole: Rows, what: str) -> str:
    """Why texts repeat each other, as far as it can be told, and what to do."""
    if origin == "model":
        return (
            "The model writes the same text again and again: look at its weights and training, or give texts "
            "of your own (a sequential study can do without them: warmup=False)"
        )
    distinct, before = (len(set(map(tuple, rows))) for rows in (compared, whole))
    if before - distinct > len(compared) - before:  # cut to a length, more became the same than were before
        return (
            f"Only their first {max(map(len, compared))} tokens are measured, and these are the same: give "
            f"{what} that begin differently, or a greater length="
        )
    return f"Their measured tokens are the same, or all but: give {what} that differ"


def _openings(rows: set[tuple[tuple[int, ...], Any]], what: str) -> list[str]:
    """Texts (of different groups) that differ, but begin alike: of first tokens they are one observation."""
    begin = {(row[: max(OPENING, len(row) // 4)], label) for row, label in rows if len(row) >= 2 * OPENING}
    again = len(begin) - len({opening for opening, _ in begin})
    if again <= MANY_REPEATS * len(begin):
        return []
    return [
        f"{again:,} of {len(begin):,} {what} begin with the same tokens as another, so that of first tokens "
        f"they say no more than {len(begin) - again:,} {what} would: give {what} that begin differently."
    ]
