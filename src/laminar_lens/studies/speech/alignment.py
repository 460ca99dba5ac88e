"""Which tokens of a text are the pieces of each of its words, by the characters that both stand for."""

from collections.abc import Sequence

import numpy as np

from laminar_lens.prompts import trimmed
from laminar_lens.texts.tags import Word

NO_TOKEN, SHARED = -1, -2
"""First token of a word that has none, or that shares one with another word."""


def pieces(text: str, tokens: Sequence[tuple[int, int]], words: Sequence[Word]) -> np.ndarray:
    """First and last token [word 2] of each word; twice `NO_TOKEN` or `SHARED` where it has none of its own.

    A token belongs to every word of which it holds a character; white space at its ends does not count, as
    tokenizers differ on whose that is. Parts of one character, such as the bytes of an emoji, stand for all
    of it.

    Args:
        text: with the words.
        tokens: characters [start, end) of each token, from left to right.
        words: from left to right, none over another.
    """
    touched: list[list[int]] = [[] for _ in words]
    owners = np.zeros(len(tokens), dtype=int)
    at = 0
    for token, (start, end) in enumerate(trimmed(text, span) for span in tokens):
        while at < len(words) and words[at].end <= start:
            at += 1
        one = at
        while one < len(words) and words[one].start < end:
            touched[one].append(token)
            owners[token] += 1
            one += 1
    found = np.full((len(words), 2), NO_TOKEN)
    for one, own in enumerate(touched):
        if own:
            found[one] = SHARED if (owners[own] > 1).any() else (own[0], own[-1])
    return found
