"""Which numbers a page was made from: the page says it in its head, and a result can be held against it."""

import re
from pathlib import Path

MARK = "laminar-lens-numbers-sha256"
"""Name of the `meta` element that holds the hash."""

_HEAD_BYTES = 2048
_META = re.compile(rf'<meta name="{MARK}" content="([0-9a-f]{{64}})">'.encode())


def page_numbers(page: Path) -> str | None:
    """The `numbers_sha256` of the result that a page was made from; None where it is no page that says so."""
    if not page.is_file():
        return None
    try:
        with page.open("rb") as file:
            match = _META.search(file.read(_HEAD_BYTES))
    except OSError:
        return None
    return None if match is None else match[1].decode()
