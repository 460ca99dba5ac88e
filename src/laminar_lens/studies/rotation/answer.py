"""From what a rotation study measured to its answer: rotations, differences, distances and their bands."""

import numpy as np
import xarray as xr

from laminar_lens.stats.means import mean
from laminar_lens.studies.columns import BAND, column, radians, with_ends
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.rotation.claims import PUBLISHED, answer_claims
from laminar_lens.studies.rotation.facts import PARTS, PLACES, Facts
from laminar_lens.studies.rotation.measure import AT, Measurement
from laminar_lens.studies.rotation.runs import Runs, least_turning
from laminar_lens.studies.rotation.words import sentence
from laminar_lens.studies.study import Answer

Variables = dict[str, xr.Variable]


def answer(dataset: xr.Dataset, *, target: str, tau: float, n_perm: int) -> Answer:
    """Every rotation and distance, the claims R1–R3 and the sentence."""
    measured = of_dataset(Measurement, dataset)
    facts = Facts(measured, target, tau, n_perm, int(dataset.attrs["seed"]))
    claims = answer_claims(facts)
    runs = least_turning(facts.pruning, measured.state, measured.n_layers)
    variables = _by_text(measured) | _rotations(facts) | _difference(facts) | _between(facts) | _runs(runs)
    coords = {
        "layer": measured.layer,
        "place": list(PLACES),
        "part": list(PARTS),
        "which": list(AT),
        "state": measured.state,
        "to_state": measured.state,
    }
    attrs = {"n_prompts": len(measured.target), "tau": tau, "n_layers": measured.n_layers}
    attrs |= {"published_low": PUBLISHED[0], "published_high": PUBLISHED[1]}
    return Answer(
        xr.Dataset(variables, coords, attrs), sentence(facts, claims, runs), claims, _notes(measured)
    )


def _notes(measured: Measurement) -> tuple[str, ...]:
    first = (measured.target_pair[..., 0] == 0).any(axis=1)
    if not first.any():
        return ()
    return (
        f"In {int(first.sum())} of {len(first)} prompts the word before the target is position 0, which has "
        "no context: what differs there may be its place.",
    )


def _by_text(measured: Measurement) -> Variables:
    by = ("prompt", "layer")
    return {
        "target_rotation": radians(by, measured.target, "rotation of the target since the layer before"),
        "before_rotation": radians(by, measured.before, "rotation of the word before it"),
        "shuffled_rotation": radians(by, measured.shuffled, "angle from the target to shuffled tokens"),
    }


def _rotations(facts: Facts) -> Variables:
    name = "mean rotation since the layer before"
    found = with_ends("rotation", ("place", "layer"), facts.by_layer, name, "rad", ends=BAND)
    part = "mean rotation a block, over the blocks of a part of the model"
    found |= with_ends("part_rotation", ("place", "part"), facts.by_part, part, "rad", ends=BAND)
    influence = "block influence: 1 minus the mean cosine between a token's vectors in layer and layer before"
    found |= with_ends("influence", ("layer",), facts.influence, influence, "1", ends=BAND)
    if facts.measured.random is not None:
        random = "mean rotation of the target with random weights"
        found["random_rotation"] = radians(("layer",), facts.measured.random, random)
    return found


def _difference(facts: Facts) -> Variables:
    name = "rotation of the target minus that of the word before it, mean over prompts"
    found = with_ends("difference", ("layer",), facts.difference, name, "rad", ends=BAND)
    if facts.flips is not None:
        p = "p of the paired sign flips, adjusted for all layers"
        found["difference_p"] = column(("layer",), facts.flips.p, p)
    return found


def _between(facts: Facts) -> Variables:
    name = "angle between two layers' vectors of one token, mean over prompts"
    found = {"between": radians(("which", "state", "to_state"), mean(facts.measured.between, axis=0), name)}
    distance = "pruning distance: the angle of a prompt's last token between two layers, over π"
    return found | with_ends("pruning", ("state", "to_state"), facts.pruning, distance, "1", ends=BAND)


def _runs(runs: Runs | None) -> Variables:
    if runs is None:
        return {}
    about = {
        "first": "first block of the run that turns a prompt's last token least",
        "estimate": "its pruning distance, mean over prompts",
        "low": BAND[0],
        "high": BAND[1],
        "rivals": "other runs of that length that reach below its upper end; -1: not known",
    }
    found = {
        f"run_{name}": column(("run",), getattr(runs, name), said, "block" if name == "first" else "1")
        for name, said in about.items()
    }
    found["run_blocks"] = column(("run",), runs.blocks, "blocks in a row", "blocks")
    found["run_quarter"] = column((), np.int64(runs.quarter), "which run is a quarter of the blocks")
    return found
