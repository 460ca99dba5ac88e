"""How a path study is shown."""

from itertools import product

import xarray as xr

from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import Part, Section, View
from laminar_lens.studies.paths.figures import away, correlations, growth, steps, tortuosity
from laminar_lens.tables import ENDS, Column, Table, by_layer, listed, with_interval
from laminar_lens.words import estimate, number

NOTE = (
    "Without position 0. Step: over the norm of the vector that it leaves. Path: sum of the steps so far; "
    "winding: path over the distance from the embedding, 1 on a straight line. Growth: norm over the norm in "
    "the layer before. Means over positions and texts, with a 95% band over all layers."
)


@needs("relative_step")
def lengths(dataset: xr.Dataset) -> Table | None:
    """Steps, paths and growth without position 0, one row a layer."""
    part = dataset.sel(which="without position 0")
    columns = [
        Column.of("step", estimate, with_interval(part, "relative_step"), answer=True),
        Column.of("path", number, listed(part, "path"), spare=2),
        Column.of("distance", number, listed(part, "displacement"), spare=3),
        Column.of("winding", estimate, with_interval(part, "tortuosity")),
        Column.of("growth", estimate, with_interval(part, "growth"), spare=1),
    ]
    return by_layer("lengths", "Along the layers", dataset["layer"].values, columns, NOTE)


@needs("correlation")
def correlation_table(dataset: xr.Dataset) -> Table | None:
    """Every correlation of path length."""
    names = ("length", "predicted", "held")
    rows = list(product(*(dataset[name].values.tolist() for name in names)))
    texts = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    parts = [dataset.sel(dict(zip(names, row, strict=True))) for row in rows]
    columns = [
        Column.of("length of the", str, {"length": texts["length"]}, wide=True),
        Column.of("with", lambda one: str(one).replace("_", "-"), {"predicted": texts["predicted"]}),
        Column.of("held", str, {"held": texts["held"]}, wide=True),
    ]
    for statistic, spare in (("pearson", 0), ("spearman", 2)):
        ends = {
            f"{statistic}{end}": [float(one[f"correlation{end}"].sel(statistic=statistic)) for one in parts]
            for end in ENDS
        }
        columns.append(Column.of(statistic.capitalize(), estimate, ends, spare=spare, answer=not spare))
    if "correlation_p" in dataset:
        p = [float(one["correlation_p"].sel(statistic="pearson")) for one in parts]
        columns.append(Column.of("p", number, {"pearson_p": p}, spare=1))
    note = (
        "Mean over texts of each text's own correlation along its positions, with bands over all of "
        "them; token "
        "frequency is held fixed without position 0; p: Pearson's, of sign flips of whole texts, "
        "adjusted for all."
    )
    return Table("correlations", "Path length and the true next token", tuple(columns), note)


VIEW = View(
    title="Path study",
    sections=(
        Section(
            "Path length and prediction",
            {"path_correlations": correlations},
            {"correlations": correlation_table},
        ),
        Section(
            "Along the layers",
            {
                "path_steps": steps,
                "path_distance": away,
                "path_tortuosity": tortuosity,
                "path_growth": growth,
            },
            {"lengths": lengths},
        ),
    ),
    claims_title="What is said of paths along the layers, on this model",
    contrast="relative_step_by_text",
    parts=(
        Part("relative step", "relative_step_by_text"),
        Part("path over distance covered", "tortuosity_by_text"),
    ),
)
