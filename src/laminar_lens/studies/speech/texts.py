"""The texts of a speech study: whole, with the tokens of each word that is compared."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from laminar_lens.axes import Prompts
from laminar_lens.errors import InputError
from laminar_lens.models.context import context_length
from laminar_lens.models.passages import GIVEN, check_language
from laminar_lens.models.quiet import quiet
from laminar_lens.prompts import check_prompts, token_spans
from laminar_lens.stats.streams import stream
from laminar_lens.studies.given import group_labels, read_given
from laminar_lens.studies.observations import Observations, observations
from laminar_lens.studies.run import Run
from laminar_lens.studies.speech.alignment import NO_TOKEN, SHARED, pieces
from laminar_lens.studies.speech.classes import CLASSES, OF_TAG
from laminar_lens.studies.speech.frequency import frequencies
from laminar_lens.studies.speech.taggers import SHIPPED, check_number, loaded, words_of
from laminar_lens.texts.passages import PASSAGES, SAMPLED, passages
from laminar_lens.texts.tags import Tagged, tagged_passages
from laminar_lens.words import joined

LEFT_OUT = {
    "first": "at position 0",
    "shared": "that share a token with another word",
    "cut": "cut by the end of a window",
    "untokenised": "without a token",
}
"""Why a word of a class is not measured."""


@dataclass(frozen=True)
class Words:
    """The words of a window that are measured, from left to right.

    Attributes:
        first, last: positions of a word's first and last token, counted with the BOS.
        kind: place of its class in `CLASSES`.
        n_characters, count: its length, and how often it stands in all texts.
    """

    first: np.ndarray
    last: np.ndarray
    kind: np.ndarray
    n_characters: np.ndarray
    count: np.ndarray

    @property
    def n_tokens(self) -> np.ndarray:
        """Of each word, from its first to its last."""
        return np.asarray(self.last - self.first + 1)


@dataclass(frozen=True)
class TaggedTexts:
    """Texts, each in one window or several of what the context holds.

    Attributes:
        rows: token ids of each window, without a BOS.
        words: of each window.
        groups: of each window; None where each is a text by itself.
        texts: as they were read.
        source, tagger: where the texts and the tags are from.
        tags: that the tagger gave, the most frequent first.
        left_out: words of a class that are not measured, by `LEFT_OUT`.
        checked: which of the texts there were they are.
    """

    rows: list[list[int]]
    words: list[Words]
    groups: np.ndarray | None
    texts: tuple[str, ...]
    source: str
    tagger: str
    tags: tuple[str, ...]
    left_out: Counter[str]
    checked: Observations

    @property
    def hashed(self) -> Any:
        """What provenance takes the hash of."""
        return self.texts

    @property
    def settings(self) -> dict[str, Any]:
        """What a study records of them."""
        counts = {"n_texts": len(self.checked.keep), "observations": self.checked.n}
        return {"texts": self.source, **counts, "windows": len(self.rows), "grouped": self.groups is not None}

    def ends(self, sentence: str) -> str:
        """As `Texts.ends`."""
        return self.checked.ends(sentence)

    @cached_property
    def n_words(self) -> int:
        """Words that are measured."""
        return sum(len(one.kind) for one in self.words)

    @property
    def observed(self) -> str:
        """What intervals are over."""
        return "texts" if len(self.texts) > 1 else "windows of one text"

    @property
    def notes(self) -> list[str]:
        """What a reader must know of them."""
        lost = self.left_out
        if not lost.total():
            return []
        every, why = lost.total() + self.n_words, [f"{n:,} {LEFT_OUT[name]}" for name, n in lost.items() if n]
        said = f"{lost.total():,} of {every:,} words of the four classes are left out"
        return [f"{said}: {joined(why)}."]


def tagged_texts(run: Run, given: Prompts, tagger: object) -> TaggedTexts:
    """The texts that are observations, tagged and cut where the context ends.

    Raises:
        InputError: texts without tags; tags that no token fits; fewer than two texts; a model without
            tokenizer.
    """
    tokenizer = getattr(run.model, "tokenizer", None)
    if tokenizer is None:
        raise InputError(
            "the model has no tokenizer: words cannot be found among tokens; set model.tokenizer"
        )
    read, source, labels, name = _read(run, given, tagger)
    with quiet():
        tokens = [token_spans(tokenizer, one.text) for one in read]
    checked = observations([ids for ids, _ in tokens], tokenizer, "text", groups=labels)
    checked.tell(run.notes)
    keep = np.flatnonzero(checked.keep)
    tags = Counter(word.tag for one in read for word in one.words)
    count = frequencies(read)
    bos = int(run.options.prepend_bos)
    cut = _Windows(context_length(run.model) - bos, bos)
    for at in keep.tolist():
        cut.add(at, read[at], tokens[at], count)
    found = TaggedTexts(
        rows=cut.rows,
        words=cut.words,
        groups=_groups(cut.text, labels, run.notes),
        texts=tuple(read[at].text for at in keep),
        source=source,
        tagger=name,
        tags=tuple(tag for tag, _ in tags.most_common()),
        left_out=cut.left_out,
        checked=checked,
    )
    _check(found)
    run.notes.extend(found.notes)
    return found


def _read(run: Run, given: Prompts, tagger: object) -> tuple[list[Tagged], str, np.ndarray | None, str]:
    """The texts with their words, where they are from, the group of each, and what tagged them."""
    options, labels = run.options, None
    if given is None or (isinstance(given, str) and given == PASSAGES):
        if options.groups is not None:
            raise InputError("groups= goes with texts= that are given; every passage is independent")
        check_language(run.model, "give texts= and a tagger= for them")
        pool, source = tagged_passages() if tagger is None else passages(), PASSAGES
        n = len(pool) if options.n_texts is None else options.n_texts
        check_number(n, tagger)
        chosen = stream(options.seed, "tagged passages").permutation(len(pool))[:n]
        texts: list[Any] = [pool[at] for at in sorted(chosen.tolist())]
    else:
        texts, source = list(_given(given, tagger, run.notes)), GIVEN
        labels = group_labels(options.groups, len(texts))
    if tagger is None:
        return texts, source, labels, SHIPPED
    tag, name = loaded(tagger)
    return [Tagged(one, words_of(tag, one, at)) for at, one in enumerate(texts)], source, labels, name


def _given(given: Any, tagger: Any, notes: list[str]) -> tuple[str, ...]:
    if isinstance(given, str) and given == SAMPLED:
        raise InputError(
            "texts='sampled' are token ids, but a tagger reads texts: give texts= that are written"
        )
    kind = getattr(getattr(given, "dtype", None), "kind", "i" if hasattr(given, "dtype") else "O")
    if kind not in "OUT":
        raise InputError("texts= are token ids, but a tagger reads texts: give the texts themselves")
    texts = check_prompts(list(given) if hasattr(given, "dtype") else read_given(given, notes)[0])
    if tagger is None:
        raise InputError("texts= that are given have no tags: give tagger=, such as 'spacy:en_core_web_sm'")
    return texts


class _Windows:
    """Texts in windows of at most `room` tokens, put together one by one."""

    def __init__(self, room: int, bos: int) -> None:
        self.room, self.bos = room, bos
        self.rows: list[list[int]] = []
        self.words: list[Words] = []
        self.text: list[int] = []
        self.left_out: Counter[str] = Counter()

    def add(self, at: int, one: Tagged, tokens: Any, count: Callable[[str], int]) -> None:
        """The windows of text `at`, and which of its words are measured."""
        ids, offsets = tokens
        words = [word for word in one.words if word.tag in OF_TAG]
        places = pieces(one.text, offsets, one.words)[[word.tag in OF_TAG for word in one.words]]
        numbers = np.array(
            [
                (OF_TAG[word.tag], word.end - word.start, count(one.text[word.start : word.end]))
                for word in words
            ],
            dtype=int,
        ).reshape(-1, 3)
        first, last = places.T
        window = first // self.room
        for name, lost in {
            "untokenised": first == NO_TOKEN,
            "shared": first == SHARED,
            "cut": (first >= 0) & (window != last // self.room),
            "first": (first >= 0) & (window == last // self.room) & (first % self.room + self.bos == 0),
        }.items():
            self.left_out[name] += int(lost.sum())
            window = np.where(lost, -1, window)
        for number, start in enumerate(range(0, len(ids), self.room)):
            here = window == number
            shift = self.bos - start
            self.rows.append(ids[start : start + self.room])
            self.words.append(Words(first[here] + shift, last[here] + shift, *numbers[here].T))
            self.text.append(at)


def _groups(text: Sequence[int], labels: np.ndarray | None, notes: list[str]) -> np.ndarray | None:
    """Windows of one text are one observation, but where there is no other text."""
    if len(set(text)) == len(text) and labels is None:
        return None
    if len(set(text)) == 1:
        notes.append(
            f"There is one text, in {len(text)} windows of what the context holds: each counts as one "
            "observation, so that intervals hold for windows of this text, and not for other texts."
        )
        return None
    return np.array(text) if labels is None else labels[np.array(text)]


def _check(found: TaggedTexts) -> None:
    """Refuses a single short text, and words of which no token is."""
    if len(found.rows) < 2:
        raise InputError("there is only 1 text, at least 2 are needed; give more texts")
    lost = found.left_out
    if not found.n_words and lost.total():
        raise InputError(
            f"none of the {lost.total()} tagged words can be measured: {lost['shared']} share a token with "
            f"another word, {lost['untokenised']} have none, {lost['first']} are first: check the tagger's "
            "characters"
        )


def texts_by_class(found: TaggedTexts) -> dict[str, int]:
    """By class, how many observations have a word of it that is measured."""
    groups = np.arange(len(found.rows)) if found.groups is None else found.groups
    return {
        name: len({group for group, one in zip(groups.tolist(), found.words, strict=True) if at in one.kind})
        for at, name in enumerate(CLASSES)
    }
