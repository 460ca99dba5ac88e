"""The text column of a Hugging Face data set that was saved in a folder."""

import json
import os
from collections.abc import Iterator
from typing import Any

from laminar_lens.errors import InputError
from laminar_lens.texts.reading import MOST_BYTES, read_text
from laminar_lens.texts.records import Place

INFO, STATE, SPLITS = "dataset_info.json", "state.json", "dataset_dict.json"
"""What `Dataset.save_to_disk` writes beside the data; of several splits, the last one above their folders."""
ROWS = 1000  # read at once


def is_folder(path: str) -> bool:
    """Whether a data set, or its splits, were saved there."""
    return os.path.isfile(os.path.join(path, STATE)) or os.path.isfile(os.path.join(path, SPLITS))


def folder_values(path: str, place: Place) -> Iterator[str | None]:
    """The column of a saved data set; null is None. Its fields are checked before anything heavy is imported.

    Raises:
        InputError: several splits (they are named), a field that is not there or holds no texts, a damaged
            folder, or no `datasets` to read it with.
    """
    _check_split(path, place)
    features = _description(os.path.join(path, INFO), place).get("features")
    if isinstance(features, dict):
        texts = [name for name, kind in features.items() if _is_text(kind)]
        place.check_field(list(features), texts[0] if texts else None)
        if place.wanted not in texts:
            place.not_text("", features[place.wanted])
    try:
        from datasets import load_from_disk
    except ImportError:
        raise InputError(
            f"{place.name} is a data set, which datasets reads: pip install datasets, or give a .jsonl file"
        ) from None
    try:
        rows = load_from_disk(path).with_format(None).select_columns([place.wanted])
        read = 0
        for part in rows.iter(ROWS):
            values = part[place.wanted]
            read += sum(len(one or "") for one in values)
            if read > MOST_BYTES:
                raise InputError(f"{place.name} holds more than {MOST_BYTES:,} letters: give a part of it")
            yield from values
    except InputError:
        raise
    except Exception as error:  # whatever a damaged folder makes the library raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{place.name} cannot be read as a data set ({reason}): save it again") from error


def _check_split(path: str, place: Place) -> None:
    if not os.path.isfile(os.path.join(path, SPLITS)):
        return
    splits = _description(os.path.join(path, SPLITS), place).get("splits")
    names = [str(one) for one in splits] if isinstance(splits, list) and splits else ["train"]
    behind = "" if place.field is None else f":{place.field}"
    raise InputError(
        f"{place.name} holds the splits {', '.join(names)}: give one of them, "
        f"{os.path.join(path, names[0])}{behind}"
    )


def _description(path: str, place: Place) -> dict[str, Any]:
    """A JSON file of the folder."""
    try:
        found = json.loads(read_text(path, "the data set's"))
    except (ValueError, RecursionError):
        raise InputError(
            f"{place.name}: {os.path.basename(path)} is not JSON: save the data set again"
        ) from None
    return found if isinstance(found, dict) else {}


def _is_text(kind: object) -> bool:
    return isinstance(kind, dict) and kind.get("dtype") in ("string", "large_string", "string_view")
