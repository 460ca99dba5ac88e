"""The tables of a result, in reading order."""

import json

import xarray as xr

from laminar_lens.axes import PLAIN
from laminar_lens.errors import ResultError
from laminar_lens.figures.view import View
from laminar_lens.results.complete import from_json
from laminar_lens.results.conditions import claims_by_condition, condition_table
from laminar_lens.results.contrasts import contrast_rows, contrast_table
from laminar_lens.results.geometries import geometry_rows, geometry_table
from laminar_lens.results.summary import claim_rows, claims_table
from laminar_lens.results.tree import answer_of, names, part_answers
from laminar_lens.tables import Table

ATTACHED = "tables"
"""Attribute of a result's root."""


def tables(tree: xr.DataTree, view: View, seed: int) -> dict[str, Table]:
    """By key: the claims, the study's own, those of conditions and geometries, and what was attached."""
    plain = answer_of(tree, PLAIN)
    found = view.tables(plain, part_answers(tree, PLAIN))
    if rows := claim_rows(plain):
        found = {"claims": claims_table(view.claims_title, rows), **found}
    if len(names(tree)) > 1:
        found["conditions"] = condition_table(tree)
        found |= {table.key: table for table in claims_by_condition(tree)}
    if rows := contrast_rows(tree, view, seed):
        found["contrasts"] = contrast_table(rows)
    if rows := geometry_rows(plain, view.geometries):
        found["geometries"] = geometry_table(rows)
    return found | attached(tree)


def attached(tree: xr.DataTree) -> dict[str, Table]:
    """The tables that were attached to a result.

    Raises:
        ResultError: something else stands in their place.
    """
    try:
        given = from_json(ATTACHED, tree.attrs, {})
        return {key: Table.from_json(key, one) for key, one in given.items()}
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ResultError(f"the result's attribute {ATTACHED!r} holds no tables: it was altered") from error


def with_table(tree: xr.DataTree, table: Table) -> xr.DataTree:
    """The tree with one more attached table; one of the same key is replaced."""
    kept = {**from_json(ATTACHED, tree.attrs, {}), table.key: table.json()}
    made = tree.copy()
    made.attrs[ATTACHED] = json.dumps(kept, ensure_ascii=False)
    return made
