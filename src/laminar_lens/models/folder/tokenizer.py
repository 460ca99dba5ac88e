"""A folder's tokenizer files: their shape, ids within the vocabulary, settings that native code survives."""

import base64
import binascii
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from laminar_lens.models.folder.files import (
    MOST_BYTES,
    MOST_VOCABULARY_BYTES,
    FolderError,
    is_finite,
    is_whole,
    present,
    quoted,
    read_json,
    shown,
    size_bytes,
)

TOKENIZERS = ("tokenizer.json", "*.model", "vocab.txt", "*.tiktoken", "tekken.json", "tokenization_*.py")
"""Any one of these is a tokenizer, and so are vocab.json and merges.txt together."""

_PLAIN = ("merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "tekken.json", "chat_template.jinja")
_USED = ("bos_token", "eos_token", "unk_token")
_LONGEST = 2**24  # tokens that padding may fill a text up to


def check_tokenizer(folder: Path, vocabulary: int | None) -> None:
    """Refuses a folder without a tokenizer, or with one that cannot be used with `vocabulary` tokens.

    An added token may lie beyond the vocabulary (Gemma 3's image token does): it is no harm until a text
    holds it. One that is put in by itself, as BOS or for an unknown letter, may not.

    Raises:
        FolderError: with the file, the value, and what was expected.
    """
    pair = all(present(folder / file) for file in ("vocab.json", "merges.txt"))
    if not pair and not any(present(file) for pattern in TOKENIZERS for file in _named(folder, pattern)):
        raise FolderError("it has no tokenizer (tokenizer.json is missing)")
    for name in _PLAIN:
        if present(folder / name) and size_bytes(folder / name) > MOST_VOCABULARY_BYTES:
            raise FolderError(f"{name} is too long; expected at most {MOST_VOCABULARY_BYTES:,} bytes")
    used = _named_tokens(folder)
    if present(folder / "tokenizer.json"):
        content = read_json(folder / "tokenizer.json", MOST_VOCABULARY_BYTES)
        _check_vocabulary(content.get("model"), vocabulary)
        _check_added(content.get("added_tokens", []), vocabulary, used)
        _check_settings(content)
    for name in ("vocab.json", "added_tokens.json"):
        if present(folder / name):
            table = read_json(folder / name, MOST_VOCABULARY_BYTES)
            beyond = vocabulary if name == "vocab.json" else None
            _check_ids(f"{name}: token", table.items(), beyond)


def _named(folder: Path, pattern: str) -> Iterable[Path]:
    """The files of a pattern; of a plain name the file, also where it is a link that leads nowhere."""
    return folder.glob(pattern) if "*" in pattern else (folder / pattern,)


def _named_tokens(folder: Path) -> dict[str, str]:
    """The tokens that are put into texts, and what for: {content: "bos_token"}."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        content = read_json(folder / name, MOST_BYTES) if present(folder / name) else {}
        for key, value in content.items():
            if key.endswith("_token") and not isinstance(value, str | dict | bool | None):
                raise FolderError(f"{name}: {key} is {shown(value)}; expected a text or an object")
        for key in _USED:
            value = content.get(key)
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                found[text] = key
        _check_decoder(name, content.get("added_tokens_decoder"))
        longest = content.get("model_max_length")
        if longest is not None and not (is_finite(longest) and longest >= 1):
            raise FolderError(f"{name}: model_max_length is {shown(longest)}; expected a number of 1 or more")
    return found


def _check_decoder(name: str, table: object) -> None:
    if table is None:
        return
    if not isinstance(table, dict):
        raise FolderError(f"{name}: added_tokens_decoder is {shown(table)}; expected an object")
    for key, value in table.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10 and isinstance(value, dict)):
            raise FolderError(
                f"{name}: added_tokens_decoder has {shown(key)}: {shown(value)}; expected ids with objects"
            )


def _check_vocabulary(model: object, vocabulary: int | None) -> None:
    """Checks the "model" of tokenizer.json."""
    if not isinstance(model, dict):
        raise FolderError(f"tokenizer.json: model is {shown(model)}; expected an object")
    table = model.get("vocab")
    if isinstance(table, dict):
        _check_ids("tokenizer.json: token", table.items(), vocabulary)
    elif not isinstance(table, list):
        raise FolderError(f"tokenizer.json: model.vocab is {shown(table)}; expected an object or a list")
    elif vocabulary is not None and len(table) > vocabulary:
        raise FolderError(
            f"tokenizer.json has {len(table):,} tokens, but the model's vocabulary {vocabulary:,}"
        )
    if not table:
        raise FolderError("tokenizer.json: model.vocab is empty; expected tokens with their ids")
    prefix = model.get("continuing_subword_prefix")
    if prefix is not None and not isinstance(prefix, str):
        raise FolderError(f"tokenizer.json: continuing_subword_prefix is {shown(prefix)}; expected a text")


def _check_ids(what: str, items: Iterable[tuple[str, Any]], vocabulary: int | None) -> None:
    """Refuses ids that are no whole numbers, or that lie beyond the vocabulary."""
    for token, number in items:
        if not is_whole(number) or number >= (2**32 if vocabulary is None else vocabulary):
            last = "" if vocabulary is None else f" from 0 to {vocabulary - 1}, the model's vocabulary"
            raise FolderError(f"{what} {quoted(token)} has id {shown(number)}; expected a whole number{last}")


def _check_added(tokens: object, vocabulary: int | None, used: dict[str, str]) -> None:
    if not isinstance(tokens, list):
        raise FolderError(f"tokenizer.json: added_tokens is {shown(tokens)}; expected a list")
    for token in tokens:
        text = token.get("content") if isinstance(token, dict) else None
        if not isinstance(text, str):
            raise FolderError(
                f"tokenizer.json: an added token is {shown(token)}; expected its id and content"
            )
        role = used.get(text)
        what = f"tokenizer.json: {role}" if role else "tokenizer.json: added token"
        _check_ids(what, [(text, token.get("id"))], vocabulary if role else None)


def _check_settings(content: dict[str, Any]) -> None:
    """Refuses what makes the tokenizer's native code panic, or end the process for want of memory."""
    for name, check in (("padding", _check_padding), ("truncation", _check_truncation)):
        value = content.get(name)
        if value is not None and not isinstance(value, dict):
            raise FolderError(f"tokenizer.json: {name} is {shown(value)}; expected an object or null")
        if value:
            check(value)
    for part in _parts(content.get("normalizer")):
        if part.get("type") == "Precompiled":
            _check_charsmap(part.get("precompiled_charsmap"))


def _check_padding(padding: dict[str, Any]) -> None:
    strategy = padding.get("strategy")
    fixed = strategy.get("Fixed", 0) if isinstance(strategy, dict) else 0
    for name, length in (("Fixed", fixed), ("pad_to_multiple_of", padding.get("pad_to_multiple_of") or 0)):
        if not is_whole(length) or length > _LONGEST:
            raise FolderError(
                f"tokenizer.json: padding {name} is {shown(length)}; expected a number up to {_LONGEST:,}"
            )


def _check_truncation(truncation: dict[str, Any]) -> None:
    stride, longest = truncation.get("stride", 0), truncation.get("max_length")
    if not is_whole(longest) or not is_whole(stride) or 0 < stride >= longest:
        raise FolderError(
            f"tokenizer.json: truncation has stride {shown(stride)} and max_length {shown(longest)}; "
            "expected whole numbers, the stride the smaller"
        )


def _parts(value: object) -> Iterator[dict[str, Any]]:
    """The objects in a value, itself included; it is at most DEEPEST levels deep."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _parts(inner)


def _check_charsmap(text: Any) -> None:
    """A SentencePiece table of letters: four bytes with the length of its trie, the trie, and the texts.

    The native code allocates what the length says, and the process ends where that is not there.
    """
    try:
        blob = base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        blob = b""
    length = int.from_bytes(blob[:4], "little")
    if len(blob) < 4 or length > len(blob) - 4 or length % 4:
        raise FolderError(
            f"tokenizer.json: precompiled_charsmap of {len(blob):,} bytes claims a table of {length:,}; "
            "expected one that lies in it"
        )
