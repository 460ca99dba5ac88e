"""Taggers: what gives a text's words with their parts of speech. Nothing heavy is imported before it is used.

A tagger is called with a text and returns (start, end, tag) for each word, in characters. `"spacy:PIPELINE"`
is a spaCy pipeline; without a tagger the shipped tags of the passages are taken.
"""

from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from operator import index
from pathlib import Path
from typing import Any

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError, a_kind, is_failure
from laminar_lens.prompts import trimmed
from laminar_lens.registered import qualified_name
from laminar_lens.texts.passages import N_PASSAGES
from laminar_lens.texts.tags import Word, tagged_passages

SPACY = "spacy:"
SHIPPED = "the shipped tags"
Tagger = Callable[[str], Any]


def check_tagger(name: str, given: object) -> Any:
    """A function, or what may be the name of one.

    Raises:
        InputError: neither a function nor "spacy:PIPELINE".
    """
    if given is None or (callable(given) and not isinstance(given, type)):
        return given
    if not isinstance(given, str) or not given.startswith(SPACY) or not given.removeprefix(SPACY).strip():
        raise InputError(
            f"{name} is {shown(given)}; expected 'spacy:PIPELINE', such as spacy:en_core_web_sm, or in "
            "Python a function of a text that returns (start, end, tag) for each word"
        )
    return given


def installed_tagger(name: str, given: Any) -> Any:
    """A tagger that is there, as far as is told without loading it.

    Raises:
        InputError: as `check_tagger`; spaCy or the pipeline is not installed.
    """
    if isinstance(check_tagger(name, given), str):
        pipeline = given.removeprefix(SPACY)
        there = find_spec("spacy") is not None
        if not there or not _is_there(pipeline):
            what = f"the pipeline {pipeline!r}" if there else "spaCy"
            raise InputError(
                f"{name} {shown(given)}: {what} is not installed: pip install 'laminar-lens[pos]' and "
                f"python -m spacy download {' '.join(pipeline.split())}"
            )
    return given


def loaded(given: Any) -> tuple[Tagger, str]:
    """The function of a tagger, and how a result names it.

    Raises:
        InputError: a pipeline that cannot be loaded.
    """
    if isinstance(given, str):
        return _spacy(given.removeprefix(SPACY))
    return given, qualified_name(given)


def check_number(n: int, tagger: object) -> None:
    """Refuses fewer than two passages, and more than a tagger has to tag.

    Raises:
        InputError: says how many there are.
    """
    most = len(tagged_passages()) if tagger is None else N_PASSAGES
    if not 2 <= n <= most:
        kind, more = "passages", ""
        if tagger is None:
            kind, more = "passages with shipped tags", "; a tagger= tags any of them"
        raise InputError(f"n_texts is {n:,}, but there are {most} {kind}: give 2 to {most}{more}")


def words_of(tagger: Tagger, text: str, index: int) -> tuple[Word, ...]:
    """A text's words from left to right, as a tagger gives them, without white space at their ends.

    Raises:
        InputError: it fails, or gives what are no words of the text; the text is named.
    """
    where = f"the tagger's answer to text {index} ({text[:30]!r}…)"
    try:
        given = list(tagger(text))
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{where} is an error: {type(error).__name__}: {reason}") from error
    words = sorted(_word(one, len(text), where) for one in given)
    for one, following in pairwise(words):
        if following.start < one.end:
            raise InputError(f"{where} has words that overlap: {tuple(one)} and {tuple(following)}")
    return tuple(
        Word(*trimmed(text, (word.start, word.end)), word.tag)
        for word in words
        if text[word.start : word.end].strip()
    )


def _word(given: Any, length: int, where: str) -> Word:
    try:
        start, end, tag = given
        word = Word(index(start), index(end), tag)
        fits = 0 <= word.start < word.end <= length and isinstance(tag, str)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(
            f"{where} holds {shown(given)}; expected (start, end, tag) with 0 ≤ start < end ≤ {length}, in "
            "characters"
        )
    return word


def _is_there(pipeline: str) -> bool:
    """Whether a pipeline is a package that is installed, or a folder."""
    if Path(pipeline).is_dir():
        return True
    try:
        return pipeline.isidentifier() and find_spec(pipeline) is not None
    except (ImportError, ValueError):
        return False


def _spacy(pipeline: str) -> tuple[Tagger, str]:
    """What gives the words of a spaCy pipeline, without white space, and its name and versions."""
    import spacy

    try:
        load = spacy.load(pipeline, exclude=["ner"])
    except BaseException as error:
        if not is_failure(error):
            raise
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"the spaCy pipeline {pipeline!r} cannot be loaded ({a_kind(error)}: {reason})"
        ) from error

    def tag(text: str) -> list[Word]:
        return [
            Word(one.idx, one.idx + len(one), one.pos_ or one.tag_) for one in load(text) if not one.is_space
        ]

    meta = load.meta
    return tag, f"{SPACY}{meta['lang']}_{meta['name']} {meta['version']} (spaCy {spacy.__version__})"
