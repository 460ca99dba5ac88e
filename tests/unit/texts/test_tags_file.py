"""The part-of-speech tags of 60 passages: every character tagged once, by the 17 Universal tags.

Conventions where the guidelines leave room: a preposition before a gerund is SCONJ, as "when" and "where"
are before an adverbial clause (ADV where they ask or relate); a past participle before its noun is ADJ;
existential "be" and "have to" are VERB; in code, names and keywords are X and operators SYM.
"""

import collections
from pathlib import Path

import pytest

from laminar_lens.texts.passages import FILE, KINDS, SUBJECTS, passages

UNIVERSAL = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X"
TAGS = set(UNIVERSAL.split())
FEWER = {"recipe", "code", "list", "chat"}  # three passages each; of every other kind, four
FIXED = {
    "DET": "the every",
    "CCONJ": "and or but yet",
    "PRON": "i you he she it we they me him us them my your his its our their her who someone nothing",
    "SCONJ": "because although unless whether if",
    "PART": "not n't",
    "AUX": "would could must shall should is are was were been",
    "ADP": "from of with into during at",
}  # fmt: skip
ALSO = {
    *(("and", "X"), ("from", "X"), ("not", "X"), ("if", "X")),  # keywords of code
    *((word, "VERB") for word in ("is", "are", "was", "were")),  # there is
    *((word, "SCONJ") for word in ("of", "with")),  # before a gerund
}
Tagged = dict[int, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def tagged() -> Tagged:
    """By line number of passages.txt: the words and their tags."""
    lines = Path(FILE).with_name("passages_tags.txt").read_bytes().decode()
    assert lines.endswith("\n")
    assert "\r" not in lines
    rows = [line.split("\t") for line in lines.removesuffix("\n").split("\n")]
    numbers = [int(number) for number, _ in rows]
    assert numbers == sorted(set(numbers))
    pairs = [[item.rpartition("_") for item in items.split(" ")] for _, items in rows]
    return {n: [(word, tag) for word, _, tag in items] for n, items in zip(numbers, pairs, strict=True)}


def test_60_passages_of_all_kinds(tagged: Tagged) -> None:
    assert len(tagged) == 60
    counts = collections.Counter(KINDS[(number - 1) // SUBJECTS] for number in tagged)
    assert counts == {kind: 3 if kind in FEWER else 4 for kind in KINDS}


def test_every_character_in_its_order_once(tagged: Tagged) -> None:
    for number, items in tagged.items():
        assert "".join(word for word, _ in items) == "".join(passages()[number - 1].split()), number
        assert all(word for word, _ in items), number


def test_the_17_tags_and_no_other(tagged: Tagged) -> None:
    assert {tag for items in tagged.values() for _, tag in items} == TAGS


def test_words_are_apart_from_marks(tagged: Tagged) -> None:
    """What holds no letter or digit is a mark or a symbol; a word ends in no closing mark."""
    others = {("'", "PART"), ("&", "CCONJ")}
    for number, items in tagged.items():
        for word, tag in items:
            mark = not any(map(str.isalnum, word))
            assert mark == (tag in {"PUNCT", "SYM"}) or (word, tag) in others, (number, word, tag)
            assert mark or word[-1] not in ',;:!?)]"', (number, word)


@pytest.mark.parametrize(("tag", "words"), FIXED.items())
def test_function_words_have_their_tags(tagged: Tagged, tag: str, words: str) -> None:
    found = [
        (word.lower(), given, number)
        for number, items in tagged.items()
        for word, given in items
        if word.lower() in words.split()
    ]
    assert {word for word, _, _ in found} == set(words.split())
    assert not [item for item in found if item[1] != tag and item[:2] not in ALSO]


def test_contractions_are_split(tagged: Tagged) -> None:
    allowed = {"n't": {"PART"}, "'s": {"PART", "AUX", "VERB"}, "'ll": {"AUX"}, "'d": {"AUX"}, "'re": {"AUX"}}
    for items in tagged.values():
        for word, tag in items:
            assert tag in allowed.get(word, TAGS)
            assert not word.endswith(("n't", "'ll", "'re", "'ve", "'m", "'d")) or len(word) <= 3, word


def test_every_passage_has_its_share_of_open_classes(tagged: Tagged) -> None:
    least = {"NOUN": 18, "VERB": 9, "ADJ": 4, "PUNCT": 14}
    for number, items in tagged.items():
        counts = collections.Counter(tag for _, tag in items)
        assert all(counts[tag] >= n for tag, n in least.items()), (number, counts)
        assert counts["NOUN"] + counts["VERB"] > 0.15 * len(items), number  # least in code


def test_some_hold_contractions_hyphens_and_letters_beyond_ascii(tagged: Tagged) -> None:
    words = {number: {word for word, _ in items} for number, items in tagged.items()}
    assert sum("n't" in found or "'s" in found for found in words.values()) >= 20
    assert sum("-" in found for found in words.values()) >= 20
    assert sum(any(c.isalpha() and not c.isascii() for c in "".join(found)) for found in words.values()) >= 5
