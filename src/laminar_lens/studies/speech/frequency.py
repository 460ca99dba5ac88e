"""How often words stand in the texts of a study and in the shipped passages together."""

import re
from collections import Counter
from collections.abc import Callable, Iterable

from laminar_lens.texts.passages import passages
from laminar_lens.texts.tags import Tagged

_WORDS = re.compile(r"\w+?(?=n['’]t\b)|n['’]t\b|['’](?:[smd]|ll|re|ve)\b|\w+")
"""Contractions in the two parts that taggers make of them: do n't, it 's."""


def frequencies(texts: Iterable[Tagged]) -> Callable[[str], int]:
    """What tells how often a word stands there, without regard to case; at least 1.

    Words of the texts are those of their tagger, as not every script has spaces between words. Of a word of
    several parts, such as one with a hyphen, its rarest part counts.
    """
    words = {one.text: [one.text[word.start : word.end] for word in one.words] for one in texts}
    said = {text: [text] for text in passages()} | words
    counts = Counter(part for some in said.values() for word in some for part in _parts(word))
    return lambda word: max(1, min((counts[part] for part in _parts(word)), default=1))


def _parts(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())
