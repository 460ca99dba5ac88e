"""Results as plotly figures. They lay out what the result holds and decide nothing."""

from typing import Any

import plotly.graph_objects as go

from laminar_lens.figures.modes import mixture
from laminar_lens.figures.positions import by_position, by_position_skipped, tokens
from laminar_lens.figures.sequential import (
    baseline_split,
    difference,
    dispersion,
    rotation,
    target_by_layer,
)
from laminar_lens.figures.warmup import cost, k_by_layer, paired_shift, random_init, warmup_delta

__all__ = ["figures"]

_SEQUENTIAL = {
    "target_by_layer": target_by_layer,
    "baseline_split": baseline_split,
    "tokens": tokens,
    "by_position": by_position,
    "by_position_skipped": by_position_skipped,
    "mixture": mixture,
    "difference": difference,
    "rotation": rotation,
    "dispersion": dispersion,
}
_WARMUP = {
    "warmup_delta": warmup_delta,
    "warmup_k": k_by_layer,
    "warmup_random_init": random_init,
    "warmup_paired_shift": paired_shift,
    "warmup_cost": cost,
}


def figures(result: Any) -> dict[str, go.Figure]:
    """Every figure that the result has the numbers for, by name, in reading order.

    Args:
        result: a `StudyResult`; only its `dataset` is read.

    Returns:
        Plotly figures; angles in radians on the left axis, in degrees on the right. `layout.meta["caption"]`
        says what to look at.
    """
    makers = {**_SEQUENTIAL, **_WARMUP}
    drawn = {name: make(result.dataset) for name, make in makers.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}
