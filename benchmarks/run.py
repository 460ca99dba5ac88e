#!/usr/bin/env python
"""Measure: `python benchmarks/run.py --quick` on a CPU, `--gpu` on a GPU; from a checkout, nothing installed.
`--capture` runs whole models on the CPU with the meter attached, `--studies` the studies on smollm2; both
need the package's dependencies.

Rows are written as they are made, and a run that was stopped goes on where it was: rows of the same commit,
device and versions are kept. With `--gpu` only torch, triton, numpy, einops and jaxtyping are needed.
"""

import argparse
import dataclasses
import fnmatch
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.registry import Group

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # this checkout, whatever is installed
    sys.path[0:1] = [str(ROOT), str(ROOT / "src")]

BUDGET_S = {"quick": 112.0, "gpu": 440.0, "capture": 1800.0}
SECONDS = 0.6
RESULTS = Path(__file__).resolve().parent / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """0; 1 where a backend of this package failed; 2 where nothing can be measured."""
    started = time.monotonic()
    given = _parser().parse_args(argv)
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        return _refuse("TRITON_INTERPRET is set: the interpreter's times mean nothing; unset it")
    import torch

    # numba reads it when it is first imported: the same number of threads for all
    os.environ.setdefault("NUMBA_NUM_THREADS", str(torch.get_num_threads()))
    if given.gpu and not torch.cuda.is_available():
        return _refuse(
            f"--gpu needs a CUDA device and torch {torch.__version__} finds none: run it there or use --quick"
        )
    if given.studies:
        return _studies(given.out or RESULTS / "studies.csv", given.only, list_only=given.list)
    from benchmarks import registry

    mode = "gpu" if given.gpu else "capture" if given.capture else "quick"
    groups = _chosen(getattr(registry, f"{mode}_groups")(), given.only)
    if not groups:
        return _refuse(f"--only {' '.join(given.only)} matches no entry; --list shows them")
    if given.list:
        for group in groups:
            for entry in group.entries:
                print(f"{entry.name}\t{entry.input_bytes / 1e9:.3g} GB")
        return 0
    budget = BUDGET_S[mode] if given.budget is None else given.budget
    out = given.out or RESULTS / f"{mode}.csv"
    return _run(groups, "cuda" if given.gpu else "cpu", out, started, budget)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--quick", action="store_true", help="on the CPU, scaled shapes, under two minutes")
    mode.add_argument("--gpu", action="store_true", help="on one GPU, whole shapes, under eight minutes")
    mode.add_argument("--capture", action="store_true", help="forward passes on the CPU with the meter")
    mode.add_argument("--studies", action="store_true", help="studies on smollm2, one thread, processor time")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="entries op/backend/shape/dtype that match, such as 'profile/*' (may be repeated)",
    )
    parser.add_argument("--out", type=Path, help="the CSV; by default results/MODE.csv")
    parser.add_argument(
        "--budget", type=float, metavar="SECONDS", help="no new group after; run again to go on"
    )
    parser.add_argument("--list", action="store_true", help="print the entries and measure nothing")
    return parser


def _studies(out: Path, patterns: Sequence[str], *, list_only: bool) -> int:
    """Each study's processor time beside that of its passes; rows are written as they are made."""
    from benchmarks import studies, table

    names = [
        name
        for name in studies.TEXTS
        if not patterns or any(fnmatch.fnmatchcase(f"study/{name}", pattern) for pattern in patterns)
    ]
    if not names:
        return _refuse(f"--only {' '.join(patterns)} matches no entry; --list shows them")
    if list_only:
        print("\n".join(f"study/{name}" for name in names))
        return 0
    studies.one_thread()
    setting = table.Setting.here("cpu")
    rows = {table.key_of(row): row for row in table.read_rows(out) if setting.made(row)}
    for row in studies.study_rows(names):
        made = {**row, **setting.stamp()}
        rows[table.key_of(made)] = made
        table.write_rows(out, rows.values())
        print(f"{row['shape']}, {row['backend']}: {float(row['p50_ms']) / 1e3:.1f} s", flush=True)
    return 0


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


def _chosen(groups: "list[Group]", patterns: Sequence[str]) -> "list[Group]":
    """The groups, each with the backends that match a pattern; all without patterns."""
    if not patterns:
        return groups
    chosen = []
    for group in groups:
        backends = tuple(
            entry.backend
            for entry in group.entries
            if any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns)
        )
        if backends:
            chosen.append(dataclasses.replace(group, backends=backends))
    return chosen


def _run(groups: "list[Group]", device: str, out: Path, started: float, budget: float) -> int:
    from benchmarks import table
    from benchmarks.measure import NO_TIME, Plan, form_of, measure_group

    setting = table.Setting.here(device)
    rows = {}
    stale = 0
    for row in table.read_rows(out):
        if not setting.made(row):
            stale += 1
        elif row["status"] != NO_TIME and not row["status"].startswith("error"):
            rows[table.key_of(row)] = row
    if rows or stale:
        print(f"{out}: {len(rows)} rows kept, {stale} of another commit, device or version left out")

    def left_s() -> float:
        return budget - (time.monotonic() - started)

    plan = Plan(device, setting, SECONDS, left_s, form_of)
    missed = 0
    for group in groups:
        if all(entry.key in rows for entry in group.entries):
            continue
        if left_s() <= 0:
            missed += len(group.entries)
            continue
        for row in measure_group(group, plan):
            rows[table.key_of(row)] = row
            table.write_rows(out, rows.values())
            print(_line(row), flush=True)
    return _summary(list(rows.values()), out, missed, time.monotonic() - started)


def _line(row: dict[str, str]) -> str:
    name = f"{row['op']:<10} {row['backend']:<9} {row['shape']} {row['dtype']}"
    if row["status"] != "ok":
        return f"{name}: {row['status']}"
    if not row.get("p50_ms"):
        return f"{name}: {row['max_error_rad']} rad"
    if not row.get("gb_per_s"):
        return f"{name}: {float(row['p50_ms']):.4g} ms"
    return (
        f"{name}: {float(row['p50_ms']):.3g} ms, {float(row['gb_per_s']):.3g} GB/s, "
        f"{float(row['percent_of_copy']):.3g}% of copy"
    )


def _summary(rows: list[dict[str, str]], out: Path, missed: int, seconds: float) -> int:
    from benchmarks.registry import OURS

    failed = [
        row
        for row in rows
        if row["backend"] in (*OURS, "meter") and row["status"].startswith(("parity failed", "error"))
    ]
    print(f"{len(rows)} rows in {out}, {seconds:.0f} s")
    if missed:
        print(f"{missed} entries were not reached in the time given: run the same command again to go on")
    for row in failed:
        print(f"FAILED {_line(row)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
