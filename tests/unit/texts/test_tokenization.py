"""One tokenization: whatever a tokenizer.json holds, the checks and the model see the same ids."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import laminar_lens as ll
from laminar_lens.cli import preflight
from laminar_lens.cli.folder_tokenizer import FileTokenizer, folder_tokenizer
from laminar_lens.cli.requests import ModelChoice
from laminar_lens.errors import InputError
from laminar_lens.models.names import NOVELLA
from laminar_lens.models.tokens import token_rows
from laminar_lens.prompts import find_target, her_prompts, token_spans
from laminar_lens.texts.tokenization import token_ids, token_offsets

PADDING = {
    "strategy": {"Fixed": 48},
    "direction": "Right",
    "pad_to_multiple_of": None,
    "pad_id": 0,
    "pad_type_id": 0,
    "pad_token": "<|endoftext|>",
}
TRUNCATION = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
ADDS_BOS = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
}
PREFIX_SPACE = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
LOWERCASE = {"type": "Lowercase"}

SAVED: dict[str, dict[str, Any]] = {
    "padding": {"padding": PADDING},
    "left padding": {"padding": PADDING | {"direction": "Left"}},
    "truncation": {"truncation": TRUNCATION},
    "both": {"padding": PADDING, "truncation": TRUNCATION},
    "a BOS": {"post_processor": ADDS_BOS},
    "a prefix space": {"pre_tokenizer": PREFIX_SPACE},
    "a normaliser": {"normalizer": LOWERCASE},
    "all": {
        "padding": PADDING,
        "truncation": TRUNCATION,
        "post_processor": ADDS_BOS,
        "pre_tokenizer": PREFIX_SPACE,
        "normalizer": LOWERCASE,
    },
}
CLASSES = (
    "TokenizersBackend",
    "PreTrainedTokenizerFast",
    "GPT2TokenizerFast",
    "GPTNeoXTokenizerFast",
    "Qwen2Tokenizer",
)
TEXTS = (
    "They promoted her last spring.",
    " She gave HER the book, and he thanked her for it.",
    "Zwölf Boxkämpfer\n\n  jagen  \t e\u0301 ﬁ 12345",
    "The end.<|endoftext|>Another.",
    "<pad> of a text",
)


def saved(tiny: Path, folder: Path, changes: dict[str, Any], **config: Any) -> Path:
    """The folder of a model whose tokenizer.json holds something else."""
    shutil.copytree(tiny, folder)
    for name, new in (("tokenizer.json", changes), ("tokenizer_config.json", config)):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**content, **new}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("what", SAVED)
def test_the_checks_and_the_model_see_the_same_tokens(
    tmp_path: Path, tiny_gpt2: Path, what: str, kind: str
) -> None:
    folder = saved(tiny_gpt2, tmp_path / "model", SAVED[what], tokenizer_class=kind)
    before = folder_tokenizer(folder)
    model = ll.load_model(folder)
    rows, _ = token_rows(model, TEXTS)
    assert token_ids(before, TEXTS) == rows
    for text, row in zip(TEXTS, rows, strict=True):
        assert token_spans(before, text) == token_spans(model.tokenizer, text)
        assert token_spans(before, text)[0] == row
        assert preflight._lengths(before, [text]) == [len(row)]


@pytest.mark.parametrize("what", SAVED)
def test_what_is_saved_changes_no_token(tmp_path: Path, tiny_gpt2: Path, what: str) -> None:
    """Of padding, truncation and a BOS nothing is left; the rest is as the file says."""
    from tokenizers import Tokenizer

    folder = saved(tiny_gpt2, tmp_path / "model", SAVED[what])
    plain = {k: v for k, v in SAVED[what].items() if k in ("pre_tokenizer", "normalizer")}
    expected = Tokenizer.from_file(str(saved(tiny_gpt2, tmp_path / "plain", plain) / "tokenizer.json"))
    made = ll.load_model(folder).tokenizer
    for tokenizer in (made, folder_tokenizer(folder), AutoTokenizer.from_pretrained(folder)):
        assert token_ids(tokenizer, TEXTS) == [
            expected.encode(text, add_special_tokens=False).ids for text in TEXTS
        ]


def test_a_word_is_found_and_counted_under_saved_padding(tmp_path: Path, tiny_gpt2: Path) -> None:
    """A prompt of 12 tokens "had" 48, and " her" matched "only white space"."""
    folder = saved(tiny_gpt2, tmp_path / "model", {"padding": PADDING})
    choice = ModelChoice(str(folder))
    text = "They promoted her last spring."
    tokenizer = preflight._tokenizer(choice)
    plain = preflight._tokenizer(ModelChoice(str(tiny_gpt2)))
    assert find_target(tokenizer, text, " her") == find_target(plain, text, " her")
    assert preflight._lengths(tokenizer, [text]) == preflight._lengths(plain, [text]) != [48]


def test_a_users_tokenizer_stays_as_it_was(tmp_path: Path, tiny_gpt2: Path) -> None:
    folder = saved(tiny_gpt2, tmp_path / "model", {"padding": PADDING, "truncation": TRUNCATION})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    backend = tokenizer.backend_tokenizer
    backend.enable_padding(length=48, pad_token="<|endoftext|>", direction="left")
    backend.enable_truncation(max_length=3)
    held = backend.padding, backend.truncation
    assert None not in held
    token_ids(tokenizer, TEXTS)
    token_spans(tokenizer, TEXTS[0])
    assert (backend.padding, backend.truncation) == held
    with pytest.raises(InputError, match="fails at the text 3"):
        token_ids(tokenizer, [3])  # type: ignore[list-item]
    assert (backend.padding, backend.truncation) == held


def test_novella_as_its_file_says() -> None:
    """The one folder that is read without Transformers though its class builds its own tokenizer."""
    if not (NOVELLA / "tokenizer.json").is_file():
        pytest.skip("novella's tokenizer is not there")
    theirs = AutoTokenizer.from_pretrained(NOVELLA)
    ours = folder_tokenizer(NOVELLA)
    assert isinstance(ours, FileTokenizer)
    texts = (*her_prompts(), *TEXTS)
    assert token_ids(ours, texts) == token_ids(theirs, texts)
    for text in texts:
        assert token_spans(ours, text) == token_spans(theirs, text)


def test_a_prefix_under_saved_truncation(tmp_path: Path, tiny_gpt2: Path) -> None:
    folder = saved(tiny_gpt2, tmp_path / "model", {"padding": PADDING, "truncation": TRUNCATION})
    text = "They promoted her last spring."
    found = ll.prefix(text).tokens_before(ll.load_model(folder))
    assert found == token_rows(ll.load_model(tiny_gpt2), text)[0][0]


class PanicException(BaseException):
    """As native code raises it through pyo3: no Exception."""


class Panics:
    """A tokenizer whose native code panics at one letter."""

    is_fast = True

    def __call__(self, texts: Any, **_: Any) -> dict[str, Any]:
        if "\u0e33" in "".join(texts):
            raise PanicException("index out of bounds: the len is 2\nbut the index is 3")
        return {"input_ids": [[1]] * len(texts)}


@pytest.mark.parametrize("texts", [["\u0e33"], ["fine", "\u0e33"]])
def test_a_panic_of_native_code_is_one_line(texts: list[str]) -> None:
    with pytest.raises(InputError, match=r"tokenizer fails at .*PanicException: index out") as caught:
        token_ids(Panics(), texts)
    assert "\n" not in str(caught.value)
    assert token_ids(Panics(), ["fine"]) == [[1]]


def test_a_panic_at_a_text_of_offsets_is_one_line() -> None:
    with pytest.raises(InputError, match=r"fails at the text .*PanicException"):
        token_offsets(Panics(), "\u0e33")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_being_stopped_in_a_tokenizer_stays_that(stop: type[BaseException]) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise stop

    with pytest.raises(stop):
        token_ids(stopped, ["a"])


def test_a_tokenizer_that_panics_while_it_is_read_is_left_to_the_loading(
    tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panics(*_: Any, **__: Any) -> None:
        raise PanicException("no such normalizer")

    monkeypatch.setattr(preflight, "folder_tokenizer", panics)
    choice = ModelChoice(str(tiny_gpt2))
    assert preflight._tokenizer(choice) is None
