"""Records with a field of text, from JSON and Parquet; what is wrong is said with its line."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError
from laminar_lens.texts.reading import MOST_BYTES

FIELD = "text"
MOST_NAMED = 8  # fields in a message
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Place:
    """A file in errors, and the field that is asked for.

    Attributes:
        name: of the file, with what it is.
        path: as it was given.
        field: None for "text".
    """

    name: str
    path: str
    field: str | None

    @property
    def wanted(self) -> str:
        """The field whose texts are read."""
        return FIELD if self.field is None else self.field

    def check_field(self, fields: Sequence[Any], example: object, where: str = "") -> None:
        """Refuses fields without the one that is asked for; `example` is one that may hold texts."""
        if self.wanted in fields:
            return
        names = [" ".join(str(one).split())[:24] for one in fields[:MOST_NAMED]]
        more = ", …" if len(fields) > MOST_NAMED else ""
        has = f"it has {', '.join(names)}{more}" if names else "it has none"
        named = " ".join(str(example).split())[:40] if example is not None else "FIELD"
        raise InputError(
            f"{self.name}{where} has no field {self.wanted!r}; {has}: name the field behind the path, "
            f"{self.path}:{named}"
        )

    def not_text(self, where: str, value: object) -> NoReturn:
        """Refuses what is no text."""
        raise InputError(
            f"{self.name}: field {self.wanted!r}{where} is {shown(value)}, no text: name another"
        )


def json_values(text: str, place: Place, *, listed: bool) -> Iterator[str | None]:
    """The field of each object: one a line, or, where `listed`, also all in one list. Texts that stand there
    without an object are taken as they are, unless a field was named; null is None."""
    if not text.strip():
        return
    if listed and text.lstrip().startswith("["):
        for number, record in enumerate(_parsed(text, place), start=1):
            yield _value(record, place, f" of record {number}")
        return
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        yield _value(_parsed(line, place, number), place, f" of line {number}")


def parquet_values(data: bytes, place: Place) -> Iterator[str | None]:
    """The column of a Parquet file; null is None."""
    if not (data.startswith(_PARQUET) and data.endswith(_PARQUET)):
        raise InputError(f"{place.name} is not Parquet (it does not begin and end with PAR1): check the file")
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            f"{place.name} is Parquet, which pyarrow reads: pip install pyarrow, or give a .jsonl file"
        ) from None
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow
        texts = [one.name for one in schema if _is_text(pa, one.type)]
        place.check_field(schema.names, texts[0] if texts else None)
        if place.wanted not in texts:
            place.not_text("", f"of type {schema.field(place.wanted).type}")
        read = 0
        for batch in file.iter_batches(columns=[place.wanted]):
            if (read := read + batch.nbytes) > MOST_BYTES:
                raise InputError(f"{place.name} holds over {MOST_BYTES:,} bytes of text: give a part of it")
            yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{place.name} cannot be read as Parquet ({reason}): check the file") from None


def _is_text(pa: Any, kind: Any) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _parsed(text: str, place: Place, line: int | None = None) -> Any:
    """What JSON says, in a line or a whole file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at, reason = line or error.lineno, error.msg
    except (ValueError, RecursionError) as error:  # a number of too many digits; nested too deeply
        at, reason = line or 1, " ".join(str(error).split())[:80]
    raise InputError(
        f"{place.name} is not JSON at line {at} ({reason}): give one object a line, or in a .json file a list"
    )


def _value(record: object, place: Place, where: str) -> str | None:
    """The text of one record."""
    if isinstance(record, str) and place.field is None:
        return record
    if not isinstance(record, dict):
        raise InputError(
            f"{place.name}: what stands instead{where} is {shown(record)}; expected an object with a field "
            f"{place.wanted!r}"
        )
    example = next((key for key, value in record.items() if isinstance(value, str)), None)
    place.check_field(list(record), example, where.replace(" of", ":"))
    value = record[place.wanted]
    if value is not None and not isinstance(value, str):
        place.not_text(where, value)
    return value
