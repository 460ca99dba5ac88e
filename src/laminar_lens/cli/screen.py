"""What a person or a pipe sees: progress and remarks on standard error, the answer on standard output."""

import contextlib
import io
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from laminar_lens.axes import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 120
FOLDED_WIDTH = 16  # of a column whose cells are folded, at least
LOG_EVERY_S = 10.0
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
                tasks[label] = bars.add_task(label, total=total or None)
            bars.update(tasks[label], completed=done, total=total or None)

        yield progress


def _log() -> Progress:
    """Progress for a file: a line at most every ten seconds, never a bar."""
    last = time.monotonic()

    def progress(label: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            print(
                f"laminar-lens: {label}" + (f" {done}/{total}" if total else ""), file=sys.stderr, flush=True
            )

    return progress


def say(*parts: "str | Table") -> None:
    """Lines and tables on standard output; in a pipe 120 columns wide, or COLUMNS."""
    console = _console()
    for part in parts:
        if isinstance(part, str):
            console.print(part, markup=False, highlight=False, emoji=False, soft_wrap=not console.is_terminal)
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


def silence_closed_pipe() -> None:
    """Keeps Python from complaining at exit that standard output is gone."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _console() -> "Console":
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    if isinstance(sys.stdout, io.TextIOWrapper) and not str(sys.stdout.encoding).lower().startswith("utf"):
        sys.stdout.reconfigure(errors="replace")
    in_terminal = sys.stdout.isatty()
    width = None if in_terminal or "COLUMNS" in os.environ else PIPE_WIDTH
    return PipeConsole(width=width, emoji=False)
