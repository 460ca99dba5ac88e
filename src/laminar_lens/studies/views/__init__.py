"""How each study's results are shown."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from laminar_lens.figures.view import View

_VIEWS = {
    kind: f"laminar_lens.studies.views.{kind}"
    for kind in ("angles", "sequential", "warmup", "why", "sinks", "dimensions")
}


def view_of(kind: str) -> "View":
    """The view of a kind of study; of one that has none, the view of any."""
    from laminar_lens.figures.view import View

    if kind not in _VIEWS:
        return View(title=f"{kind} study")
    view: View = import_module(_VIEWS[kind]).VIEW
    return view
