"""Files of texts: one a line, or records with a field of text in JSON, Parquet or a data set's folder.

The field is "text", or what follows the path after a colon: "reviews.jsonl:body". Any file may be packed as
.gz. Blank lines of a text file are refused; blank records, which data sets are full of, are left out and
counted.
"""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from laminar_lens.errors import InputError, a_kind
from laminar_lens.texts import data_sets, records
from laminar_lens.texts.reading import MARK, PACKED, read_bytes, read_text

RECORDS = (".json", ".jsonl", ".parquet")


class Found(NamedTuple):
    """The texts of a file, and how many of its records were blank."""

    texts: tuple[str, ...]
    blank: int

    @property
    def note(self) -> list[str]:
        """What a reader must know of them."""
        total = self.blank + len(self.texts)
        return [f"{self.blank:,} of {total:,} texts are blank: left out."] if self.blank else []


def read_texts(given: object, what: str = "text file", noun: str = "text") -> Found:
    """All texts of a file.

    Args:
        given: its path, with ":FIELD" behind it where records have their text in another field than "text".
        what: names it in errors.
        noun: names a text in errors.

    Raises:
        InputError: as `read_text`; a blank line; no JSON or Parquet; a field that is not there, or holds
            something else than text (the fields there are, or the line, are named); a library that is
            missing; no text at all.
    """
    if not isinstance(given, str | os.PathLike):
        read_bytes(given, what)  # refuses it
    path, field = place(given)
    name = f"{what} {path!r}"
    kind = kind_of(path)
    if kind is None:
        return Found(_lines(read_text(path, what), name, noun), 0)
    place_of = records.Place(name, path, field)
    found = [one for one in _values(kind, path, what, place_of) if one is None or isinstance(one, str)]
    texts = tuple(one for one in found if one is not None and one.strip())
    if not texts:
        raise InputError(f"{name} is empty: no record of it has a {noun}")
    return Found(texts, len(found) - len(texts))


def read_groups(path: str | os.PathLike[str], what: str = "prompts file") -> Mapping[str, Any] | None:
    """Texts by the name of their group, of a .json file that is one object of lists; None of any other.

    Raises:
        InputError: a group that is there twice, or, beside groups, something that is no list.
    """
    if kind_of(os.fspath(path)) != ".json":
        return None
    twice: list[str] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        twice.extend(name for name in made if sum(name == one for one, _ in pairs) > 1)
        return made

    try:
        found = json.loads(read_text(path, what), object_pairs_hook=object_of)
    except (ValueError, RecursionError):  # `read_texts` says what is wrong
        return None
    lists = [name for name, one in found.items() if isinstance(one, list)] if isinstance(found, dict) else []
    if not lists:
        return None
    if twice:
        raise InputError(f"{what} {os.fspath(path)!r} has group {twice[0]!r} twice: put its texts together")
    for name, texts in found.items():
        if name not in lists:
            raise InputError(
                f"{what} {os.fspath(path)!r}: group {name!r} is {a_kind(texts)}; expected a list of texts"
            )
    return dict(found)


def holds_records(given: object) -> bool:
    """Whether a path leads to records, each with a text, and not to one text or one a line."""
    return kind_of(place(given)[0]) is not None


def place(given: Any) -> tuple[str, str | None]:
    """The path, and the field that is named behind it.

    Raises:
        InputError: a field of a file that has none.
    """
    whole = os.fspath(given)
    path, colon, field = whole.rpartition(":")
    if not colon or not path or os.path.lexists(whole):
        return whole, None
    if kind_of(path) is not None:
        if not field:
            raise InputError(f"text file {whole!r} ends in a colon: name a field behind it, or leave it out")
        return path, field
    if os.path.lexists(path):
        raise InputError(
            f"text file {whole!r}: {os.path.basename(path)!r} has no fields; only {', '.join(RECORDS)} files "
            "and folders of data sets have"
        )
    return whole, None


def kind_of(path: str) -> str | None:
    """The ending of a file of records, "folder" for a data set's, None for text."""
    if data_sets.is_folder(path):
        return "folder"
    end = os.path.splitext(path.lower().removesuffix(PACKED))[1]
    return end if end in RECORDS else None


def _values(kind: str, path: str, what: str, place_of: records.Place) -> Iterator[str | None]:
    if kind == "folder":
        return data_sets.folder_values(path, place_of)
    if kind == ".parquet":
        return records.parquet_values(read_bytes(path, what), place_of)
    return records.json_values(read_text(path, what), place_of, listed=kind == ".json")


def _lines(text: str, name: str, noun: str) -> tuple[str, ...]:
    """One text a line, without line ends and byte-order marks at their beginnings."""
    if not text.strip():
        raise InputError(f"{name} is empty: write one {noun} a line")
    lines = [line.removesuffix("\r").lstrip(MARK) for line in text.removesuffix("\n").split("\n")]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise InputError(f"{name} has a blank {noun} in line {number}: remove the line")
    return tuple(lines)
