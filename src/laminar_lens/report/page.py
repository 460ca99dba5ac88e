"""The page: what the result says, in reading order, filled into `page.html.jinja`."""

import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import plotly.offline
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from laminar_lens import __version__
from laminar_lens.errors import ResultError
from laminar_lens.figures.style import SHADES, visible
from laminar_lens.results import Summary
from laminar_lens.results.effects import EFFECTS_SHOWN, radians
from laminar_lens.results.geometries import geometry_cells, geometry_note
from laminar_lens.results.pages import MARK
from laminar_lens.results.summary import claims_title, estimate_text, number, texts_needed

_FOREIGN_TAG = re.compile(r"\\u003c(?!(?:br|/?b|/?extra)\\u003e)")
_STUDIES = {
    "sequential": "Sequential-angle study",
    "warmup": "Warm-up study",
    "why": "Why-study",
    "sinks": "Sink study",
    "dimensions": "Dimension study",
}


def render(result: Any) -> str:
    """The whole page as text: sentence, claims, warnings, figures, tokens, tables, provenance.

    Args:
        result: a `StudyResult`.

    Returns:
        Self-contained HTML. Nothing in it is fetched, and its content policy forbids it.
    """
    summary: Summary = result.summary()
    figures = {name: _figure(figure) for name, figure in result.figures().items() if name != "tokens"}
    plain = result.dataset
    warmup = json.loads(result.dataset.attrs.get("warmup_settings", "{}"))
    page: str = _template("page.html.jinja").render(
        kind=_STUDIES.get(result.kind, f"{result.kind} study"),
        answer=_sentences(summary["sentence"]),
        summary=summary,
        facts=_facts(summary, warmup),
        claims_title=claims_title(result.kind),
        claims=[{**row, "shown": estimate_text(row)} for row in summary["claims"]],
        layers=[_layer_row(row) for row in summary["by_layer"]],
        effects=[_effect_row(row) for row in summary.get("effects", [])],
        effect_names=EFFECTS_SHOWN,
        sections=_sections(figures),
        contrasts=[{**row, "shown": estimate_text(row)} for row in summary["contrasts"]],
        geometries=_geometry_rows(summary["geometries"]),
        tokens=script_json(token_data(plain)) if "position_angle" in plain else None,
        settings=list(_flatten(summary["settings"])),
        provenance=list(_flatten(_provenance(summary, warmup))),
        shades=SHADES,
        plotly=plotly.offline.get_plotlyjs(),
        version=__version__,
        mark=MARK,
    )
    return page


def figure_page(result: Any, name: str) -> str:
    """A page with one figure and nothing else, for pictures.

    Raises:
        ResultError: the result has no such figure.
    """
    figures = result.figures()
    if name not in figures:
        raise ResultError(f"no figure {name!r} in this result; it has {', '.join(figures)}")
    spec = _spec_json(json.loads(figures[name].to_json()))
    page: str = _template("figure.html.jinja").render(spec=spec, plotly=plotly.offline.get_plotlyjs())
    return page


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element, whatever text it holds."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _spec_json(spec: dict[str, Any]) -> str:
    """A figure's JSON with no markup but our own: plotly makes links of `<a href>` wherever it stands."""
    return _FOREIGN_TAG.sub("\\\\u0026lt;", script_json(spec))


def token_data(dataset: xr.Dataset) -> dict[str, Any]:
    """What the token view needs: text, words, angles by layer and target of each prompt, one scale for all.

    A letter of several bytes may be split between tokens, so the text is the dataset's and no join of words.
    """
    angles = dataset["position_angle"].values
    finite = angles[np.isfinite(angles)]
    low, high = (float(np.quantile(finite, q)) for q in (0.005, 0.995)) if finite.size else (0.0, math.pi)
    counts = dataset["n_tokens"].values.tolist()
    prompts = []
    for row, count in enumerate(counts):
        values = np.round(angles[:, row, : count - 1].astype(float), 3)
        prompts.append(
            {
                "text": visible(dataset["text"].values[row], 90),
                "words": [visible(word) for word in dataset["token"].values[row][:count]],
                "target": int(dataset["target_pair"].values[row][1]) if "target_pair" in dataset else -1,
                "angles": [[None if math.isnan(v) else v for v in layer] for layer in values.tolist()],
            }
        )
    return {"layers": dataset["layer"].values.tolist(), "low": low, "high": high, "prompts": prompts}


@cache
def _template(name: str) -> Any:
    environment = Environment(
        loader=PackageLoader("laminar_lens.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    environment.filters["texts_needed"] = texts_needed
    return environment.get_template(name)


def _figure(figure: Any) -> dict[str, Any]:
    """The figure's parts: its heading and caption go into the page's own text."""
    spec = json.loads(figure.to_json())
    layout = spec["layout"]
    title = layout.pop("title", {}).get("text", "")
    caption = (layout.pop("meta", None) or {}).get("caption", "")
    legend = any(trace.get("name") and trace.get("showlegend") is not False for trace in spec["data"])
    layout["margin"] = {**layout.get("margin", {}), "t": 56 if legend or "updatemenus" in layout else 24}
    return {
        "title": html.unescape(title),  # plotly's escapes; the template makes its own
        "caption": html.unescape(caption),
        "height": layout.get("height", 460),
        "spec": _spec_json(spec),
    }


_ORDER = (
    ("The answer in pictures", ("target_by_layer", "baseline_split")),
    ("Interventions", ("contrasts",)),
    ("Why first pairs stand apart", ("why_effects", "why_verdict", "why_trend")),
    ("What the verdict rests on", ("why_excess", "why_cells", "why_places")),
    ("Position 0 against the rest", ("sink_lengths", "sink_attention")),
    ("Who writes it, and where", ("sink_writes", "sink_activations", "sink_tokens")),
    ("The angle without a few dimensions", ("dimension_angles", "dimension_removal")),
    ("Dimension by dimension", ("dimension_contributions",)),
    ("In other geometries", ("geometry_excess", "geometry_E11", "geometry_target", "geometry_baseline")),
    ("Along the positions", ("by_position", "by_position_skipped")),
    ("What decides the claims", ("mixture", "difference", "rotation", "dispersion")),
    ("Warm-up", ("warmup_delta", "warmup_k", "warmup_random_init", "warmup_paired_shift", "warmup_cost")),
)


def _sections(figures: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    named = [(title, [(name, figures[name]) for name in names if name in figures]) for title, names in _ORDER]
    known = {name for _, names in _ORDER for name in names}
    rest = [(name, figure) for name, figure in figures.items() if name not in known]
    return [{"title": title, "figures": found} for title, found in [*named, ("More", rest)] if found]


def _facts(summary: Mapping[str, Any], warmup: Mapping[str, Any]) -> list[str]:
    """The few facts under the sentence, so that it is never read without them."""
    provenance, settings = summary["provenance"], summary["settings"]
    model = provenance.get("model") or {}
    facts = [f"model {model.get('name', 'unknown')}"]
    if provenance.get("n_texts"):
        facts.append(
            f"{provenance['n_texts']:,} {'prompts' if summary['study'] == 'sequential' else 'texts'}"
        )
    if warmup:
        facts.append(_warmup_fact(warmup))
    if "prepend_bos" in settings:
        facts.append("with BOS" if settings["prepend_bos"] else "no BOS")
    if "final_norm" in settings:
        facts.append("after the final norm" if settings["final_norm"] else "before the final norm")
    if settings.get("geometry", "raw") not in ("raw", None) and isinstance(settings["geometry"], str):
        facts.append(f"geometry: {settings['geometry']}")
    if model.get("weight_processing"):
        facts.append(f"weight processing: {model['weight_processing']}")
    if provenance.get("seed") is not None:
        facts.append(f"seed {provenance['seed']}")
    return facts


def _warmup_fact(warmup: Mapping[str, Any]) -> str:
    """What the sentence about tokens to leave out rests on."""
    first, last = _pairs(warmup["reference"])
    return (
        f"warm-up from {warmup['n_texts']:,} texts of {warmup['length']} tokens, τ = {warmup['tau']:g} rad, "
        f"reference pairs {first}–{last}"
    )


def _pairs(reference: Sequence[int]) -> tuple[int, int]:
    """First and last pair of a window [start, stop)."""
    return reference[0], reference[1] - 1


def _provenance(summary: Mapping[str, Any], warmup: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance without what stands twice: in the settings, or about the model and about the study."""
    rows = {key: value for key, value in summary["provenance"].items() if key not in ("settings", "model")}
    said = {**summary["settings"], **rows}
    model = _unsaid(summary["provenance"].get("model") or {}, said)
    how = _unsaid(warmup, said)
    if "reference" in how:
        how["reference"] = "pairs {}–{}".format(*_pairs(how["reference"]))
    return {"model": model, **({"warm-up": how} if how else {}), **rows}


def _unsaid(values: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in said or said[key] != value}


def _sentences(text: str) -> tuple[str, str]:
    """The heading and what stands below it: a long answer is split after its first sentence."""
    if len(text) <= 150:
        return text, ""
    first, *rest = re.split(r"(?<=[.!?]) (?=[A-Z])", text, maxsplit=1)
    return first, rest[0] if rest else ""


def _layer_row(row: Mapping[str, Any]) -> dict[str, Any]:
    share = row.get("share_affected")
    return {**row, "share_affected": None if share is None else f"{100 * share:.0f}%"}


def _geometry_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    heads, lines = geometry_cells(rows, estimate_text)
    return {"heads": heads, "lines": lines, "note": geometry_note(rows) if rows else ""}


def _effect_row(row: Mapping[str, Any]) -> dict[str, Any]:
    cells = []
    for name in EFFECTS_SHOWN:
        ends = [row[f"{name}_{end}"] for end in ("low", "high")]
        shown = "" if None in ends else "[{}, {}]".format(*map(radians, ends))
        cells.append({"value": radians(row[name]), "interval": shown})
    return {"layer": row["layer"], "verdict": row["verdict"], "cells": cells}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{name} · ")
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value != value.strip():
        return repr(value)
    return "none" if value is None else str(value)
