"""Results as plotly figures. They lay out what the result holds and decide nothing."""

from typing import Any

import plotly.graph_objects as go
import xarray as xr

from laminar_lens.figures.contrasts import contrasts
from laminar_lens.figures.dimensions import contributions, few_share, without
from laminar_lens.figures.geometries import baseline, excess, first_effect, target
from laminar_lens.figures.modes import mixture
from laminar_lens.figures.positions import by_position, by_position_skipped, tokens
from laminar_lens.figures.sequential import (
    baseline_split,
    difference,
    dispersion,
    rotation,
    target_by_layer,
)
from laminar_lens.figures.sinks import activations, attention, beside, lengths, writes
from laminar_lens.figures.warmup import cost, k_by_layer, paired_shift, random_init, warmup_delta
from laminar_lens.figures.why import (
    why_cells,
    why_effects,
    why_excess,
    why_places,
    why_trend,
    why_verdict,
)
from laminar_lens.results.conditions import contrast_curves

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
_WHY = {
    "why_effects": why_effects,
    "why_verdict": why_verdict,
    "why_trend": why_trend,
    "why_excess": why_excess,
    "why_cells": why_cells,
    "why_places": why_places,
}

_GEOMETRIES = {
    "geometry_excess": excess,
    "geometry_E11": first_effect,
    "geometry_target": target,
    "geometry_baseline": baseline,
}
_SINKS = {
    "sink_lengths": lengths,
    "sink_attention": attention,
    "sink_writes": writes,
    "sink_activations": activations,
    "sink_tokens": beside,
}
_DIMENSIONS = {
    "dimension_angles": few_share,
    "dimension_removal": without,
    "dimension_contributions": contributions,
}


def figures(result: Any) -> dict[str, go.Figure]:
    """Every figure that the result has the numbers for, by name, in reading order.

    Args:
        result: a `StudyResult`; only its `dataset` is read.

    Returns:
        Plotly figures; angles in radians on the left axis, in degrees on the right. `layout.meta["caption"]`
        says what to look at. Of several conditions, those of the plain run, after one of the contrasts.
    """
    dataset = result.dataset
    if len(result.conditions) == 1:
        return _figures(dataset)
    curves = contrast_curves(result.tree, int(result.provenance.get("seed") or 0))
    found = {"contrasts": contrasts(curves), **_figures(dataset)}
    return {name: figure for name, figure in found.items() if figure is not None}


def _figures(dataset: xr.Dataset) -> dict[str, go.Figure]:
    """Those of one condition."""
    makers = {**_SEQUENTIAL, **_WARMUP, **_WHY, **_GEOMETRIES, **_SINKS, **_DIMENSIONS}
    drawn = {name: make(dataset) for name, make in makers.items()}
    return {name: figure for name, figure in drawn.items() if figure is not None}
