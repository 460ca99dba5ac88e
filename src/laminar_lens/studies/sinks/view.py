"""How a sink study is shown."""

import xarray as xr

from laminar_lens.figures.geometries import Headline
from laminar_lens.figures.marks import needs
from laminar_lens.figures.view import Part, Section, View
from laminar_lens.stats.sinks import HEAD_SHARE
from laminar_lens.studies.sinks.figures import activations, attention, beside, lengths, writes
from laminar_lens.tables import Column, Table, by_layer, listed, with_interval
from laminar_lens.words import estimate, number

NOTE = "Length: geometric mean over texts, with a 95% band over all layers and positions"
RANDOM = "; random: the same of random weights"
ATTENTION = (
    f" Top head: the block's largest mean attention to position 0; over {HEAD_SHARE}: heads shown to give it "
    "more than that on average; in a text: share of heads that do, averaged over texts."
)


@needs("norm_ratio")
def position_0(dataset: xr.Dataset) -> Table | None:
    """Position 0's length in each layer, and the attention to it in the block that the layer comes out of."""
    first = dataset.isel(pos=0)
    length = with_interval(first, "norm_ratio")
    columns = [Column.of("length", estimate, length, unit="times the text's median", answer=True)]
    note = NOTE
    if "random_norm_ratio" in dataset:
        note += RANDOM
        columns.append(Column.of("random", number, listed(first, "random_norm_ratio"), spare=2))
    title, note = "Position 0 by layer: length over the text's median", f"{note}."
    if "attention_first" in dataset:
        title += "; attention of the block before, by head"
        note += ATTENTION
        columns += _attention(dataset, first)
    return by_layer("position_0", title, dataset["layer"].values, columns, note)


def _attention(dataset: xr.Dataset, first: xr.Dataset) -> list[Column]:
    """Of the block that each layer comes out of; the embedding has none."""
    without = dataset.sizes["layer"] - dataset.sizes["block"]
    heads, names = dataset.sizes["head"], ("block", "top_head", "heads_over", "resting_heads")
    block, top, over, share = ({name: [*[None] * without, *first[name].values.tolist()]} for name in names)
    over["heads_over"] = [None if n == -1 else n for n in over["heads_over"]]
    return [
        Column.of("block", number, block),
        Column.of("top head", number, top),
        Column.of(
            f"over {HEAD_SHARE}", lambda n: "–" if n is None else f"{n} of {heads}", over, unit="heads"
        ),
        Column.of("in a text", lambda s: "–" if s is None else f"{s:.1%}", share, spare=1),
    ]


VIEW = View(
    title="Sink study",
    sections=(
        Section(
            "Position 0 against the rest",
            {"sink_lengths": lengths, "sink_attention": attention},
            {"position_0": position_0},
        ),
        Section(
            "Who writes it, and where",
            {"sink_writes": writes, "sink_activations": activations, "sink_tokens": beside},
        ),
    ),
    geometries={
        "length": Headline(
            "length of position 0",
            "How long position 0 is, by geometry",
            "length (times the text's median)",
            unit="times",
        )
    },
    claims_title="What attention-sink research claims, on this model",
    contrast="ratio",
    parts=(Part("length of position 0 over the median", "ratio", {"pos": 0}),),
)
