"""Universal part-of-speech tags of 60 of the shipped passages.

One annotator, a language model, gave every word its tag while reading its sentence, and read each
disagreement with two taggers (spaCy's small English pipeline, HanTa) again; outside code, one of the two
agrees with 97.5% of the tags. NOUN, VERB, DET, PRON and AUX are firm, the borders of ADV, ADP and SCONJ soft.
"""

from collections.abc import Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from laminar_lens.errors import InputError
from laminar_lens.texts.passages import passages
from laminar_lens.texts.reading import read_text

UNIVERSAL = (
    *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM"),
    *("PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"),
)
"""The 17 tags of Universal Dependencies, version 2."""

FILE = Path(__file__).with_name("passages_tags.txt")


class Word(NamedTuple):
    """Characters [start, end) of a text, and the tag of the word that they are."""

    start: int
    end: int
    tag: str


class Tagged(NamedTuple):
    """A text, and its words from left to right."""

    text: str
    words: tuple[Word, ...]


@cache
def tagged_passages() -> tuple[Tagged, ...]:
    """The shipped passages whose words carry checked tags."""
    return read_tags(FILE, passages())


def read_tags(path: str | PathLike[str], texts: Sequence[str]) -> tuple[Tagged, ...]:
    """Tagged words from a file: the number of a text from 1, a tab, then word_TAG items, one space apart.

    The words of a line cover every character of its text that is no white space, once and in order; the tag
    is what follows the last underscore.

    Raises:
        InputError: as `read_text`; a line that is not written so, an unknown tag, a text that there is not or
            that comes twice, or words that are not those of the text. The line is named.
    """
    found: dict[int, Tagged] = {}
    for at, line in enumerate(read_text(path, "file of tags").splitlines(), start=1):
        where = f"file of tags {str(path)!r}, line {at}"
        number, _, items = line.partition("\t")
        if not (number.isascii() and number.isdigit() and 1 <= int(number) <= len(texts)):
            raise InputError(f"{where} begins with {number[:20]!r}: give the number of a text, then a tab")
        if int(number) in found:
            raise InputError(f"{where}: text {number} is there twice; leave one out")
        text = texts[int(number) - 1]
        found[int(number)] = Tagged(text, _aligned(text, items.split(" "), where))
    return tuple(found.values())


def _aligned(text: str, items: Sequence[str], where: str) -> tuple[Word, ...]:
    """The words with their places in the text."""
    words: list[Word] = []
    at = 0
    for item in items:
        word, _, tag = item.rpartition("_")
        if not word or tag not in UNIVERSAL:
            raise InputError(f"{where}: {item[:40]!r} is no word_TAG with a Universal tag, such as dog_NOUN")
        at = _start(text, at)
        if not text.startswith(word, at):
            raise InputError(f"{where}: {word[:40]!r} is not what the text says at {text[at : at + 20]!r}")
        words.append(Word(at, at + len(word), tag))
        at += len(word)
    if rest := text[at:].strip():
        raise InputError(f"{where} ends before its text does, at {rest[:20]!r}: tag every word")
    return tuple(words)


def _start(text: str, at: int) -> int:
    """The next character that is no white space."""
    while at < len(text) and text[at].isspace():
        at += 1
    return at
