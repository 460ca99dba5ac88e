"""A result as a notebook shows it."""

import html
from collections.abc import Iterable, Mapping
from typing import Any

from laminar_lens.escapes import printable
from laminar_lens.words import estimate_text


def as_html(sentence: str, claims: Iterable[Mapping[str, Any]]) -> str:
    """The sentence, and a table of the claims if there are any."""
    cells = ((one["claim"], one["verdict"], one["text"], estimate_text(one)) for one in claims)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in cells)
    return f"<p><strong>{html.escape(printable(sentence))}</strong></p>" + (
        f"<table>{rows}</table>" if rows else ""
    )


def _cell(text: object) -> str:
    return f"<td>{html.escape(printable(text))}</td>"
