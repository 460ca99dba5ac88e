"""How a speech study is shown."""

from functools import partial

import xarray as xr

from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import Part, Section, View
from laminar_lens.studies.speech.facts import HELD
from laminar_lens.studies.speech.figures import paths, plane, ratios, rotations, windings
from laminar_lens.tables import ENDS, Column, Table, listed, with_interval
from laminar_lens.words import bracketed, estimate, number

LONGER = "log path ratio of nouns to adjectives, {} (0.01: 1% longer)"
SAID = {"tortuosity": "winding"}
RATIOS_NOTE = (
    "Ratio of the geometric means of two classes' words, within each text, then over texts{bands}. Matched: "
    "words of the same frequency, number of tokens, position and number of characters, by a least-squares "
    "fit."
)
BANDS = ", with 95% bands that hold for all at once"
P_NOTE = (
    " What is said goes by the bands; p, of sign flips of whole texts, adjusted for all, is another test and "
    "may differ."
)
CLASSES_NOTE = (
    "Path and turn: of single words, in all dimensions, mean over words and texts. Mean state: the path of "
    "the mean of a class's states, in all dimensions and (published) in the plane of their first two "
    "principal components; these two have no interval."
)


@needs("ratio")
def ratio_table(dataset: xr.Dataset) -> Table | None:
    """Every pair of classes, one row a measure and pair."""
    rows = [(m, c) for m in dataset["measure"].values.tolist() for c in dataset["compared"].values.tolist()]
    parts = [dataset.sel(measure=m, compared=c) for m, c in rows]
    columns = [
        Column("of", tuple(SAID.get(m, m) for m, _ in rows), values={"measure": [m for m, _ in rows]}),
        Column("classes", tuple(c for _, c in rows), values={"classes": [c for _, c in rows]}, wide=True),
    ]
    for held, spare in (("matched", 0), ("as they are", 1)):
        key = held.replace(" ", "_")
        ends = {f"{key}{end}": [float(one[f"ratio{end}"].sel(held=held)) for one in parts] for end in ENDS}
        columns.append(Column.of(held, partial(bracketed, digits=3), ends, spare=spare, answer=not spare))
    if "ratio_p" in dataset:
        p = [float(one["ratio_p"].sel(held="matched")) for one in parts]
        columns.append(Column.of("p", number, {"matched_p": p}, spare=2))
    note = RATIOS_NOTE.format(bands=BANDS if bool(dataset["ratio_low"].notnull().any()) else "")
    note += P_NOTE if "ratio_p" in dataset else ""
    return Table("ratios", "Classes of words, two by two", tuple(columns), note)


@needs("published_length")
def class_table(dataset: xr.Dataset) -> Table | None:
    """Each class through all layers, and the published form beside."""
    last = dataset.isel(layer=-1)
    columns = (
        Column.of("class", str, listed(dataset, "class")),
        Column.of("words", number, listed(dataset, "words"), spare=1),
        Column.of("path", estimate, with_interval(last, "path")),
        Column.of("winding", estimate, with_interval(last, "tortuosity"), spare=3),
        Column.of("turn (rad)", estimate, with_interval(last, "rotation"), spare=4),
        Column.of("mean state", number, listed(dataset, "mean_length"), spare=2),
        Column.of("published", number, listed(dataset, "published_length")),
    )
    return Table("classes", "Each class, through all layers", columns, CLASSES_NOTE)


VIEW = View(
    title="Parts of speech",
    sections=(
        Section("Class against class", {"speech_ratios": ratios}, {"ratios": ratio_table}),
        Section(
            "Along the layers",
            {"speech_paths": paths, "speech_winding": windings, "speech_rotation": rotations},
        ),
        Section("The published form", {"speech_plane": plane}, {"classes": class_table}),
    ),
    claims_title="What is said of nouns and adjectives, on this model",
    parts=(
        *(Part(LONGER.format(held), "longer_by_text", {"held": HELD.index(held)}) for held in HELD[::-1]),
        Part("rotation", "turn_by_text"),
    ),
)
