"""What a person or a pipe sees: progress and remarks on standard error, the answer on standard output."""

import contextlib
import io
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from laminar_lens.axes import Progress
from laminar_lens.escapes import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 120
FOLDED_WIDTH = 16  # of a column whose cells are folded, at least
LOG_EVERY_S = 10.0
WIDTHS = ("COLUMNS", "LINES", "TERMINAL_WIDTH")  # in the environment, read by rich and typer
QUIET_ENVIRONMENT = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error"}


@contextlib.contextmanager
def working(*, quiet: bool) -> Iterator[Progress]:
    """Progress on standard error, where other libraries' chatter goes too; their warnings are dropped.

    What deserves a warning is in the result, and is shown with it. `quiet` shows nothing at all.
    """
    environment = {name: value for name, value in QUIET_ENVIRONMENT.items() if name not in os.environ}
    os.environ.update(environment)
    try:
        with contextlib.ExitStack() as stack:
            if not sys.warnoptions:
                stack.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
            progress = stack.enter_context(_progress(quiet))
            stack.enter_context(contextlib.redirect_stdout(io.StringIO() if quiet else sys.stderr))
            yield progress
    finally:
        for name in environment:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    if quiet:
        yield lambda label, done, total: None
    elif not sys.stderr.isatty():
        yield _log()
    else:
        with _bars() as progress:
            yield progress


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    """Rich bars that go away when the work is done; a label seen for the first time gets its own bar."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
    )
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(printable(label), total=total or None)
            bars.update(tasks[label], completed=done, total=total or None)

        yield progress


def _log() -> Progress:
    """Progress for a file: a line at most every ten seconds, never a bar."""
    last = time.monotonic()

    def progress(label: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            line = f"laminar-lens: {printable(label)}" + (f" {done}/{total}" if total else "")
            print(line, file=sys.stderr, flush=True)

    return progress


def say(*parts: "str | Table") -> None:
    """Lines and tables on standard output; in a pipe 120 columns wide, or COLUMNS.

    A text is one line: whatever it holds is shown, and no control character is sent.
    """
    console = _console()
    for part in parts:
        if isinstance(part, str):
            line = printable(part)
            console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=not console.is_terminal)
        else:
            console.print(part)
    sys.stdout.flush()


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    wide: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> "Table":
    """A table whose `wide` columns are folded between words, and no other cell ever; these are right-aligned.

    Where it does not fit, the other columns' titles go below each other, then the `spare` columns go, the
    first one first; a line below names them.
    """
    title, columns, wide, spare = printable(title), _shown(columns), _shown(wide), _shown(spare)
    rows = [_shown(row) for row in rows]
    width = _console().width
    for stacked, gone in [(False, 0), *((True, gone) for gone in range(len(spare) + 1))]:
        left = [index for index, name in enumerate(columns) if name not in spare[:gone]]
        names, cells = [columns[i] for i in left], [[row[i] for i in left] for row in rows]
        if _narrowest(names, cells, wide, stacked) <= width:
            break
    made = _table(title, names, cells, wide, stacked)
    dropped = [name for name in spare[:gone] if name in columns]
    if dropped:
        made.caption = f"too narrow for {', '.join(dropped)}"
    return made


def _shown(cells: Sequence[str]) -> list[str]:
    return [printable(cell) for cell in cells]


def _narrowest(
    names: Sequence[str], rows: Sequence[Sequence[str]], wide: Sequence[str], stacked: bool
) -> int:
    """Columns of the terminal that the table takes at least."""
    from rich.cells import cell_len

    total = 2 + 3 * (len(names) - 1)
    for index, name in enumerate(names):
        parts = name.split() if stacked else [name]
        content = max(map(cell_len, [*parts, *(row[index] for row in rows)]), default=0)
        total += min(content, FOLDED_WIDTH) if name in wide else content
    return total


def _table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], wide: Sequence[str], stacked: bool
) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=Text(title), title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in columns:
        folds = name in wide
        heading = Text(name.replace(" ", "\n") if stacked and not folds else name)
        made.add_column(
            heading, overflow="fold", justify="left" if folds else "right", no_wrap=not folds, vertical="top"
        )
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


@contextlib.contextmanager
def sane_environment() -> Iterator[None]:
    """Without widths of a terminal that are no numbers, which other libraries trip over."""
    wrong = [name for name in WIDTHS if not re.fullmatch("[0-9]{1,4}", os.environ.get(name, "80"))]
    kept = {name: os.environ.pop(name) for name in wrong}
    try:
        yield
    finally:
        os.environ.update(kept)


def _console() -> "Console":
    from rich.console import Console

    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and not str(sys.stdout.encoding).lower().startswith("utf"):
        reconfigure(errors="replace")
    in_terminal = sys.stdout.isatty()
    width = None if in_terminal or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(width=width, emoji=False)
