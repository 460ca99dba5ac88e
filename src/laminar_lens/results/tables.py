"""The tables of a result, in reading order."""

import xarray as xr

from laminar_lens.axes import PLAIN
from laminar_lens.figures.view import View
from laminar_lens.results.contrasts import contrast_rows, contrast_table
from laminar_lens.results.geometries import geometry_rows, geometry_table
from laminar_lens.results.summary import claim_rows, claims_table
from laminar_lens.results.tree import answer_of
from laminar_lens.tables import Table


def tables(tree: xr.DataTree, view: View, seed: int) -> dict[str, Table]:
    """By key: the claims, the study's own, the contrasts between conditions and the geometries."""
    plain = answer_of(tree, PLAIN)
    found = view.tables(plain)
    if rows := claim_rows(plain):
        found = {"claims": claims_table(view.claims_title, rows), **found}
    if rows := contrast_rows(tree, view, seed):
        found["contrasts"] = contrast_table(rows)
    if rows := geometry_rows(plain, view.geometries):
        found["geometries"] = geometry_table(rows)
    return found
