"""The numbers of a sink study as they were measured, and from which size an activation is called massive."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from laminar_lens.studies.lengths import RESIDUAL
from laminar_lens.studies.measured import Axes

VARIANTS = ("published", "relative", "scale_free")
"""|value| > 100 and > 1000 × the median |value|; the second alone; > 5 × the median norm of the text."""

FLOOR, RELATIVE, NORMS = 100.0, 1000.0, 5.0


@dataclass
class Sinks:
    """What was measured. Lengths and activations are the geometry's.

    Attributes:
        norm: length of each vector.
        value: largest |coordinate|; `dimension` says which.
        median: median |coordinate| of the text.
        massive: number of texts with a massive activation in that dimension.
        massive_first: the same, at position 0.
        token_id: with the BOS, where there is one.
        token, word: every token that occurs, and its text.
        geometry: its name.
        bos: whether position 0 is a BOS.
        last: number of the model's last hidden state; `final_norm` says whether it is taken after the norm.
        layer, block: hidden states, and the blocks that they come out of.
        received: mean over texts of the mean attention that later positions (and itself) pay to a position;
            None where the model shows no attention.
        first: the same of position 0, by text.
        resting: share of heads with more than `HEAD_SHARE` of it.
        write: growth of the length by each component; NaN where the step is not the sum of its writes; None
            in another geometry than raw.
        error: largest distance of a step from its writes' sum, relative to the longest of input, output and
            writes at that position; NaN where one of them is not finite, which checks nothing.
        random_norm, random_resting: norm and resting, with random weights.
        beside: position 0's length over the text's median, in each geometry beside the study's own.
        group: of each text, where texts of one group count as one.
    """

    norm: Annotated[np.ndarray, Axes("text layer pos", RESIDUAL, "length")]
    value: Annotated[np.ndarray, Axes("text layer pos", RESIDUAL, "largest |coordinate|")]
    dimension: Annotated[np.ndarray, Axes("text layer pos", "", "dimension of the largest |coordinate|")]
    median: Annotated[np.ndarray, Axes("text layer", RESIDUAL, "median |coordinate|")]
    massive: Annotated[np.ndarray, Axes("variant layer dimension_index")]
    massive_first: Annotated[np.ndarray, Axes("variant layer dimension_index")]
    token_id: Annotated[np.ndarray, Axes("text pos")]
    token: Annotated[np.ndarray, Axes("vocabulary")]
    word: Annotated[np.ndarray, Axes("vocabulary")]
    layer: Annotated[np.ndarray, Axes("layer")]
    block: Annotated[np.ndarray, Axes("block")]
    geometry: str
    bos: bool
    last: int
    final_norm: bool
    received: Annotated[np.ndarray, Axes("block head pos", "1")] | None = None
    first: Annotated[np.ndarray, Axes("text block head", "1")] | None = None
    resting: Annotated[np.ndarray, Axes("text block pos", "1")] | None = None
    write: Annotated[np.ndarray, Axes("text block component pos", RESIDUAL)] | None = None
    error: Annotated[np.ndarray, Axes("block", "1")] | None = None
    random_norm: Annotated[np.ndarray, Axes("random_text layer pos", RESIDUAL)] | None = None
    random_resting: Annotated[np.ndarray, Axes("random_text block pos", "1")] | None = None
    beside: Annotated[np.ndarray, Axes("geometry layer text", "1")] | None = None
    geometries: Annotated[np.ndarray, Axes("geometry")] | None = None
    group: Annotated[np.ndarray, Axes("text")] | None = None


def length_ratios(norm: np.ndarray) -> np.ndarray:
    """Each length over the median of its text in that layer, [… pos]; NaN where that is 0."""
    typical = np.median(norm, axis=-1, keepdims=True)
    nothing = np.full(norm.shape, np.nan, np.float32)
    return np.asarray(np.divide(norm, typical, out=nothing, where=typical > 0))
