"""What a result of several conditions says under each of them."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from laminar_lens.results.summary import claim_rows
from laminar_lens.results.tree import answer_of, described, names
from laminar_lens.tables import Column, Table
from laminar_lens.words import estimate_text


def condition_table(tree: xr.DataTree) -> Table:
    """Each condition: what was done, and the study's sentence under it."""
    done, found = described(tree), names(tree)
    labels = [", ".join(str(one["label"]) for one in done.get(name, ())) or "nothing" for name in found]
    said = [str(answer_of(tree, name).attrs.get("sentence", "")) for name in found]
    columns = (
        Column("condition", found, wide=True),
        Column("changed", tuple(labels), wide=True),
        Column("answer", tuple(said), wide=True),
    )
    return Table("conditions", "What was changed, and what the study then says", columns)


def claims_by_condition(tree: xr.DataTree) -> list[Table]:
    """Every claim, a column a condition; none where the study makes no claims, or not the same."""
    rows = {name: claim_rows(answer_of(tree, name)) for name in names(tree)}
    return claims_beside("condition_claims", "The claims, condition by condition", rows)


def claims_beside(key: str, title: str, rows: Mapping[str, list[dict[str, Any]]]) -> list[Table]:
    """A table of claims with a column for each name; none where there are no claims, or not the same."""
    asked = [[(row["claim"], row["text"]) for row in one] for one in rows.values()]
    if not asked[0] or any(one != asked[0] for one in asked):
        return []
    columns = [
        Column(
            name,
            tuple(f"{row['verdict']}: {estimate_text(row)}".removesuffix(": –") for row in claims),
            wide=True,
            values={
                f"{name} {part}": [row[part] for row in claims]
                for part in ("verdict", "estimate", "low", "high")
            },
        )
        for name, claims in rows.items()
    ]
    heads = (
        Column("", tuple(claim for claim, _ in asked[0]), values={"claim": [claim for claim, _ in asked[0]]}),
        Column(
            "claim", tuple(text for _, text in asked[0]), wide=True, values={"text": [t for _, t in asked[0]]}
        ),
    )
    return [Table(key, title, (*heads, *columns))]
