"""Figures from a CSV and nothing else: `python -m benchmarks.plot benchmarks/results/quick.csv`.

Writes PNG files beside the CSV (a Chromium draws them), or HTML with `--html`.
"""

import argparse
import math
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.table import OK, Row, read_rows
from laminar_lens.errors import LaminarLensError
from laminar_lens.figures.style import (
    BASELINE,
    INK,
    RANDOM,
    SOFT,
    TARGET,
    TEMPLATE,
    WITH_FIRST,
    WITHOUT_FIRST,
)

# name in the legend, colour, dash, marker
LOOK = {
    "fused": ("fused (ours)", TARGET, "solid", "circle"),
    "cpu": ("cpu (ours)", TARGET, "solid", "circle"),
    "eager": ("eager (ours)", WITHOUT_FIRST, "solid", "square"),
    "compile": ("torch.compile of naive", "#8a6d00", "solid", "star"),
    "naive": ("naive einops", BASELINE, "solid", "x"),
    "cosine": ("F.cosine_similarity", WITH_FIRST, "solid", "diamond"),
    "normalize": ("F.normalize + einsum", RANDOM, "dash", "triangle-up"),
    "loop": ("Python loop", INK, "dot", "cross"),
    "copy": ("copy (measured)", SOFT, "dash", "line-ew"),
    "read": ("read (measured)", SOFT, "dot", "line-ew"),
}
MODELS = {"gpt2-xl": "GPT2-XL", "llama-8b": "Llama-8B", "llama-70b": "Llama-70B", "gpt2-small": "GPT-2 small"}
_SHAPE = re.compile(r"(?P<data>\S+) (?P<layers>\d+)x(?P<batch>\d+)x(?P<pos>\d+)x(?P<d_model>\d+)")
_LENGTH_TICKS = tuple(2**power for power in range(7, 18, 2))


def dims(row: Row) -> dict[str, Any]:
    """`gpt2-xl 4x2x1024x1600 (4 of 49 layers)` as its parts."""
    found = _SHAPE.match(row["shape"])
    assert found is not None, f"the shape {row['shape']!r} is not MODEL LxBxTxD"
    return {"data": found["data"], **{k: int(found[k]) for k in ("layers", "batch", "pos", "d_model")}}


def timed(rows: Sequence[Row]) -> list[Row]:
    """Rows that passed and have a time."""
    return [row for row in rows if row["status"] == OK and row["p50_ms"]]


def by_length(rows: Sequence[Row], operation: str, model: str, dtype: str) -> dict[str, dict[int, Row]]:
    """{backend: {length: row}}, the row with most data where a length was measured with several shapes."""
    found: dict[str, dict[int, Row]] = {}
    shapes = {row["shape"] for row in timed(rows) if row["op"] == operation}
    for row in timed(rows):
        mine = row["op"] == operation or (row["op"] == "floor" and row["shape"] in shapes)
        if (
            not mine
            or row["dtype"] != dtype
            or dims(row)["data"] != model
            or row["shape"].endswith("prompt)")
        ):
            continue
        lengths = found.setdefault(row["backend"], {})
        pos = int(row["seq_len"])
        if pos not in lengths or int(row["bytes"]) > int(lengths[pos]["bytes"]):
            lengths[pos] = row
    return found


def panels(rows: Sequence[Row], dtype: str) -> list[tuple[str, str]]:
    """(operation, model) with at least three lengths."""
    return [
        (operation, model)
        for operation in ("sequential", "profile")
        for model in MODELS
        if max(map(len, by_length(rows, operation, model, dtype).values()), default=0) >= 3
    ]


def bandwidth(rows: Sequence[Row], dtype: str = "float32") -> go.Figure | None:
    """GB/s of useful traffic against sequence length, under the measured copy and read."""

    def value(row: Row, _: dict[str, dict[int, Row]]) -> float:
        return float(row["gb_per_s"])

    return _lengths(rows, dtype, tuple(LOOK), value, "useful traffic (GB/s)", f"Bandwidth, {dtype}")


def speed_up(rows: Sequence[Row], dtype: str = "float32") -> go.Figure | None:
    """How many times faster than the naive form on the same shape, against sequence length."""

    def value(row: Row, lengths: dict[str, dict[int, Row]]) -> float:
        naive = lengths.get("naive", {}).get(int(row["seq_len"]))
        same = naive is not None and naive["shape"] == row["shape"]
        return float(naive["p50_ms"]) / float(row["p50_ms"]) if naive is not None and same else math.nan

    order = [name for name in LOOK if name not in ("copy", "read")]
    return _lengths(
        rows, dtype, order, value, "times faster than naive", f"Speed-up over the naive form, {dtype}"
    )


def _lengths(
    rows: Sequence[Row], dtype: str, order: Sequence[str], value: Any, axis: str, title: str
) -> go.Figure | None:
    places = panels(rows, dtype)
    if not places:
        return None
    operations = sorted({operation for operation, _ in places}, reverse=True)
    models = [model for model in MODELS if any(model == m for _, m in places)]
    wide = len(models) == 1
    grid = (1, len(operations)) if wide else (len(operations), len(models))
    titles = (
        [f"{operation}, {MODELS[models[0]]}" for operation in operations]
        if wide
        else [f"{o}, {MODELS[m]}" if (o, m) in places else "" for o in operations for m in models]
    )
    figure = make_subplots(
        *grid, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.05, vertical_spacing=0.16
    )
    shown: set[str] = set()
    for operation, model in places:
        row, column = operations.index(operation) + 1, models.index(model) + 1
        row, column = (1, row) if wide else (row, column)
        lengths = by_length(rows, operation, model, dtype)
        for backend in reversed(order):  # ours on top
            points = sorted(lengths.get(backend, {}).items())
            ys = [value(point, lengths) for _, point in points]
            if not any(map(math.isfinite, ys)):
                continue
            figure.add_trace(_line(backend, [x for x, _ in points], ys, backend not in shown), row, column)
            shown.add(backend)
    _log_lengths(figure)
    _log_values(figure)
    figure.update_yaxes(title={"text": axis}, col=1)
    return _finish(figure, rows, title, height=320 * grid[0] + 200, width=980)


def _line(backend: str, xs: Sequence[Any], ys: Sequence[float], legend: bool) -> go.Scatter:
    name, color, dash, marker = LOOK[backend]
    floor = backend in ("copy", "read")
    return go.Scatter(
        x=xs, y=ys, name=name, legendgroup=backend, showlegend=legend,
        mode="lines" if floor else "lines+markers", marker={"size": 8, "symbol": marker},
        line={"color": color, "dash": dash, "width": 1.6 if floor else 2.4},
        hovertemplate=f"{name}<br>%{{x}}: %{{y:.3g}}<extra></extra>", legendrank=list(LOOK).index(backend),
    )  # fmt: skip


def _log_values(figure: go.Figure) -> None:
    """A logarithmic axis with labels at 1, 2, 5, 10 and so on, or at the powers of ten of a long one."""
    values = [y for trace in figure.data for y in trace.y if y is not None and math.isfinite(y) and y > 0]
    low, high = min(values), max(values)
    steps = (1,) if high / low > 1000 else (1, 2, 5)
    ticks = [step * 10.0**power for power in range(-4, 6) for step in steps]
    figure.update_yaxes(
        type="log", tickvals=ticks, ticktext=[f"{tick:,.10g}" for tick in ticks],
        range=[math.log10(low / 1.25), math.log10(high * 1.25)],
    )  # fmt: skip


def _log_lengths(figure: go.Figure) -> None:
    text = [f"{n // 1024}k" if n >= 1024 else str(n) for n in _LENGTH_TICKS]
    figure.update_xaxes(
        type="log", tickvals=_LENGTH_TICKS, ticktext=text, range=[math.log10(108), math.log10(155_000)],
        title={"text": "sequence length"},
    )  # fmt: skip


def error(rows: Sequence[Row]) -> go.Figure | None:
    """Largest error against float64 at planted angles."""
    found: dict[str, dict[float, float]] = {}
    for row in rows:
        if row["op"] == "accuracy" and row["status"] == OK:
            found.setdefault(row["backend"], {})[_angle(dims(row)["data"])] = float(row["max_error_rad"])
    if not found:
        return None
    angles = sorted({angle for values in found.values() for angle in values})
    names = [_angle_text(angle) for angle in angles]
    figure = go.Figure()
    for backend in reversed(LOOK):
        if backend in found:
            ys = [max(found[backend].get(angle, math.nan), 1e-10) for angle in angles]
            figure.add_trace(_line(backend, names, ys, True))
    figure.update_xaxes(type="category", title={"text": "true angle (rad)"}, tickangle=0)
    figure.update_yaxes(type="log", dtick=1, exponentformat="power", title={"text": "largest error (rad)"})
    return _finish(figure, rows, "Error against float64, float32 input", height=480, width=980)


def _angle(name: str) -> float:
    text = name.removeprefix("angle=")
    return math.pi - float(text[3:]) if text.startswith("pi-") else float(text)


def _angle_text(angle: float) -> str:
    near, start = (angle, "") if angle < 1.6 else (math.pi - angle, "π −<br>")
    if near < 0.05:
        return f"{start}10<sup>{round(math.log10(near))}</sup>".replace("<sup>-", "<sup>−")
    return "π/2" if abs(near - math.pi / 2) < 1e-3 else f"{start}{near:.3g}"


def memory(rows: Sequence[Row]) -> go.Figure | None:
    """Memory that a call adds, results included, against the number of layers; one prompt of 1,024 tokens."""
    found: dict[str, dict[int, float]] = {}
    for row in timed(rows):
        if row["op"] == "profile" and row["peak_extra_bytes"]:
            shape = dims(row)
            if (shape["data"], shape["batch"], shape["pos"]) == ("gpt2-xl", 1, 1024):
                found.setdefault(row["backend"], {})[shape["layers"]] = float(row["peak_extra_bytes"]) / 1e6
    if not found:
        return None
    figure = go.Figure()
    layers = sorted({count for values in found.values() for count in values})
    figure.add_trace(
        go.Scatter(
            x=layers, y=[count * 1024 * 1600 * 4 / 1e6 for count in layers], name="the states themselves",
            mode="lines", line={"color": SOFT, "dash": "dot", "width": 1.6},
        )
    )  # fmt: skip
    for backend in reversed(LOOK):
        if backend in found:
            points = sorted(found[backend].items())
            figure.add_trace(_line(backend, [x for x, _ in points], [max(y, 0.01) for _, y in points], True))
    figure.update_xaxes(title={"text": "layers (hidden states)"}, tickvals=layers)
    _log_values(figure)
    figure.update_yaxes(title={"text": "added memory (MB)"})
    title = "Memory that a profile adds, GPT2-XL, 1,024 tokens, float32"
    return _finish(figure, rows, title, height=480, width=980)


def _finish(figure: go.Figure, rows: Sequence[Row], title: str, height: int, width: int) -> go.Figure:
    """The common look; the line below the title says where it was measured."""
    first = rows[0]
    threads = f", {first['threads']} threads" if first["threads"] else ""
    where = f"{first['device']}{threads}, {first['date']}, commit {first['commit']}"
    figure.update_layout(
        template=TEMPLATE,
        title={"text": title, "subtitle": {"text": where, "font": {"size": 12, "color": SOFT}}},
        height=height,
        width=width,
        margin={"t": 104, "l": 76, "r": 32, "b": 136},
        legend={"y": -84 / (height - 240), "yanchor": "top", "x": 0},
    )
    return figure


def figures(rows: Sequence[Row]) -> dict[str, go.Figure]:
    """Every figure that the rows have data for, by file name."""
    made = {
        "bandwidth": bandwidth(rows),
        "bandwidth-bfloat16": bandwidth(rows, "bfloat16"),
        "speedup": speed_up(rows),
        "speedup-bfloat16": speed_up(rows, "bfloat16"),
        "error": error(rows),
        "memory": memory(rows),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def write_png(made: dict[Path, go.Figure]) -> None:
    """Draws every figure in one Chromium, at twice the size in pixels."""
    from laminar_lens.report.pictures import browser

    with tempfile.TemporaryDirectory() as folder, browser() as opened:
        page = opened.new_page(viewport={"width": 1100, "height": 1100}, device_scale_factor=2)
        for path, figure in made.items():
            source = Path(folder) / "figure.html"
            source.write_text(figure.to_html(include_plotlyjs=True), encoding="utf-8")
            page.goto(source.as_uri())
            page.wait_for_selector(".js-plotly-plot .main-svg", timeout=60_000)
            page.evaluate("document.fonts.ready")
            path.write_bytes(page.locator(".js-plotly-plot").screenshot())


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 2 where there is nothing to draw or nothing to draw with."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plot", description=__doc__)
    parser.add_argument("csv", type=Path, nargs="+")
    parser.add_argument("--html", action="store_true", help="pages instead of pictures; needs no browser")
    given = parser.parse_args(argv)
    for csv in given.csv:
        made = figures(read_rows(csv))
        if not made:
            if given.csv == [csv]:
                parser.exit(2, f"{csv} has no row to draw\n")
            continue
        suffix = "html" if given.html else "png"
        paths = {csv.with_name(f"{csv.stem}-{name}.{suffix}"): figure for name, figure in made.items()}
        if given.html:
            for path, figure in paths.items():
                figure.write_html(path, include_plotlyjs=True)
        else:
            try:
                write_png(paths)
            except LaminarLensError as error:
                parser.exit(2, f"{error}\n")
        print(*paths, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
