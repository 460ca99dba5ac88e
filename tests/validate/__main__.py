"""Run the validation, write its table: `python -m tests.validate [--seeds N] [--topic NAME] [--out FILE]`."""

import argparse
import pkgutil
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from tests.validate.rows import Row, markdown_table, run_topic, write_atomically

FOLDER = Path(__file__).parent
VERSIONS = ("numpy", "scipy", "scikit-learn", "torch", "transformer-lens")


def topics() -> list[str]:
    """Names of the modules in this folder that have a `run(seeds)`, in alphabetical order."""
    names = sorted(info.name for info in pkgutil.iter_modules([str(FOLDER)]))
    return [name for name in names if name not in ("rows", "bounds") and not name.startswith(("_", "test_"))]


def header(command: str, seconds: float) -> str:
    """What made the table: command, versions, time; nothing that depends on the commit."""
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    return (
        "# Validation of the statistics\n\n"
        "Every row is a known-answer check on simulated data; each data set has its own seed.\n\n"
        f"- command: `{command}`\n"
        f"- versions: Python {platform.python_version()}, {versions}\n"
        f"- time: {seconds:.0f} s\n"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except ImportError:
        return "not installed"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the topics asked for; 1 when a row failed, 0 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tests.validate", description=__doc__)
    parser.add_argument(
        "--seeds", type=int, default=1000, help="simulated data sets for each row (default 1000)"
    )
    parser.add_argument(
        "--topic", action="append", choices=topics(), help="only this topic (may be repeated)"
    )
    parser.add_argument("--workers", type=int, default=2, help="topics at a time (default 2)")
    parser.add_argument("--out", type=Path, default=FOLDER / "TABLE.md", help="the Markdown file to write")
    arguments = parser.parse_args(argv)
    given = sys.argv[1:] if argv is None else list(argv)
    command = " ".join(["python -m tests.validate", *given])
    sections: list[str] = []
    failed: list[Row] = []
    started = time.monotonic()
    chosen = arguments.topic or topics()
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        for topic, (title, rows, seconds) in zip(
            chosen, pool.map(run_topic, chosen, [arguments.seeds] * len(chosen)), strict=True
        ):
            sections.append(f"\n## {topic}: {title} ({seconds:.0f} s)\n\n{markdown_table(rows)}")
            failed += [row for row in rows if not row.ok]
            print(
                f"{topic}: {len(rows)} rows, {sum(not row.ok for row in rows)} failed, {seconds:.0f} s",
                flush=True,
            )
    write_atomically(arguments.out, header(command, time.monotonic() - started) + "".join(sections))
    for row in failed:
        print(f"FAILED {row.check} ({row.setting}): required {row.required}, measured {row.measured}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
