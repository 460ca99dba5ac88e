"""How often words stand in the texts of a study and in the shipped passages together."""

import re
from collections import Counter
from collections.abc import Callable, Iterable

from laminar_lens.texts.passages import passages

_WORDS = re.compile(r"\w+?(?=n['’]t\b)|n['’]t\b|['’]\w+|\w+")
"""Contractions in the two parts that taggers make of them: do n't, it 's."""


def frequencies(texts: Iterable[str]) -> Callable[[str], int]:
    """What tells how often a word stands there, without regard to case; at least 1.

    Of a word of several parts, such as one with a hyphen, its rarest part counts.
    """
    counts = Counter(word for text in {*texts, *passages()} for word in _parts(text))
    return lambda word: max(1, min((counts[part] for part in _parts(word)), default=1))


def _parts(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())
