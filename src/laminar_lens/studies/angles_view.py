"""How a table of angles is shown."""

from laminar_lens.figures.view import FIRST, LATER, Part, View

VIEW = View(
    title="angles study",
    parts=(Part("first pair", "sequential", FIRST), Part("later pairs", "sequential", LATER)),
)
