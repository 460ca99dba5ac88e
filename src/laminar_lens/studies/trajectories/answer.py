"""From what a trajectory study measured to its answer: distances, shares and turns with their bands."""

import numpy as np
import xarray as xr

from laminar_lens.stats.means import mean
from laminar_lens.studies.columns import BAND, column, with_ends
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.study import Answer
from laminar_lens.studies.trajectories.claims import answer_claims, is_first
from laminar_lens.studies.trajectories.facts import ALONG, SPACES, Facts
from laminar_lens.studies.trajectories.measure import PLACES, UNIT, Measurement
from laminar_lens.studies.trajectories.words import sentence

Variables = dict[str, xr.Variable]


def answer(dataset: xr.Dataset, *, n_perm: int) -> Answer:
    """Every distance, share and turn, the claims T1–T3 and the sentence."""
    measured = of_dataset(Measurement, dataset)
    facts = Facts(measured, n_perm, int(dataset.attrs["seed"]))
    claims = answer_claims(facts)
    coords = {
        "layer": measured.layer,
        "word": measured.word,
        "versus": facts.names,
        "axis": measured.axis,
        "space": list(SPACES),
        "along": list(ALONG),
    }
    attrs = {"n_prompts": len(measured.text), "keep_first": int(measured.keep_first)}
    attrs |= {"paired": int(measured.paired)}
    attrs |= {"pca_rows": measured.rows, "first_is_axis": int(is_first(claims))}
    means = _means(facts)
    variables = _by_prompt(facts) | _by_layer(facts) | means | _of_every(facts, means) | _axes(facts)
    data = xr.Dataset(variables, coords, attrs)
    return Answer(data, sentence(facts, claims), claims, _notes(facts))


def _notes(facts: Facts) -> tuple[str, ...]:
    found = []
    if not facts.measured.exact:
        found.append("The PCA is incremental: there were too many states to hold at once.")
    turns = np.isfinite(facts.measured.position_turn).any(axis=2)
    missing = (facts.has & ~turns).any(axis=1)
    if missing.any():
        found.append(
            f"In {int(missing.sum())} of {len(missing)} prompts the target has no token before or after it "
            "that is measured: they have no turn along positions."
        )
    return tuple(found)


def _by_prompt(facts: Facts) -> Variables:
    by, at = ("prompt", "layer"), PLACES.index("target")
    target = facts.measured.coordinate[:, :, at]
    return {
        "target_distance": column(
            by, mean(facts.distances[:, 0], axis=1), "mean distance of the groups", UNIT
        ),
        "target_hidden": column(
            by, mean(facts.hidden_shares, axis=1), "mean share that the plane leaves out"
        ),
        "coordinate": column(("prompt", "word", *by[1:], "axis"), target, "coordinate of the target", UNIT),
    }


def _by_layer(facts: Facts) -> Variables:
    by = ("versus", "layer")
    of = "of two groups, mean over prompts" if facts.measured.paired else "of the means of two groups"
    found = with_ends("distance", ("space", *by), facts.distance, f"distance {of}", UNIT, ends=BAND)
    share = f"share of the squared distance {of}, that the plane leaves out"
    found |= with_ends("hidden", by, facts.hidden, share, ends=BAND)
    relative = f"distance {of}, over the mean of the two norms"
    found |= with_ends("relative", by, facts.relative, relative, ends=BAND)
    parting = "relative distance in the last third of the layers minus that in the first"
    found |= with_ends("parting", by[:1], facts.parting, parting, ends=BAND)
    found["parting_p"] = column(by[:1], facts.p, "p that it is 0, adjusted for all pairs")
    turn = "angle between the target's successive steps, mean over prompts"
    by_turn = ("along", "space", "word", "layer")
    return found | with_ends("turning", by_turn, facts.turning, turn, "rad", ends=BAND)


def _means(facts: Facts) -> Variables:
    """Distances of the groups' mean points: without what chance adds, and as published."""
    by = ("versus", "layer")
    name = "distance of the groups' mean points, without what chance adds"
    found = with_ends("mean_distance", ("space", *by), facts.mean_distance, name, UNIT, ends=BAND)
    share = "share of its square that the plane leaves out"
    found |= with_ends("mean_hidden", by, facts.mean_hidden, share, ends=BAND)
    points = mean(facts.target, axis=0)
    seen = [np.linalg.norm(points[a] - points[b], axis=-1) for a, b in facts.pairs]
    published = "distance of the groups' mean points in the plane, as published"
    found["published_distance"] = column(by, np.stack(seen), published, UNIT)
    full = "the same in full dimension"
    found["published_full"] = column(by, facts.measured.published, full, UNIT)
    return found


def _of_every(facts: Facts, means: Variables) -> Variables:
    """Means over groups, or each two of them, for one row a layer."""
    full = SPACES.index("full")
    found = {
        "distance": (("space", "layer"), facts.distance.estimate.mean(axis=1), UNIT),
        "hidden": (("layer",), mean(facts.hidden.estimate, axis=0), "1"),
        "relative": (("layer",), mean(facts.relative.estimate, axis=0), "1"),
        "mean_distance": (("space", "layer"), facts.mean_distance.estimate.mean(axis=1), UNIT),
        "mean_hidden": (("layer",), mean(facts.mean_hidden.estimate, axis=0), "1"),
        "published_distance": (("layer",), means["published_distance"].values.mean(axis=0), UNIT),
        "published_full": (("layer",), means["published_full"].values.mean(axis=0), UNIT),
        "turning": (("along", "layer"), mean(facts.turning.estimate[:, full], axis=1), "rad"),
    }
    about = "mean over groups"
    return {f"every_{name}": column(by, one, about, unit) for name, (by, one, unit) in found.items()}


def _axes(facts: Facts) -> Variables:
    name = "mean coordinate of the target"
    found = with_ends("trajectory", ("word", "layer", "axis"), facts.trajectory, name, UNIT, ends=BAND)
    share = "share of the variance of all states, the axes given"
    found |= with_ends("explained", ("axis",), facts.explained, share, ends=BAND)
    so_far = f"{share}, of an axis and those before"
    return found | with_ends("explained_so_far", ("axis",), facts.explained_so_far, so_far, ends=BAND)
