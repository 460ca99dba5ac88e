"""How a sink study is shown."""

import numpy as np
import xarray as xr

from laminar_lens.figures.view import Section, View
from laminar_lens.stats.sinks import HEAD_SHARE
from laminar_lens.studies.sinks.figures import activations, attention, beside, lengths, writes
from laminar_lens.tables import Column, Table, by_layer
from laminar_lens.words import estimate_text, number


def position_0(dataset: xr.Dataset) -> Table | None:
    """Position 0's length in each layer, and the attention to it in the block that the layer comes out of."""
    if "norm_ratio" not in dataset:
        return None
    first = dataset.isel(pos=0)
    ends = {"estimate": "norm_ratio", "low": "norm_ratio_low", "high": "norm_ratio_high"}
    values = {name: first[name].values.tolist() for name in ends.values()}
    rows = zip(*values.values(), strict=True)
    cells = tuple(estimate_text(dict(zip(ends, row, strict=True))) for row in rows)
    columns = [Column("length", cells, "times the text's median", values=values)]
    if "random_norm_ratio" in dataset:
        random = first["random_norm_ratio"].values.tolist()
        columns.append(
            Column("random", tuple(map(number, random)), spare=2, values={"random_norm_ratio": random})
        )
    title = "Position 0 by layer: length over the text's median"
    if "attention_first" in dataset:
        title += "; attention of the block before, by head"
        columns += _attention(dataset, first)
    return by_layer("position_0", title, dataset["layer"].values, columns)


def _attention(dataset: xr.Dataset, first: xr.Dataset) -> list[Column]:
    """Of the block before each layer; the embedding has none."""
    mean, low = dataset["attention_first"].values, dataset["attention_first_low"].values
    blocks, top = dataset["block"].values.tolist(), mean.max(axis=1).tolist()
    over = [int((row > HEAD_SHARE).sum()) if np.isfinite(row).all() else None for row in low]
    share = first["resting_heads"].values.tolist()
    counted = ("–" if n is None else f"{n} of {low.shape[1]}" for n in over)
    return [
        Column("block", ("–", *map(str, blocks)), values={"block": [None, *blocks]}),
        Column("top head", ("–", *map(number, top)), values={"top_head": [None, *top]}),
        Column(f"over {HEAD_SHARE}", ("–", *counted), "heads", values={"heads_over": [None, *over]}),
        Column(
            "in a text",
            ("–", *(f"{s:.1%}" for s in share)),
            spare=1,
            values={"resting_heads": [None, *share]},
        ),
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
    claims_title="What attention-sink research claims, on this model",
    contrast="ratio",
)
