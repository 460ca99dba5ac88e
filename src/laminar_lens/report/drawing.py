"""A figure as a page holds it: small JSON without any markup of its texts, and the library that draws it."""

import base64
import gzip
import html
import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import plotly.offline

BUNDLE = "plotlyjs/plotly-cartesian.min.js.gz"
"""plotly.js 4.1.1 (MIT) with the traces below, of the npm package plotly.js-cartesian-dist-min: a third of
the whole library, which is all that plotly's own package has."""
BUNDLED = {
    *("bar", "box", "contour", "heatmap", "histogram", "histogram2d", "histogram2dcontour", "image", "pie"),
    *("scatter", "scatterternary", "violin"),
}
DRAWN = frozenset(("y", "z", "array", "arrayminus"))
"""Numbers that are seen as places or colours and said with few digits: half the precision shows the same."""
FEWEST = 16
"""Shorter lists stay as they are."""

_FOREIGN_TAG = re.compile(r"\\u003c(?!(?:br|/?b|/?extra)\\u003e)")


def library(specs: Iterable[Mapping[str, Any]]) -> str:
    """The JavaScript of plotly.js: the bundle, or all of it where a figure has a trace that is not in it."""
    types = {trace.get("type", "scatter") for spec in specs for trace in spec["data"]}
    return _bundle() if types <= BUNDLED else str(plotly.offline.get_plotlyjs())


@cache
def _bundle() -> str:
    return gzip.decompress(files("laminar_lens.report").joinpath(BUNDLE).read_bytes()).decode()


def spec_of(figure: Any) -> dict[str, Any]:
    """`data` and `layout` of a figure, JSON-safe."""
    found: dict[str, Any] = json.loads(figure.to_json())
    return found


def on_page(spec: dict[str, Any]) -> dict[str, Any]:
    """The figure's parts: its heading and caption go into the page's own text, and `unpacked` in the page's
    script reads the rest."""
    layout = dict(spec["layout"])
    title = layout.pop("title", {}).get("text", "")
    caption = (layout.pop("meta", None) or {}).get("caption", "")
    layout["margin"] = {**layout.get("margin", {}), "t": 24}
    return {
        "title": html.unescape(title),  # plotly's escapes; the template makes its own
        "caption": html.unescape(caption),
        "height": layout.get("height", 460),
        "spec": spec_json({"data": packed(spec["data"]), "layout": packed(layout)}),
    }


def packed(value: object, name: str = "") -> Any:
    """The same with long lists of numbers as typed arrays, and repeated texts once.

    >>> packed(["a", "b"] * 8)
    {'texts': ['a', 'b'], 'of': {'dtype': 'u1', 'bdata': 'AAEAAQABAAEAAQABAAEAAQ=='}}
    """
    if isinstance(value, dict):
        if value.keys() >= {"dtype", "bdata"}:
            return _rows(_numbers(value), name)
        return {key: packed(one, key) for key, one in value.items()}
    if not isinstance(value, list):
        return value
    kinds = set(map(type, value)) if len(value) >= FEWEST else set()
    if kinds == {str} and len(texts := list(dict.fromkeys(value))) <= len(value) // 2:
        place = {text: index for index, text in enumerate(texts)}
        return {"texts": texts, "of": _typed(np.array([place[text] for text in value]), "")}
    if kinds and kinds <= {int, float, type(None)} and kinds != {type(None)}:
        return _typed(np.array(value, dtype=float if kinds != {int} else None), name)
    return [packed(one, name) for one in value]


def _numbers(given: Mapping[str, str]) -> np.ndarray:
    """What plotly wrote as a typed array."""
    values = np.frombuffer(base64.b64decode(given["bdata"]), given["dtype"])
    return values.reshape([int(size) for size in given["shape"].split(",")]) if "shape" in given else values


def _rows(values: np.ndarray, name: str) -> Any:
    return _typed(values, name) if values.ndim == 1 else [_rows(row, name) for row in values]


def _typed(values: np.ndarray, name: str) -> dict[str, str]:
    """Numbers in plotly's form, in the narrowest type that holds them; NaN where there is none."""
    if values.dtype.kind == "f":
        single = values.astype(np.float32)
        made = single if name in DRAWN or np.array_equal(single, values, equal_nan=True) else values
    else:
        types = ("u1", "i1", "u2", "i2", "i4", "f8")
        made = next(one for t in types if np.array_equal(one := values.astype(t), values))
    raw = made.astype(made.dtype.newbyteorder("<"), copy=False).tobytes()
    return {"dtype": made.dtype.str[1:], "bdata": base64.b64encode(raw).decode()}


def spec_json(spec: dict[str, Any]) -> str:
    """A figure's JSON with no markup but our own: plotly makes links of `<a href>` wherever it stands."""
    return _FOREIGN_TAG.sub("\\\\u0026lt;", script_json(spec))


def script_json(value: object) -> str:
    """JSON that can stand inside a script element, whatever text it holds."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
