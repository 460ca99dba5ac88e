"""The sensitivity grid as a table: the same answer under other choices."""

from typing import TYPE_CHECKING, Any

from laminar_lens.tables import Column, Table
from laminar_lens.words import number

if TYPE_CHECKING:
    import pandas as pd

SHOWN = {
    "prepend_bos": "BOS",
    "final_norm": "final norm",
    "tau": "τ",
    "reference": "reference",
    "k_hi": "enough",
    "k_lo": "necessary",
    "verdict": "verdict",
    "sign": "first pairs are",
    "first_pair": "excess (rad)",
    "layer": "in layer",
    "target_minus_baseline": "target − baseline (rad)",
    "note": "note",
}
SPARE = ("necessary", "target − baseline (rad)", "excess (rad)", "first pairs are", "in layer")
"""Columns that a narrow terminal does without, the last one first."""


def grid_table(frame: "pd.DataFrame") -> Table:
    """What `sensitivity_grid` returned, one row a combination, for `StudyResult.attach`; its CSV and JSON
    have every column."""
    values = frame.astype(object).where(frame.notna(), None)
    usual = str(frame["note"].mode()[0])  # said once, and in the rows only what is theirs
    answer = "k_hi" if "k_hi" in frame and frame["k_hi"].notna().any() else "k_lo"
    columns = [_column(str(name), [_plain(one) for one in values[name]], usual, answer) for name in values]
    order = list(SHOWN)
    columns.sort(
        key=lambda one: order.index(name) if (name := next(iter(one.values))) in order else len(order)
    )
    return Table("grid", "Sensitivity to the choices made", tuple(columns), f"{NOTE} {usual}".strip())


NOTE = (
    "The first tokens to leave out under every combination of BOS, final norm, tolerance ±τ (rad) and "
    "reference window: `enough` (k_hi, 95%), `necessary` (k_lo)."
)


def _column(name: str, values: list[Any], usual: str, answer: str) -> Column:
    """One that is not shown where nothing is known of any row."""
    title = SHOWN.get(name)
    if title is None or not {*values} - {"", None, *([usual] if name == "note" else [])}:
        return Column(name, values={name: values})
    spare = SPARE.index(title) + 1 if title in SPARE else 0
    cells = tuple("" if name == "note" and one == usual else _cell(one) for one in values)
    return Column(title, cells, "", name == "note", spare, answer=name == answer, values={name: values})


def _plain(value: object) -> Any:
    return value.item() if hasattr(value, "item") else value


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if value is None or isinstance(value, int | float) else str(value)
