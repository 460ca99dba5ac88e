"""Writes the tables of README.md from the CSV files: `python -m benchmarks.tables`; `--check` compares."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.table import OK, Row, read_rows

FOLDER = Path(__file__).resolve().parent
BACKENDS = ("eager", "naive", "cosine", "normalize", "loop", "compile")
NOT_ON_GPU = "Not measured on a GPU."
_MARK = re.compile(r"(<!-- table (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_LESS = ("1e-06", "1e-04", "1e-02", "0.5", "1.571", "pi-0.5", "pi-1e-02", "pi-1e-04", "pi-1e-06")


def times_table(rows: Sequence[Row], fast: str) -> str:
    """One line a shape: our fast backend, and how many times longer the others take."""
    cached = ["cached GB/s (× sum)"] if fast == "cpu" else []
    names = [f"`{fast}` p50 (p20–p80) ms", "GB/s", "% of copy", *cached, *(f"`{name}`" for name in BACKENDS)]
    lines = [
        "| operation | [layer batch pos d_model] | dtype | " + " | ".join(names) + " |",
        "|---|---|---|" + "---:|" * len(names),
    ]
    groups: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        if row["op"] not in ("floor", "accuracy", "capture"):
            groups.setdefault((row["op"], row["shape"], row["dtype"]), {})[row["backend"]] = row
    for key, group in groups.items():
        ours = group.get(fast)
        base = ours if ours is not None and _has_time(ours) else None
        own = [*_own(ours), *([_cached(ours)] if cached else [])]
        cells = [*key, *own, *(_other(group.get(name), base) for name in BACKENDS)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _has_time(row: Row) -> bool:
    return row["status"] == OK and bool(row["p50_ms"])


def _own(row: Row | None) -> list[str]:
    if row is None:
        return ["", "", ""]
    if not _has_time(row):
        return [_short(row["status"]), "", ""]
    low, middle, high = (_number(float(row[f"{name}_ms"])) for name in ("p20", "p50", "p80"))
    return [
        f"{middle} ({low}–{high})",
        _number(float(row["gb_per_s"])),
        f"{float(row['percent_of_copy']):.0f}",
    ]


def _cached(row: Row | None) -> str:
    """GB/s on one thread with the data in its cache, and as a multiple of `x.sum()`'s."""
    rate = "" if row is None else row.get("cached_gb_per_s", "")
    if row is None or not rate:
        return ""
    return f"{_number(float(rate))} ({float(rate) / float(row['cached_sum_gb_per_s']):.2f}×)"


def _other(row: Row | None, base: Row | None) -> str:
    """Milliseconds, and times as long as ours."""
    if row is None:
        return ""
    if not _has_time(row):
        return _short(row["status"])
    text = _number(float(row["p50_ms"]))
    if base is None:
        return text
    return f"{text} ({_number(float(row['p50_ms']) / float(base['p50_ms']))}×)"


def _short(status: str) -> str:
    return status.split(";")[0].split(",")[0]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def memory_table(rows: Sequence[Row], fast: str) -> str:
    """Added memory as a share of the input."""
    names = (fast, *BACKENDS)
    lines = ["| operation | input | " + " | ".join(f"`{name}`" for name in names) + " |"]
    lines.append("|---|---:|" + "---:|" * len(names))
    best: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["peak_extra_bytes"] and row["dtype"] == "float32" and row["bytes"]:
            group = best.setdefault(row["op"], {})
            old = group.get(row["backend"])
            if old is None or int(row["bytes"]) > int(old["bytes"]):
                group[row["backend"]] = row
    for operation, group in best.items():
        size = max(int(row["bytes"]) for row in group.values())
        shares = [
            f"{100 * int(group[name]['peak_extra_bytes']) / int(group[name]['bytes']):.3g}%"
            if name in group
            else ""
            for name in names
        ]
        lines.append(f"| {operation} | {size / 1e6:,.0f} MB | " + " | ".join(shares) + " |")
    return "\n".join(lines)


def error_table(rows: Sequence[Row], fast: str) -> str:
    """Largest error at planted angles."""
    names = (fast, "eager", "naive", "cosine", "normalize")
    found = {
        (row["shape"].split()[0].removeprefix("angle="), row["backend"]): row
        for row in rows
        if row["op"] == "accuracy"
    }
    lines = ["| true angle (rad) | " + " | ".join(f"`{name}`" for name in names) + " |"]
    lines.append("|---|" + "---:|" * len(names))
    for angle in _LESS:
        cells = []
        for name in names:
            row = found.get((angle, name))
            passed = row is not None and row["status"] == OK
            cells.append("" if row is None else row["max_error_rad"] if passed else _short(row["status"]))
        shown = angle.replace("pi-", "π − ").replace("1.571", "π/2")
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def setting_table(rows: Sequence[Row], fast: str) -> str:
    """Where and with what."""
    first = rows[0]
    threads = f", {first['threads']} threads" if first["threads"] else ""
    dates = sorted({row["date"] for row in rows})
    rate = [float(row["gb_per_s"]) for row in rows if row["op"] == "floor" and row["backend"] == "copy"]
    read = [float(row["gb_per_s"]) for row in rows if row["op"] == "floor" and row["backend"] == "read"]
    floor = (
        f" Measured copy {_range(rate)} GB/s (read and written), read {_range(read)} GB/s." if rate else ""
    )
    return (
        f"{first['device']}{threads}; {first['versions']}; commit `{first['commit']}`; "
        f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}.{floor}"
    )


def _range(values: Sequence[float]) -> str:
    return f"{_number(min(values))}–{_number(max(values))}"


def costs_table(rows: Sequence[Row], fast: str) -> str:
    """Forward passes with and without measuring: time as a multiple of the plain pass, memory added."""
    lines = ["| states | way | p50 (p20–p80) ms | × plain | added memory | |", "|---|---|---:|---:|---:|---|"]
    captures = [row for row in rows if row["op"] == "capture"]
    plain = {row["shape"]: row for row in captures if row["backend"] == "plain"}
    for row in captures:
        start = f"| {row['shape']} | {WAYS[row['backend']]} | "
        if not _has_time(row):
            lines.append(f"{start}| | | {row['status']} |")
            continue
        low, middle, high = (_number(float(row[f"{name}_ms"])) for name in ("p20", "p50", "p80"))
        ratio = float(row["p50_ms"]) / float(plain[row["shape"]]["p50_ms"])
        peak = f"{int(row['peak_extra_bytes']) / 1e6:,.0f} MB" if row["peak_extra_bytes"] else ""
        lines.append(f"{start}{middle} ({low}–{high}) | {ratio:.3f} | {peak} | |")
    return "\n".join(lines) if captures else "Not measured."


def studies_table(rows: Sequence[Row], fast: str) -> str:
    """Studies: processor time beside that of the same tokens through two plain forwards."""
    lines = [
        "| study | s | TransformerLens s | Hugging Face's trunk s | × Hugging Face | not forward |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for shape in dict.fromkeys(row["shape"] for row in rows):
        spent = {row["backend"]: float(row["p50_ms"]) / 1e3 for row in rows if row["shape"] == shape}
        if set(spent) != {fast, "transformer_lens", "hugging_face"}:
            continue  # stopped within a study
        study, lens, face = spent[fast], spent["transformer_lens"], spent["hugging_face"]
        apart = f"{max(0.0, 1 - lens / study):.0%}"
        lines.append(f"| {shape} | {study:.1f} | {lens:.1f} | {face:.1f} | {study / face:.2f} | {apart} |")
    return "\n".join(lines)


WAYS = {
    "plain": "plain forward",
    "meter": "with `AngleMeter` (ours), angles included",
    "resid_cache": "`run_with_cache`, residual filter",
    "full_cache": "`run_with_cache`, all hooks",
    "hf_plain": "Hugging Face, plain",
    "hf": "Hugging Face, `output_hidden_states`",
}
TABLES: dict[str, Callable[[Sequence[Row], str], str]] = {
    "setting": setting_table,
    "times": times_table,
    "memory": memory_table,
    "errors": error_table,
    "costs": costs_table,
    "passes": studies_table,
}
SOURCES = {
    "cpu": ("quick.csv", "cpu"),
    "gpu": ("gpu.csv", "fused"),
    "capture": ("capture.csv", "meter"),
    "studies": ("studies.csv", "study"),
}


def rendered(text: str, results: Path) -> str:
    """`text` with every marked table made anew: `<!-- table cpu-times -->` … `<!-- end -->`."""

    def table(match: re.Match[str]) -> str:
        where, name = match["name"].split("-")
        file, fast = SOURCES[where]
        rows = read_rows(results / file)
        body = TABLES[name](rows, fast) if rows else NOT_ON_GPU if where == "gpu" else "Not measured."
        return f"{match[1]}\n{body}\n\n{match[3]}"

    return _MARK.sub(table, text)


def main(argv: Sequence[str] | None = None) -> int:
    """1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a table is old")
    given = parser.parse_args(argv)
    readme = FOLDER / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = rendered(old, FOLDER / "results")
    if given.check:
        return int(old != new)
    readme.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
