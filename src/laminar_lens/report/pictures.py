"""Figures of a result as files, drawn by a Chromium: as on a page of the light theme, with their titles."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from laminar_lens.errors import InputError, ResultError
from laminar_lens.files import write_bytes
from laminar_lens.report.page import figure_page

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WIDTH = 900
"""Of a figure, in CSS pixels; a PNG has twice as many."""
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_DRAWN_MS = 120_000


def chromium_path() -> str | None:
    """The first Chromium on the path, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium under Playwright: the first on the path, or Playwright's own.

    Raises:
        ResultError: one of the two is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ResultError("a picture needs Playwright: pip install 'laminar-lens[figures]'") from error
    with sync_playwright() as playwright:
        path = chromium_path() or playwright.chromium.executable_path
        if not Path(path).is_file():
            raise ResultError(
                f"a picture needs Chromium; none of {', '.join(_NAMES)} is on the path: install one (Debian: "
                "apt install chromium), or run: playwright install chromium"
            )
        opened = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


def _svg(page: Any, size: Mapping[str, int]) -> bytes:
    url = page.evaluate("size => Plotly.toImage('figure', {format: 'svg', ...size})", size)
    return unquote_to_bytes(url.partition(",")[2])


def _png(page: Any, size: Mapping[str, int]) -> bytes:
    made: bytes = page.locator("#figure").screenshot()
    return made


def _pdf(page: Any, size: Mapping[str, int]) -> bytes:
    lengths = {name: f"{pixels}px" for name, pixels in size.items()}
    made: bytes = page.pdf(**lengths, print_background=True, page_ranges="1")
    return made


FORMATS: dict[str, Callable[[Any, Mapping[str, int]], bytes]] = {"svg": _svg, "png": _png, "pdf": _pdf}


def write_figures(result: Any, folder: str | Path, format: str = "svg") -> dict[str, Path]:
    """Write every figure of a result into a folder, which is made where it is not there; the files by name.

    Raises:
        InputError: another format than svg, png or pdf.
        ResultError: Playwright or Chromium is missing; a file cannot be written, those before it stay.
    """
    if format not in FORMATS:
        raise InputError(f"format {format!r} is none of {', '.join(FORMATS)}")
    written = {}
    with browser() as opened, tempfile.TemporaryDirectory() as place:
        page = opened.new_page(viewport={"width": WIDTH, "height": 700}, device_scale_factor=2)
        source = Path(place) / "figure.html"
        for name, figure in result.figures().items():
            source.write_text(figure_page(figure), encoding="utf-8")
            page.goto(source.as_uri())
            page.wait_for_selector("html[data-ready]", timeout=_DRAWN_MS)
            size = {"width": WIDTH, "height": int(page.evaluate("document.body.offsetHeight"))}
            path = Path(folder) / f"{name}.{format}"
            path.parent.mkdir(parents=True, exist_ok=True)
            written[name] = write_bytes(path, FORMATS[format](page, size))
    return written
