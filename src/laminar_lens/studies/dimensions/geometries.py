"""The geometries of a dimension study: the one that was asked for, and beside it the same one centred.

| geometry | beside it |
|---|---|
| `raw` | `centred` |
| `mean_over_d_model`, `without_dimensions`, `layernormed` | the same, then centred |
| `centred`, `standardised` | nothing: the mean of other texts is already removed |

Centring comes last: the mean over the body of other texts is taken of what the geometry makes of their
vectors, and removed from what it makes of the measured ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from laminar_lens.geometry import Geometry, fit_geometries, named_geometry
from laminar_lens.geometry.base import padded
from laminar_lens.studies.dimensions.study import SPARE
from laminar_lens.studies.run import Run
from laminar_lens.studies.texts import Texts
from laminar_lens.texts.passages import PASSAGES


@dataclass(frozen=True, eq=False)
class Compared:
    """One geometry after another.

    Attributes:
        name: as the result calls them together.
        steps: applied in this order.
    """

    name: str
    steps: tuple[Geometry, ...]

    def apply(self, layer: int, state: Tensor) -> Tensor:
        """The vectors of hidden state `layer` after every step; see `Geometry.apply`."""
        for step in self.steps:
            state = step.apply(layer, state)
        return state

    def check_others(self, rows: Sequence[Sequence[int]]) -> None:
        """Refuses texts that a step was fitted on; see `Geometry.check_others`."""
        for step in self.steps:
            step.check_others(rows)

    def describe(self) -> dict[str, Any]:
        """Its steps, JSON-safe."""
        return {step.name: step.describe() for step in self.steps}


def compared(run: Run, skip: int) -> list[Compared]:
    """The geometry that a study was given, and the same centred where it is not; fitted, where it needs
    texts, on passages that are not measured, or where too few of them are left, on what the model writes.

    Args:
        run: its options hold the geometry, a name or what `fit_geometry` returned.
        skip: first positions that are no body.

    Raises:
        InputError: an unknown name, or a geometry that was fitted with another BOS or final norm.
    """
    model, geometry, chosen = run.model, run.options.geometry, run.options
    how: dict[str, Any] = {"prepend_bos": chosen.prepend_bos, "final_norm": chosen.final_norm}
    fit: dict[str, Any] = {"skip": skip, "seed": chosen.seed, **how, "layers": run.layers}
    fit |= {"progress": run.progress, **_others(run, skip)}
    if isinstance(geometry, str):
        base = fit_geometries(model, [geometry], **fit)[geometry]
    else:
        base = named_geometry(model, geometry, **how)
    found = [Compared(base.name, (base,))]
    if base.centred:
        return found
    centred = fit_geometries(model, ["centred"], through=base.apply, **fit)["centred"]
    name = "centred" if base.name == "raw" else f"{base.name}, centred"
    return [*found, Compared(name, (base, centred))]


def _others(run: Run, skip: int) -> dict[str, Any]:
    """Token ids [text pos] of passages to fit on, and that they are some; nothing where fewer than `SPARE`
    are left unmeasured."""
    others = run.texts.others if isinstance(run.texts, Texts) else ()
    rows = [row[: run.tokens.shape[1]] for row in others if len(row) > skip + 1]
    return {"texts": padded(rows[:SPARE]), "source": PASSAGES} if len(rows) >= SPARE else {}
