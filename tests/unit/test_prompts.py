"""The 54 sentences, files of prompts, and targets found among tokens."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from laminar_lens.errors import InputError
from laminar_lens.models.names import NOVELLA
from laminar_lens.prompts import (
    Target,
    check_prompts,
    find_target,
    find_targets,
    her_prompts,
    read_prompts,
    token_spans,
)

GPT2_WORDS = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+| ?\d+| ?[^\sA-Za-z\d]+|\s+")


@pytest.fixture(scope="module")
def tokenizer(tiny_gpt2: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_gpt2)


class Slow:
    """A tokenizer that gives no offsets; tokens are two characters each."""

    is_fast = False

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": [hash_of(text[k : k + 2]) for k in range(0, len(text), 2)]}

    def decode(self, ids: list[int], clean_up_tokenization_spaces: bool) -> str:
        return "".join(chr(i >> 8) + (chr(i & 255) if i & 255 else "") for i in ids)


def hash_of(piece: str) -> int:
    return (ord(piece[0]) << 8) | (ord(piece[1]) if len(piece) > 1 else 0)


def check_sentences(tokens: list[list[str]]) -> None:
    assert all(5 <= len(row) <= 24 for row in tokens)
    assert all(row.count(" her") == 1 for row in tokens)
    places = Counter(row.index(" her") for row in tokens)
    assert min(places) >= 2
    assert max(places.values()) <= 54 // 3
    assert len(places) >= 6


class TestHerPrompts:
    def test_fifty_four_ascii_sentences_none_repeated(self) -> None:
        prompts = her_prompts()
        assert len(prompts) == len(set(prompts)) == 54
        assert all(p.isascii() and p.endswith(".") and p[0].isupper() and p == p.strip() for p in prompts)
        assert all(len(re.findall(r" her\b", p)) == 1 == p.lower().count(" her") for p in prompts)

    def test_words_of_gpt2_s_pretokenizer(self) -> None:
        check_sentences([GPT2_WORDS.findall(p) for p in her_prompts()])

    def test_tokens_of_novella(self) -> None:
        if not (NOVELLA / "tokenizer.json").is_file():
            pytest.skip("novella's tokenizer is not there")
        from transformers import AutoTokenizer

        novella = AutoTokenizer.from_pretrained(NOVELLA)
        tokens = [[novella.decode([i]) for i in token_spans(novella, p)[0]] for p in her_prompts()]
        check_sentences(tokens)
        assert all(len(find_target(novella, p, " her")) == 1 for p in her_prompts())


class TestReadPrompts:
    def test_lines_as_written(self, tmp_path: Path) -> None:
        file = tmp_path / "p.txt"
        file.write_bytes("\ufeffOne  two.\r\n  Zwölf\u2028Boxkämpfer\n".encode())
        assert read_prompts(file) == ("One  two.", "  Zwölf\u2028Boxkämpfer")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b" \n\n", "is empty"),
            (b"One.\n\nTwo.\n", "blank prompt in line 2"),
            (b"One.\n\n", "blank prompt in line 2"),
            (b"caf\xe9\n", "not UTF-8 at byte 3"),
        ],
    )
    def test_what_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        file = tmp_path / "p.txt"
        file.write_bytes(content)
        with pytest.raises(InputError, match=message) as error:
            read_prompts(file)
        assert "\n" not in str(error.value)
        assert "p.txt" in str(error.value)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            read_prompts(tmp_path / "none.txt")
        with pytest.raises(InputError, match="cannot be read"):
            read_prompts(tmp_path)


class TestCheckPrompts:
    def test_one_string_is_one_prompt(self) -> None:
        assert check_prompts("One.") == ("One.",)
        assert check_prompts(["One.", "Two."]) == ("One.", "Two.")

    @pytest.mark.parametrize(
        ("prompts", "message"),
        [
            ([], "empty"),
            (["a", " "], "prompt 1 is blank"),
            ([3], "prompt 0 is an int"),
            (7, "expected a sequence"),
        ],
    )
    def test_what_is_refused(self, prompts: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            check_prompts(prompts)


class TestFindTarget:
    def test_plain_text(self, tokenizer: Any) -> None:
        text = "They admired her very much."
        ids, spans = token_spans(tokenizer, text)
        (found,) = find_target(tokenizer, text, " her")
        assert tokenizer.decode(ids[found.start : found.end]) == " her"
        assert text[spans[found.start][0] : spans[found.end - 1][1]] == " her"

    def test_several_tokens_and_offsets_past_other_alphabets(self, tokenizer: Any) -> None:
        text = "Zoë 東京 admired her."
        (found,) = find_target(tokenizer, text, " admired her")
        assert found.end - found.start >= 2
        assert tokenizer.decode(token_spans(tokenizer, text)[0][found.start : found.end]) == " admired her"

    def test_only_whole_words(self, tokenizer: Any) -> None:
        text = "Look here and there, hers is not her share."
        (found,) = find_target(tokenizer, text, " her")
        assert text[token_spans(tokenizer, text)[1][found.end][0] :].strip().startswith("share")
        with pytest.raises(InputError, match="does not occur"):
            find_target(tokenizer, "Look here.", " her")

    def test_several_occurrences_are_a_choice(self, tokenizer: Any) -> None:
        text = "He saw her and called her."
        both = find_target(tokenizer, text, " her", occurrence="all")
        assert len(both) == 2
        assert find_target(tokenizer, text, " her", occurrence="first") == both[:1]
        assert find_target(tokenizer, text, " her", occurrence="last") == both[1:]
        with pytest.raises(InputError, match="occurs 2 times"):
            find_target(tokenizer, text, " her")

    def test_regex_takes_the_tokens_it_touches(self, tokenizer: Any) -> None:
        text = "She promoted her."
        (found,) = find_target(tokenizer, text, r"omot\w+", regex=True)
        ids, spans = token_spans(tokenizer, text)
        assert spans[found.start][0] <= 6 < spans[found.start][1]
        assert spans[found.end - 1][0] < 12 <= spans[found.end - 1][1]
        assert len(ids) >= found.end

    def test_several_matches_in_one_token_are_one_occurrence(self, tokenizer: Any) -> None:
        text = "They admired her greatly."
        found = find_target(tokenizer, text, "[a-z]", occurrence="all", regex=True)
        assert len(found) == len(set(found)) > 3
        letters = find_target(tokenizer, "I saw her.", "[her]", regex=True)
        assert letters == find_target(tokenizer, "I saw her.", " her")

    def test_plain_text_must_not_cut_a_token(self) -> None:
        with pytest.raises(InputError, match="cuts the tokens"):
            find_target(Slow(), "abc-def", "-")
        assert find_target(Slow(), "abc-def", "-", regex=True) == [Target(1, 2)]

    def test_a_slow_tokenizer_is_asked_by_prefixes(self) -> None:
        assert token_spans(Slow(), "abcde")[1] == [(0, 2), (2, 4), (4, 5)]
        assert find_target(Slow(), "ab cd ef", " ef", regex=True) == [Target(3, 4)]

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"target": ""}, "blank"),
            ({"target": " "}, "blank"),
            ({"target": r"\s", "regex": True}, "only white space"),
            ({"target": " her", "occurrence": "some"}, "error, first, last, all"),
            ({"target": "(", "regex": True}, "not a regular expression"),
            ({"target": "x*", "regex": True}, "matches nothing"),
        ],
    )
    def test_arguments(self, tokenizer: Any, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message) as error:
            find_target(tokenizer, "They saw her.", **kwargs)
        assert "\n" not in str(error.value)


class TestFindTargets:
    def test_absent_in_some_is_counted_and_named(self, tokenizer: Any) -> None:
        with pytest.raises(InputError, match=r"absent in 2 of 3 prompts \(index 0, 2; .*He left"):
            find_targets(tokenizer, ["He left.", "I saw her.", "Rain."], " her")

    def test_absent_in_all(self, tokenizer: Any) -> None:
        with pytest.raises(InputError, match="in none of the 2 prompts"):
            find_targets(tokenizer, ["He left.", "Rain."], " her")

    def test_one_list_a_prompt(self, tokenizer: Any) -> None:
        found = find_targets(tokenizer, ["I saw her.", "He met her and her dog."], " her", occurrence="all")
        assert list(map(len, found)) == [1, 2]
