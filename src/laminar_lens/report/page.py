"""The page: what the result says, in reading order, filled into `page.html.jinja`."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined

from laminar_lens import __version__
from laminar_lens.axes import PLAIN
from laminar_lens.figures.style import SHADES
from laminar_lens.figures.view import View, placed
from laminar_lens.report.drawing import library, on_page, script_json, spec_json, spec_of
from laminar_lens.report.pages import MARK
from laminar_lens.tables import Table
from laminar_lens.words import estimate_text

NONE = "none"


def render(result: Any) -> str:
    """The whole page as text: sentence, warnings, claims, figures, tokens, tables, provenance.

    Args:
        result: a `StudyResult`.

    Returns:
        Self-contained HTML. Nothing in it is fetched, and its content policy forbids it.
    """
    summary, view, tables = result.summary(), result.view, result.tables()
    figures = {
        name: spec_of(figure) for name, figure in result.figures().items() if name not in view.pictures
    }
    plain = result.condition(PLAIN).dataset
    parts, facts = {}, []
    for one in result.parts():
        parts[one.kind] = one.settings
        facts.append(one.view.fact(one.settings))
    tokens = view.tokens(plain)
    page: str = _template("page.html.jinja").render(
        kind=view.title,
        answer=_sentences(summary["sentence"]),
        summary=summary,
        facts=_facts(summary, view, facts),
        claims_title=view.claims_title,
        claims=[{**row, "shown": estimate_text(row)} for row in summary["claims"]],
        sections=_sections(view, plain, {name: on_page(spec) for name, spec in figures.items()}, tables),
        tokens=None if tokens is None else script_json(tokens),
        settings=list(_flatten(summary["settings"])),
        provenance=[row for row in _flatten(_provenance(summary, parts)) if row[1] != NONE],
        shades=SHADES,
        plotly=library(figures.values()),
        version=__version__,
        mark=MARK,
    )
    return page


def figure_page(figure: Any) -> str:
    """A page with one figure and nothing else, for pictures: what only a page can do is left out."""
    spec = spec_of(figure)
    for control in ("updatemenus", "sliders"):
        spec["layout"].pop(control, None)
    page: str = _template("figure.html.jinja").render(spec=spec_json(spec), plotly=library([spec]))
    return page


@cache
def _template(name: str) -> Any:
    environment = Environment(
        loader=PackageLoader("laminar_lens.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _sections(
    view: View, dataset: xr.Dataset, figures: Mapping[str, Any], tables: Mapping[str, Table]
) -> list[dict[str, Any]]:
    beside = {key: table for key, table in tables.items() if key != "claims"}
    return [
        {
            "title": title,
            "tables": [{"title": beside[key].title, "html": beside[key].html()} for key in keys],
            "figures": [(name, figures[name]) for name in names],
        }
        for title, names, keys in placed(view.ordered(dataset), figures, beside)
    ]


def _facts(summary: Mapping[str, Any], view: View, others: Iterable[str]) -> list[str]:
    """The few facts under the sentence, so that it is never read without them."""
    provenance, settings = summary["provenance"], summary["settings"]
    model = provenance.get("model") or {}
    facts = [f"model {model.get('name', 'unknown')}"]
    if provenance.get("n_texts"):
        facts.append(f"{provenance['n_texts']:,} {view.inputs}")
    facts += filter(None, others)
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


def _provenance(summary: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance and settings of `parts`, without what stands in the settings or twice."""
    rows = {key: value for key, value in summary["provenance"].items() if key not in ("settings", "model")}
    said = {**summary["settings"], **rows}
    model = _unsaid(summary["provenance"].get("model") or {}, said)
    own = {kind: _unsaid(how, said) for kind, how in parts.items()}
    return {"model": model, **{kind: how for kind, how in own.items() if how}, **rows}


def _unsaid(values: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in said or said[key] != value}


def _sentences(text: str) -> tuple[str, str]:
    """The heading and what stands below it: a long answer is split after its first sentence."""
    if len(text) <= 150:
        return text, ""
    first, *rest = re.split(r"(?<=[.!?]) (?=[A-Z])", text, maxsplit=1)
    return first, rest[0] if rest else ""


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
            value = {str(number): one for number, one in enumerate(value, 1)} if value[1:] else value[0]
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{name} · ")
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, list | dict):
        named = [one.get("name", one) if isinstance(one, dict) else one for one in value]
        return ", ".join(map(str, named)) or NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and value != value.strip():
        return repr(value)
    return NONE if value is None else str(value)
