"""What a person or a pipe sees: progress and remarks on standard error, the answer on standard output."""

import contextlib
import io
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from laminar_lens.axes import Progress
from laminar_lens.escapes import printable
from laminar_lens.progress import ProgressLines

if TYPE_CHECKING:
    from rich.console import Console

    from laminar_lens.tables import Table

PIPE_WIDTH = 80
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
        yield ProgressLines("laminar-lens: ")
    else:
        with _bars() as progress:
            yield progress


@contextlib.contextmanager
def _bars() -> Iterator[Progress]:
    """Rich bars that go away when the work is done; a label seen for the first time gets its own bar."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    words = TextColumn("{task.description}", markup=False)
    columns = (SpinnerColumn(), words, BarColumn(), TaskProgressColumn(), TimeRemainingColumn(compact=True))
    with Bars(*columns, TextColumn("left"), console=Console(stderr=True), transient=True) as bars:
        tasks = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(printable(label), total=total or None)
            bars.update(tasks[label], completed=done, total=total or None)

        yield progress


def say(*parts: "str | Table", whole: Iterable[str] = ()) -> None:
    """Texts, and tables with their notes, on standard output; in a pipe 80 columns wide, or COLUMNS. Behind
    them what is `whole`, a line each: paths and JSON, which other programs read.

    Whatever a text holds is shown, and no control character is sent.
    """
    console = _console()
    for part in parts:
        texts = [part] if isinstance(part, str) else [*part.note.splitlines(), ""]
        if not isinstance(part, str):
            console.print(part.rich(console.width))
        for text in texts:
            _print(console, _folded(text, console.width))
    for line in whole:
        _print(console, printable(line))
    sys.stdout.flush()


def _folded(text: str, width: int) -> str:
    """A text in lines, broken between words alone: a path in it stays one."""
    return textwrap.fill(printable(text), width, break_long_words=False, break_on_hyphens=False)


def _print(console: "Console", text: str) -> None:
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=not console.is_terminal)


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
