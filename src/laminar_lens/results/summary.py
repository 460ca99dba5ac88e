"""What a result says in one screen: the sentence, the claims, what to be careful about."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.escapes import printable
from laminar_lens.tables import Column, Table
from laminar_lens.words import estimate

WIDTH = 80


class Summary(dict[str, Any]):
    """A plain dictionary that `json.dumps` takes as it is, and that prints as a readable table.

    Keys: `study`, `sentence`, `claims` (dictionaries with `claim`, `text`, `verdict`, `estimate`, `low`,
    `high`, `unit`, `evidence`, `reason`), `settings`, `provenance`, `warnings`, `contrasts` and `geometries`,
    `parts` (by kind, `sentence`, `settings` and `numbers_sha256` of each study that this one rests on),
    `tables` (what `StudyResult.tables()` gives, each with its `title`, `note`, `columns` and `rows`), and the
    rows of each table of the study under its own key (`by_layer`, empty where there is none). A number that
    is not finite is None.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(json_safe(values))

    def __str__(self) -> str:
        return _table({key: _printable(value) for key, value in self.items()})


def _table(shown: Mapping[str, Any]) -> str:
    """A summary as text."""
    tables = {key: Table.from_json(key, given) for key, given in shown.get("tables", {}).items()}
    parts = [textwrap.fill(str(shown.get("sentence", "")), WIDTH)]
    parts += [table.text(WIDTH) for table in tables.values()]
    parts += [_hanging("Warning: ", str(warning)) for warning in shown.get("warnings", ())]
    parts.append(_about(shown.get("provenance") or {}, shown.get("settings") or {}))
    return "\n\n".join(part for part in parts if part)


def _printable(value: object) -> Any:
    """The same, whose texts hold no control character but line ends: a file may come from anywhere."""
    if isinstance(value, str):
        return "\n".join(map(printable, value.split("\n")))
    if isinstance(value, Mapping):
        return {printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def json_safe(value: object) -> Any:
    """Only dictionaries, lists, text, booleans, finite numbers and None."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [json_safe(item) for item in value]
    return str(value)


def claim_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """One dictionary a claim; empty where the study answers none."""
    if "claim_verdict" not in dataset:
        return []
    fields = ("text", "verdict", "estimate", "low", "high", "unit", "evidence", "reason")
    columns = {field: dataset[f"claim_{field}"].values.tolist() for field in fields}
    return [
        {"claim": str(claim), **{field: columns[field][row] for field in fields}}
        for row, claim in enumerate(dataset["claim"].values.tolist())
    ]


def claims_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The claims and what this model answers."""
    values = {name: [row[name] for row in rows] for name in rows[0]}
    ends = {name: values[name] for name in ("estimate", "low", "high", "unit")}
    columns = (
        Column.of("", str, {"claim": values["claim"]}),
        Column.of("answer", str, {"verdict": values["verdict"]}),
        Column.of("claim", str, {"text": values["text"]}, wide=True),
        Column("evidence", values={name: values[name] for name in ("evidence", "reason")}),
        Column.of("estimate", estimate, ends, wide=True),
    )
    return Table("claims", title, columns, "\n".join(_unsaid(rows)))


def _unsaid(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why a claim is undetermined; of one that is not, why its estimate has no interval, which its evidence
    says."""
    for row in rows:
        bare = math.isfinite(row["estimate"]) and not math.isfinite(row["low"])
        if said := row["reason"] or (row["evidence"] if bare else ""):
            yield f"{row['claim']}: {said}"


def _hanging(head: str, text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def _about(provenance: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    model = provenance.get("model") or {}
    facts = {
        "model": model.get("name") if isinstance(model, Mapping) else model,
        "texts": provenance.get("n_texts"),
        "seed": provenance.get("seed"),
        "backend": provenance.get("backend"),
        **settings,
    }
    shown = [
        f"{key} {value!r}" if isinstance(value, str) and key != "model" else f"{key} {value}"
        for key, value in facts.items()
        if value is not None
    ]
    return textwrap.fill("; ".join(shown), WIDTH)
