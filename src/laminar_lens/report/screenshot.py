"""Pictures of a saved result for documents: `python -m laminar_lens.report.screenshot RESULT.nc OUT.png`.

A tool for writing documentation: it needs Playwright (in the `dev` extra) and a Chromium on the path.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from laminar_lens.errors import LaminarLensError, ResultError
from laminar_lens.escapes import one_line
from laminar_lens.files import atomic_path

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str | None:
    """The first Chromium on the path, or None."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium under Playwright.

    Raises:
        ResultError: one of the two is missing.
    """
    path = chromium_path()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ResultError("a picture needs Playwright: pip install 'laminar-lens[dev]'") from error
    if path is None:
        raise ResultError(
            f"a picture needs Chromium; none of {', '.join(_NAMES)} is on the path: install one"
        )
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


def screenshot(result: Any, path: str | Path, *, figure: str | None = None, width: int = 900) -> Path:
    """Write a PNG of one figure, or of the whole page, at twice the size in pixels.

    Raises:
        ResultError: no such figure; Playwright or Chromium is missing; the file cannot be written.
    """
    from laminar_lens.report import figure_page, render

    page_text = render(result) if figure is None else figure_page(result, figure)
    with tempfile.TemporaryDirectory() as folder, browser() as opened:
        source = Path(folder) / "page.html"
        source.write_text(page_text, encoding="utf-8")
        page = opened.new_page(viewport={"width": width, "height": 700}, device_scale_factor=2)
        page.goto(source.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=120_000)
        image = page.screenshot(full_page=True) if figure is None else page.locator("#figure").screenshot()
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)
    return Path(path)


def main() -> None:
    """Parse the command line; an error is one line and exit status 2."""
    from laminar_lens.results import load_result

    parser = argparse.ArgumentParser(prog="python -m laminar_lens.report.screenshot", description=__doc__)
    parser.add_argument("result", help="a file that save() wrote")
    parser.add_argument("out", help="the PNG to write")
    parser.add_argument("--figure", help="name of one figure; without it, the whole page")
    parser.add_argument("--width", type=int, default=900, help="in CSS pixels")
    given = parser.parse_args()
    try:
        screenshot(load_result(given.result), given.out, figure=given.figure, width=given.width)
    except LaminarLensError as error:
        parser.exit(2, f"{one_line(error)}\n")


if __name__ == "__main__":
    main()
