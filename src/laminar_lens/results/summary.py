"""What a result says in one screen: the sentence, the claims, what to be careful about."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.escapes import printable
from laminar_lens.results.effects import effect_table
from laminar_lens.results.geometries import geometry_table
from laminar_lens.results.numbers import decimal, interval

WIDTH = 100
CLAIMS = {
    "sinks": "What attention-sink research claims, on this model",
    "dimensions": "The claims of this study, on this model",
}


class Summary(dict[str, Any]):
    """A plain dictionary that `json.dumps` takes as it is, and that prints as a readable table.

    Keys: `study`, `sentence`, `claims` (dictionaries with `claim`, `text`, `verdict`, `estimate`, `low`,
    `high`, `unit`, `evidence`), `settings`, `provenance`, `warnings`, and `by_layer` (the warm-up's answer by
    layer, empty where there is none), `contrasts` and `geometries`; of a why-study also `effects` by layer. A
    number that is not finite is None.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(json_safe(values))

    def __str__(self) -> str:
        return _table({key: _printable(value) for key, value in self.items()})


def _table(shown: Mapping[str, Any]) -> str:
    """A summary as text."""
    parts = [textwrap.fill(str(shown.get("sentence", "")), WIDTH)]
    if shown.get("claims"):
        parts.append(claims_table(shown["claims"]))
        parts.extend(_without_interval(shown["claims"]))
    if shown.get("by_layer"):
        parts.append("Warm-up by layer\n" + layer_table(shown["by_layer"]))
    if shown.get("effects"):
        parts.append("Effects by layer (rad)\n" + effect_table(shown["effects"]))
    if shown.get("contrasts"):
        parts.append(
            "Against the plain run (mean over texts and layers)\n" + contrast_table(shown["contrasts"])
        )
    if shown.get("geometries"):
        layer = shown["geometries"][0]["layer"]
        parts.append(f"By geometry, layer {layer}\n" + geometry_table(shown["geometries"], estimate_text))
    for warning in shown.get("warnings", ()):
        parts.append(_hanging("Warning: ", str(warning)))
    parts.append(_about(shown.get("provenance") or {}, shown.get("settings") or {}))
    return "\n\n".join(part for part in parts if part)


def _printable(value: Any) -> Any:
    """The same, whose texts hold no control character: a file may come from anywhere."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def json_safe(value: Any) -> Any:
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
    fields = ("text", "verdict", "estimate", "low", "high", "unit", "evidence")
    columns = {field: dataset[f"claim_{field}"].values.tolist() for field in fields}
    return [
        {"claim": str(claim), **{field: columns[field][row] for field in fields}}
        for row, claim in enumerate(dataset["claim"].values.tolist())
    ]


def layer_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """The warm-up's answer, one dictionary a layer; a k, a skip or an n that does not exist is None.

    Reads the variables of a warm-up study, or those that a sequential study keeps under the prefix `warmup_`.
    """
    prefix = "warmup_" if "warmup_k_hi" in dataset else ""
    if f"{prefix}k_hi" not in dataset:
        return []
    rows: list[dict[str, Any]] = [{"layer": int(layer)} for layer in dataset["layer"].values]
    for field in (
        "k_lo",
        "k_hi",
        "skip",
        "verdict",
        "n_needed",
        "sign",
        "share_affected",
        "half_life",
        "step_or_decay",
    ):
        if prefix + field in dataset:
            missing = -1 if field in ("k_lo", "k_hi", "skip", "n_needed") else None
            for row, value in zip(rows, dataset[prefix + field].values.tolist(), strict=True):
                row[field] = None if missing is not None and value == missing else value
    return rows


def claims_title(study: str) -> str:
    """The heading of a table of claims: who makes them."""
    return CLAIMS.get(study, "The published claims, on this model")


def number(value: Any, digits: int = 3) -> str:
    """A number for a table: few digits, a true minus sign, a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return _number(value, digits)


def _number(value: float, digits: int) -> str:
    more = max(0, digits - 3)
    if abs(value) >= 100:
        text = f"{value:,.{more}f}"
    elif value != 0 and abs(value) < 10**-digits:
        text = f"{value:.1g}"
    else:
        return decimal(value, digits if abs(value) < 1 else more + 2 if abs(value) < 10 else more + 1)
    return text.replace("-", "−")


def texts_needed(row: Mapping[str, Any]) -> str:
    """How many texts would decide a layer of the warm-up; an undetermined layer without a number needs more
    than a million.
    """
    if row.get("n_needed") is None and row.get("verdict") == "undetermined":
        return "> 1,000,000"
    return number(row.get("n_needed"))


def estimate_text(row: Mapping[str, Any]) -> str:
    """`0.13 [0.10, 0.16] rad`; only what there is, counts without decimals, and no unit "1"."""
    values = [row.get(name) for name in ("estimate", "low", "high")]
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    if known and all(value.is_integer() for value in known) and max(map(abs, known)) > 1:
        values = [None if value is None or not math.isfinite(value) else int(value) for value in values]
    estimate, low, high = map(number, values)
    if estimate == "–":
        return "–"
    ends = "" if low == high == "–" else f" [{low}, {high}]"
    if low == high != "–" and isinstance(values[1], float) and isinstance(values[2], float):
        ends = f" [{interval(values[1], values[2], 3, join=', ', write=_number)}]"
    unit = row.get("unit") or ""
    return f"{estimate}{ends} {'' if unit == '1' else unit}".rstrip()


def claims_table(claims: Sequence[Mapping[str, Any]]) -> str:
    """The claims as text, at most `WIDTH` columns wide."""
    estimates = [estimate_text(row) for row in claims]
    name = max(5, *(len(str(row["claim"])) for row in claims))
    verdict = max(7, *(len(str(row["verdict"])) for row in claims))
    estimate = min(34, max(8, *map(len, estimates)))
    rest = WIDTH - name - verdict - estimate - 6
    widths = (name, verdict, rest, estimate)
    lines = [_columns(("claim", "answer", "the claim", "estimate"), widths), "─" * WIDTH]
    for row, value in zip(claims, estimates, strict=True):
        lines.append(_columns((row["claim"], row["verdict"], row["text"], value), widths))
    return "\n".join(lines)


def _without_interval(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    """For the claims with an estimate and no interval, their evidence, which says why it is withheld."""
    bare = [
        row
        for row in claims
        if row.get("estimate") is not None and row.get("low") is None and row.get("high") is None
    ]
    return ["\n".join(_hanging(f"{row['claim']}: ", str(row["evidence"])) for row in bare)] if bare else []


def layer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The warm-up by layer as text."""
    heads = {
        "layer": "layer",
        "skip": "skip",
        "k_lo": "k_lo",
        "k_hi": "k_hi",
        "verdict": "verdict",
        "sign": "sign",
        "share_affected": "texts affected",
        "n_needed": "texts needed",
    }
    fields = [field for field in heads if field in rows[0]]
    cells = [[heads[field] for field in fields]]
    cells += [
        [texts_needed(row) if field == "n_needed" else _layer_cell(field, row[field]) for field in fields]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(fields))]
    lines = [
        "  ".join(
            cell.rjust(w) if f not in ("verdict", "sign") else cell.ljust(w)
            for cell, w, f in zip(line, widths, fields, strict=True)
        ).rstrip()
        for line in cells
    ]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def contrast_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Each condition's contrasts with the plain run as text."""
    cells = [["condition", "what", "difference, 95% interval", "texts"]]
    cells += [[r["condition"], r["what"], estimate_text(r), number(r["n"])] for r in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


def _layer_cell(field: str, value: Any) -> str:
    if field == "share_affected" and isinstance(value, float) and math.isfinite(value):
        return f"{100 * value:.0f}%"
    return value if isinstance(value, str) else number(value)


def _columns(cells: Sequence[Any], widths: Sequence[int]) -> str:
    wrapped = [textwrap.wrap(str(cell), width) or [""] for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped))
    lines = zip(*(column + [""] * (height - len(column)) for column in wrapped), strict=True)
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


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
