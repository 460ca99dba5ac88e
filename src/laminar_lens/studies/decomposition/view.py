"""How a decomposition study is shown."""

import xarray as xr

from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import Part, Section, View
from laminar_lens.studies.decomposition.figures import (
    angles,
    cosines,
    heads,
    lengthening,
    lengths,
    places,
    turning,
)
from laminar_lens.tables import Column, Table, by_layer, listed, with_interval
from laminar_lens.words import estimate, number, share

NOTE = (
    "Cosine: of attention's and the MLP's write to a token, with a 95% band over all layers; other tokens: "
    "of writes to different tokens; q: of no difference between the two, adjusted for the false discovery "
    "rate over layers (0.05 and less is a discovery). MLP/attention: their lengths. Along: share of the "
    "step's squared length along the residual, which lengthens or shortens it; the rest turns it. A layer is "
    "written by the block before it."
)
PARTS_NOTE = (
    "Lengths are over the length of the residual that is entered. Lengthens: the part along it, below 0 it "
    "shortens; turns by: the angle, in radians. Turns of attention and MLP do not add up to the step's: "
    "attention's minus the MLP's (the difference of adjustments) says which turns more, and nothing "
    "of direction."
)
WHATS = {"relative": "length", "along": "lengthens", "turn": "turns by"}


@needs("cosine")
def by_step(dataset: xr.Dataset) -> Table | None:
    """The two writes against each other, one row a layer."""
    radial = dataset.sel(part="step")
    columns = [
        Column.of("cosine", estimate, with_interval(dataset, "cosine"), answer=True),
        Column.of("other tokens", number, listed(dataset, "other")),
        Column.of("q", number, listed(dataset, "q_value")),
        Column.of("MLP/attention", number, listed(dataset, "ratio"), unit="times", spare=1),
        Column.of("along", share, {"radial_step": radial["radial"].values.tolist()}, spare=2),
    ]
    title = "Attention's and the MLP's write by layer"
    return by_layer("by_step", title, dataset["layer"].values, columns, NOTE)


@needs("relative")
def by_part(dataset: xr.Dataset) -> Table | None:
    """What each write does to the residual, one row a layer."""
    columns = []
    for key, name in (("attn", "attention"), ("mlp", "MLP")):
        part = dataset.sel(part=key)
        for spare, (what, title) in enumerate(WHATS.items()):
            values = {f"{key}_{what}": part[what].values.tolist()}
            columns.append(Column.of(f"{name} {title}", number, values, spare=spare))
    apart = listed(dataset, "difference_of_adjustments")
    columns.append(Column.of("difference of turns", number, apart, unit="rad", spare=3))
    title = "What each write does to the residual that it enters, by layer"
    return by_layer("by_part", title, dataset["layer"].values, columns, PARTS_NOTE)


VIEW = View(
    title="Decomposition study",
    sections=(
        Section(
            "Attention and MLP against each other",
            {"decomposition_cosine": cosines, "decomposition_places": places},
            {"by_step": by_step},
        ),
        Section(
            "What each write does to the residual",
            {
                "decomposition_lengths": lengths,
                "decomposition_lengthening": lengthening,
                "decomposition_turning": turning,
                "decomposition_angles": angles,
            },
            {"by_part": by_part},
        ),
        Section("Head by head", {"decomposition_heads": heads}),
    ),
    claims_title="The claims of this study, on this model",
    contrast="text_cosine",
    parts=(
        Part("cosine of the two writes", "text_cosine"),
        Part("turn by the step", "text_turn"),
    ),
)
