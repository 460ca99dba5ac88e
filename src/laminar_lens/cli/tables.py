"""What a terminal shows of a result, in reading order."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from laminar_lens.results import StudyResult
from laminar_lens.results.complete import complete
from laminar_lens.tables import Column, Table
from laminar_lens.words import number

if TYPE_CHECKING:
    import pandas as pd

GRID_COLUMNS = {
    "prepend_bos": "BOS",
    "final_norm": "final norm",
    "tau": "τ",
    "reference": "reference",
    "verdict": "verdict",
    "k_lo": "k_lo",
    "k_hi": "k_hi",
    "sign": "first pairs are",
    "first_pair": "excess (rad)",
    "layer": "in layer",
    "target_minus_baseline": "target − baseline (rad)",
    "note": "note",
}
SPARE_GRID = ("k_lo", "target − baseline (rad)", "excess (rad)", "first pairs are", "in layer")
"""Columns that a narrow terminal does without, the last one first."""


@complete
def parts(study: StudyResult, frame: "pd.DataFrame | None" = None) -> list[str | Table]:
    """Sentence, tables and warnings; `frame` is a grid."""
    warned = [f"warning: {warning}" for warning in study.warnings]
    grids = [] if frame is None else [grid(frame)]
    return [study.sentence, "", *study.tables().values(), *grids, *warned]


def grid(frame: "pd.DataFrame") -> Table:
    """The sensitivity grid, one row a combination; its CSV file has every column."""
    return Table("grid", "Sensitivity to the choices made", tuple(_columns(frame)))


def _columns(frame: "pd.DataFrame") -> Iterator[Column]:
    shown = frame.astype(object).where(frame.notna(), None)
    for name, title in GRID_COLUMNS.items():
        if name in frame and not frame[name].isin(["", None]).all():
            spare = SPARE_GRID.index(title) + 1 if title in SPARE_GRID else 0
            cells = tuple(map(_cell, shown[name].tolist()))
            yield Column(title, cells, wide=name == "note", spare=spare)


def _cell(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, int | float) else str(value)
