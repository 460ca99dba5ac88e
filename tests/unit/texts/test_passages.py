"""The 480 passages: as many, as long and as different as is said of them."""

import collections
import re
import unicodedata

import pytest

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.texts.passages import FILE, KINDS, N_PASSAGES, SUBJECTS, check_number, passages

SHARED = 8  # words in a row that no two passages have in common
WORDS = re.compile(r"[a-z0-9']+")


def test_16_kinds_of_30_subjects() -> None:
    assert len(passages()) == N_PASSAGES == len(KINDS) * SUBJECTS == 480
    assert len(set(KINDS)) == 16
    assert ll.passages() is passages()


def test_each_is_one_line_of_at_least_110_words() -> None:
    raw = FILE.read_bytes()
    assert raw.endswith(b"\n")
    assert not {b"\r", b"\t", b"\0"} & {raw[k : k + 1] for k in range(len(raw))}
    assert raw.decode().removesuffix("\n").split("\n") == list(passages())
    counts = [len(passage.split()) for passage in passages()]
    assert min(counts) >= 110
    assert max(counts) <= 170
    assert len(set(counts)) > 40  # of varied length
    assert all(passage == passage.strip() == unicodedata.normalize("NFC", passage) for passage in passages())


def test_no_eight_words_in_a_row_stand_twice() -> None:
    seen: dict[tuple[str, ...], int] = {}
    for number, passage in enumerate(passages(), start=1):
        words = WORDS.findall(passage.lower())
        for at in range(len(words) - SHARED + 1):
            row = tuple(words[at : at + SHARED])
            assert row not in seen, f"lines {seen[row]} and {number} share {' '.join(row)!r}"
            seen[row] = number


def test_openings_vary() -> None:
    first = collections.Counter(passage.split()[0] for passage in passages())
    assert len(first) > 400
    assert max(first.values()) <= 10
    assert len({tuple(passage.split()[:3]) for passage in passages()}) == N_PASSAGES
    marks = collections.Counter(passage[0] for passage in passages())
    assert sum(n for mark, n in marks.items() if not mark.isalpha()) >= 50  # digits, quotes, code


def test_every_kind_looks_like_its_own() -> None:
    """One sign of each that can be told: the order of the kinds in the file is that of KINDS."""
    signs = {
        "dialogue": r"[\"—?]|[A-Z]{3,}:",
        "recipe": r"\d+ ?(g|ml|kg|tbsp|tsp|litre)",
        "law": r"(?i)\b(shall|must|may|section|clause|article|licen[cs]e|party|tribunal)\b",
        "code": r"#|//|/\*|--|;|\(\*",
        "list": r"[;•—–]|\d[).:]",
    }
    for kind, sign in signs.items():
        first = KINDS.index(kind) * SUBJECTS
        assert all(re.search(sign, passage) for passage in passages()[first : first + SUBJECTS]), kind


def test_no_address_that_might_exist() -> None:
    for passage in passages():
        assert not re.search(r"https?:|www\.|\w@\w+\.\w|\b\w+\.(com|org|net)\b", passage)


@pytest.mark.parametrize(
    ("n", "said"), [(481, r"481, but there are 480 .* texts='sampled'"), (1, "at least 2")]
)
def test_a_number_that_there_is_not(n: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_number(n)
    assert check_number(480) == 480
