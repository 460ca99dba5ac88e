"""One row of the validation table, the rows of one topic, and the table as Markdown."""

import importlib
import os
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One check at one setting: what was required, what was measured, and whether it passed.

    `n_seeds` is the number of independent data sets behind `measured`.
    """

    check: str
    setting: str
    required: str
    measured: str
    n_seeds: int
    ok: bool


def markdown_table(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table, in the order given; vertical bars inside cells are escaped."""
    lines = ["| check | setting | required | measured | data sets | ok |", "|---|---|---|---|---:|---|"]
    for row in rows:
        cells = (
            row.check,
            row.setting,
            row.required,
            row.measured,
            str(row.n_seeds),
            "yes" if row.ok else "**no**",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Write `text` beside `path` and move it into place: an interrupted run leaves the earlier file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def run_topic(topic: str, seeds: int) -> tuple[str, list[Row], float]:
    """Title, rows and seconds of one topic, in a process of its own with one thread."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    module = importlib.import_module(f"tests.validate.{topic}")
    started = time.monotonic()
    rows: list[Row] = module.run(seeds)
    title = ((module.__doc__ or topic).strip().splitlines()[0]).rstrip(".")
    return title, rows, time.monotonic() - started
