"""One table for a terminal, a page, JSON and CSV: the same rows everywhere."""

import csv
import functools
import html
import io
import math
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laminar_lens.arguments import checked, whole
from laminar_lens.escapes import printable
from laminar_lens.files import write_text

if TYPE_CHECKING:
    import xarray as xr
    from rich.table import Table as RichTable
    from rich.text import Text as RichText

ENDS = ("", "_low", "_high")
"""What the names of a number and of the ends of its interval end in."""
FOLDED_WIDTH = 16
"""Characters of a column whose cells are folded, at least."""

_WIDE_ENOUGH = checked(width=functools.partial(whole, least=1))


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: the heading.
        cells: what is read, one text a row; a column without cells is in JSON and CSV only.
        unit: of `values`.
        wide: the cells are folded between words where there is no room; no other cell ever is.
        spare: a terminal that is too narrow leaves it out, the largest first; 0 always stays.
        small: a second line of each cell, on a page only.
        answer: what the table is read for: a page that is too narrow keeps it in sight.
        values: one number or text a row under each name that JSON and CSV give them; the cells themselves
            under `name` where there are none.
    """

    name: str
    cells: tuple[str, ...] = ()
    unit: str = ""
    wide: bool = False
    spare: int = 0
    small: tuple[str, ...] = ()
    answer: bool = False
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, name: str, shown: Callable[..., str], values: Mapping[str, Sequence[Any]], **how: Any
    ) -> "Column":
        """A column whose cells are what `shown` says of each row of `values`; the rest as `how` has it."""
        return cls(name, tuple(starmap(shown, zip(*values.values(), strict=True))), values=values, **how)

    @property
    def raw(self) -> Mapping[str, Sequence[Any]]:
        """The values by their names."""
        return self.values or {self.name: self.cells}

    @property
    def words(self) -> bool:
        """Whether the cells are texts, which a page aligns at their left."""
        return self.wide or all(isinstance(value, str) for value in next(iter(self.raw.values()), ()))


@dataclass(frozen=True)
class Table:
    """Columns of one length under a title.

    Attributes:
        key: its name in `StudyResult.tables()`, in JSON and in addresses of a page.
        title: what it shows, with the unit.
        columns: in reading order.
        note: what a reader must know to read it, lines of text.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    note: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a row: every value, by name; a number that does not exist is None or NaN."""
        values = {name: column for one in self.columns for name, column in one.raw.items()}
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]

    def json(self) -> dict[str, Any]:
        """All of it for `json.dumps`: `title`, `note`, `columns` as they are shown (`values` are the names of
        a column's numbers in a row), and `rows`."""
        names = ("name", "cells", "unit", "wide", "spare", "small", "answer")
        shown = [
            {name: list(v) if isinstance(v := getattr(one, name), tuple) else v for name in names}
            | {"values": list(one.raw)}
            for one in self._shown()
        ]
        rows = [{name: _finite(value) for name, value in row.items()} for row in self.rows()]
        return {"title": self.title, "note": self.note, "columns": shown, "rows": rows}

    @classmethod
    def from_json(cls, key: str, given: Mapping[str, Any]) -> "Table":
        """What `json()` gave."""
        values = {name: [row[name] for row in given["rows"]] for name in (given["rows"] or [{}])[0]}
        columns = [
            Column(
                **{
                    **one,
                    "cells": tuple(one["cells"]),
                    "small": tuple(one["small"]),
                    "values": {name: values.pop(name, []) for name in one["values"]},
                }
            )
            for one in given["columns"]
        ]
        hidden = [Column("hidden", values=values)] if values else []
        return cls(key, given["title"], (*columns, *hidden), given["note"])

    def csv(self) -> str:
        """The rows under their names, separated by commas; nothing where a number does not exist."""
        rows = self.rows()
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writerow(rows[0] if rows else [name for one in self.columns for name in one.raw])
        writer.writerows([_finite(value) for value in row.values()] for row in rows)
        return out.getvalue()

    @checked()
    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write `csv()`, whole or not at all.

        Raises:
            InputError: no path of a file.
            ResultError: it cannot be written; an earlier file at `path` is kept.
        """
        return write_text(path, self.csv())

    def html(self) -> str:
        """A table element in a box that a phone scrolls, with its note; no text of it becomes markup."""
        columns = self._shown()
        heads = "".join(f"<th{_class(one)}>{_escaped(one.name)}</th>" for one in columns)
        body = "".join(
            "<tr>" + "".join(_cell(one, row) for one in columns) + "</tr>\n"
            for row in range(len(columns[0].cells) if columns else 0)
        )
        lines = "<br>".join(map(_escaped, self.note.splitlines()))
        note = f'\n<p class="note">{lines}</p>' if lines else ""
        return (
            f'<div class="scroll">\n<table class="layers" id="table-{_escaped(self.key)}">\n'
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>{note}"
        )

    @_WIDE_ENOUGH
    def text(self, width: int) -> str:
        """The table as lines of at most `width` characters, as long as its narrowest form has room."""
        from rich.console import Console

        plain: dict[str, Any] = {"color_system": None, "emoji": False, "force_jupyter": False}
        console = Console(file=io.StringIO(), width=width, force_terminal=False, **plain)
        with console.capture() as captured:
            console.print(self.rich(width))
        drawn = "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")
        return "\n".join([drawn, *(textwrap.fill(printable(line), width) for line in self.note.splitlines())])

    @_WIDE_ENOUGH
    def rich(self, width: int) -> "RichTable":
        """The table for a terminal of `width` columns.

        Where it does not fit, headings are broken between words, then the spare columns go; a line below
        names them.
        """
        columns = self._shown()
        spare = sorted((one for one in columns if one.spare), key=lambda one: -one.spare)
        for stacked, gone in [(False, 0), *((True, gone) for gone in range(len(spare) + 1))]:
            left = [one for one in columns if one not in spare[:gone]]
            if _narrowest(left, stacked) <= width:
                break
        made = _rich(left, stacked)
        made.title = _over_all(self.title, width)
        if gone:
            names = ", ".join(one.name for one in spare[:gone])
            more = f"Not shown at width {width}: {names}; give more (a wider window, or COLUMNS)."
            made.caption = _over_all(more, width)
        return made

    def _shown(self) -> list[Column]:
        return [one for one in self.columns if one.cells]


def listed(data: "xr.Dataset", *names: str) -> dict[str, list[Any]]:
    """Variables of a dataset as lists, by name."""
    return {name: data[name].values.tolist() for name in names}


def with_interval(data: "xr.Dataset", name: str, key: str = "") -> dict[str, list[Any]]:
    """A variable of a dataset and the ends of its interval as lists, under `key` or its own name."""
    return {f"{key or name}{end}": data[f"{name}{end}"].values.tolist() for end in ENDS}


def by_layer(key: str, title: str, layers: Iterable[Any], columns: Sequence[Column], note: str = "") -> Table:
    """A table with one row a layer."""
    numbers = tuple(int(layer) for layer in layers)
    first = Column("layer", tuple(map(str, numbers)), values={"layer": numbers})
    return Table(key, title, (first, *columns), note)


def _finite(value: object) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _class(column: Column) -> str:
    longest = max(map(len, column.cells), default=0)
    kinds = {"words": column.words, "long": column.wide and longest > FOLDED_WIDTH, "answer": column.answer}
    named = [name for name, is_one in kinds.items() if is_one]
    return f' class="{" ".join(named)}"' if named else ""


def _cell(column: Column, row: int) -> str:
    small = column.small[row] if column.small else ""
    below = f"<small>{_escaped(small)}</small>" if small else ""
    return f"<td{_class(column)}>{_escaped(column.cells[row])}{below}</td>"


def _narrowest(columns: Sequence[Column], stacked: bool) -> int:
    """Characters that the columns take at least."""
    from rich.cells import cell_len

    total = 2 + 3 * (len(columns) - 1)
    for one in columns:
        heading = printable(one.name)
        parts = heading.split() if stacked else [heading]
        content = max(map(cell_len, [*parts, *map(printable, one.cells)]), default=0)
        total += min(content, FOLDED_WIDTH) if one.wide else content
    return total


def _over_all(text: str, width: int) -> "RichText":
    """Text above or below a table, in lines as wide as the window, where the table is narrower."""
    from rich.text import Text

    return Text(textwrap.fill(printable(text), width), no_wrap=True, overflow="ignore")


def _rich(columns: Sequence[Column], stacked: bool) -> "RichTable":
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for one in columns:
        name = printable(one.name)
        heading = Text(name.replace(" ", "\n") if stacked and not one.wide else name)
        justify: Any = "left" if one.wide else "right"
        made.add_column(heading, overflow="fold", justify=justify, no_wrap=not one.wide, vertical="top")
    for row in zip(*(one.cells for one in columns), strict=True):
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made
