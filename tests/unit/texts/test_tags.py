"""Tagged passages: the shipped file is what it should be, and a wrong file is refused with its line."""

from collections import Counter
from pathlib import Path

import pytest

from laminar_lens.errors import InputError
from laminar_lens.texts.passages import KINDS, SUBJECTS, passages
from laminar_lens.texts.tags import FILE, UNIVERSAL, read_tags, tagged_passages

TEXTS = ("I don't know — yet.", "猫_です 👍 well-known!")
RIGHT = (
    "1\tI_PRON do_AUX n't_PART know_VERB —_PUNCT yet_ADV ._PUNCT\n"
    "2\t猫_です_NOUN 👍_SYM well_ADV -_PUNCT known_ADJ !_PUNCT\n"
)


def file(folder: Path, text: str) -> Path:
    path = folder / "tags.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_words_stand_where_they_are(tmp_path: Path) -> None:
    first, second = read_tags(file(tmp_path, RIGHT), TEXTS)
    said = [(first.text[one.start : one.end], one.tag) for one in first.words]
    assert said == [
        ("I", "PRON"),
        ("do", "AUX"),
        ("n't", "PART"),
        ("know", "VERB"),
        ("—", "PUNCT"),
        ("yet", "ADV"),
        (".", "PUNCT"),
    ]
    assert second.words[0] == (0, 4, "NOUN"), "an underscore is no end of a word, but for the last one"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3\tI_PRON", "line 1 begins with '3'"),
        ("x\tI_PRON", "line 1 begins with 'x'"),
        (RIGHT + RIGHT.split("\n")[0], "line 3: text 1 is there twice"),
        ("1\tI_PRON dont_AUX", "'dont' is not what the text says at \"don't know"),
        ("1\tI_PRON do_AUX n't_PART", "ends before its text does, at 'know — yet.'"),
        (RIGHT.replace("know_VERB", "know_VB"), "'know_VB' is no word_TAG"),
        (RIGHT.replace("know_VERB", "know"), "'know' is no word_TAG"),
        (RIGHT.replace(" know", "  know"), "'' is no word_TAG"),
        ("", "line|is empty|begins"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    if not text:
        assert read_tags(file(tmp_path, text), TEXTS) == ()
        return
    with pytest.raises(InputError) as raised:
        read_tags(file(tmp_path, text), TEXTS)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_shipped_tags_cover_sixty_passages_of_every_kind() -> None:
    found = tagged_passages()
    assert len(found) == 60
    places = [passages().index(one.text) for one in found]
    by_kind = Counter(KINDS[at // SUBJECTS] for at in places)
    assert set(by_kind) == set(KINDS)
    assert max(by_kind.values()) - min(by_kind.values()) <= 2
    for one in found:
        inside = "".join(one.text[word.start : word.end] for word in one.words)
        assert inside == "".join(one.text.split())
        assert {word.tag for word in one.words} <= set(UNIVERSAL)
    assert FILE.is_file()
