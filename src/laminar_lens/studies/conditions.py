"""What was found under several conditions: a tree with one answer for each."""

import json
from collections.abc import Mapping

import xarray as xr

from laminar_lens.axes import Labels
from laminar_lens.interventions.conditions import Conditions
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import check_same_weights
from laminar_lens.results import make_tree


def with_conditions(
    model: HookedModel,
    answers: Mapping[str, xr.Dataset],
    conditions: Conditions,
    measured: Mapping[str, xr.Dataset] | None = None,
    *,
    parts: Mapping[str, Mapping[str, xr.DataTree]] | None = None,
    groups: Labels = None,
) -> xr.DataTree:
    """The tree of all conditions.

    Args:
        model: that was measured.
        answers: labelled datasets by condition.
        conditions: the interventions of each.
        measured: what the answers follow from.
        parts: the other studies that they rest on, by condition and kind.
        groups: one label a text, where texts of one group count as one.

    Raises:
        CaptureError: the model's weights changed while they were measured.
    """
    for dataset in answers.values():
        check_same_weights(model, json.loads(dataset.attrs["provenance"])["model"]["weights_sha256"])
    described = {name: [one.describe(model) for one in changes] for name, changes in conditions.items()}
    return make_tree(answers, measured, parts=parts, described=described, groups=groups)
