"""The numbers of a decomposition study as they were measured: means over the tokens of a text."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from laminar_lens.studies.lengths import RESIDUAL
from laminar_lens.studies.measured import Axes

BY = "text layer"


@dataclass
class Measured:
    """What was measured of the step into each hidden state, by text; NaN where a step is not attention + MLP.

    Attributes:
        cosine: of attention's and the MLP's write to a token.
        other: the same of writes to different tokens of the text and layer.
        ratio: logarithm of the MLP's length over attention's.
        residual: length of the block's input.
        length: of what attention, MLP and both write.
        relative: lengths over that of the residual that they enter.
        along, across: the part along that residual (it lengthens) and at right angles to it (it turns), over
            its length.
        radial: share of the squared length that is along it.
        with_residual, with_step: angles with that residual, and of the writes with the step.
        turn: by how much each turns the residual that it enters.
        place_cosine: cosine by position, the mean over texts; `place_count` says over how many.
        error: largest distance of a step from its writes' sum, see `laminar_lens.models.steps.Step.error`.
        layer: hidden states, each written by the block before it.
        body_from: first positions that are left out, but for `place_cosine` and `error`.
        geometry: its name.
        last: number of the model's last hidden state.
        parallel: whether attention and MLP read the same vector.
        head_cosine: of what each head writes with the MLP's write; None where heads were not asked for.
        head_relative: its length over that of the block's input.
        head_along: its part along the block's input, over that one's length.
        head_share: its part of attention's write, along that.
        group: of each text, where texts of one group count as one.
    """

    cosine: Annotated[np.ndarray, Axes(BY, "1")]
    other: Annotated[np.ndarray, Axes(BY, "1")]
    ratio: Annotated[np.ndarray, Axes(BY, "1")]
    residual: Annotated[np.ndarray, Axes(BY, RESIDUAL)]
    length: Annotated[np.ndarray, Axes(f"{BY} part", RESIDUAL)]
    relative: Annotated[np.ndarray, Axes(f"{BY} part", "1")]
    along: Annotated[np.ndarray, Axes(f"{BY} part", "1")]
    across: Annotated[np.ndarray, Axes(f"{BY} part", "1")]
    radial: Annotated[np.ndarray, Axes(f"{BY} part", "1")]
    with_residual: Annotated[np.ndarray, Axes(f"{BY} part", "rad")]
    with_step: Annotated[np.ndarray, Axes(f"{BY} component", "rad")]
    turn: Annotated[np.ndarray, Axes(f"{BY} part", "rad")]
    place_cosine: Annotated[np.ndarray, Axes("layer pos", "1")]
    place_count: Annotated[np.ndarray, Axes("layer pos")]
    error: Annotated[np.ndarray, Axes("layer", "1")]
    layer: Annotated[np.ndarray, Axes("layer")]
    body_from: int
    geometry: str
    last: int
    parallel: bool
    head_cosine: Annotated[np.ndarray, Axes(f"{BY} head", "1")] | None = None
    head_relative: Annotated[np.ndarray, Axes(f"{BY} head", "1")] | None = None
    head_along: Annotated[np.ndarray, Axes(f"{BY} head", "1")] | None = None
    head_share: Annotated[np.ndarray, Axes(f"{BY} head", "1")] | None = None
    group: Annotated[np.ndarray, Axes("text")] | None = None


HEADS = ("head_cosine", "head_relative", "head_along", "head_share")
OF_TEXTS = (
    *("cosine", "other", "ratio", "residual", "length", "relative", "along", "across", "radial"),
    *("with_residual", "with_step", "turn", *HEADS),
)
"""Variables by text and layer."""
