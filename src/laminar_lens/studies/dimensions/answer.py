"""From what a dimension study measured to its dataset; the claims are in claims.py."""

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.studies.claim import worded
from laminar_lens.studies.columns import column, with_ends
from laminar_lens.studies.dimensions.claims import CLAIMS, FEW, HALF, TEXTS, Halves, few_claim, sentence
from laminar_lens.studies.dimensions.cosines import PAIRS
from laminar_lens.studies.dimensions.measure import Measurement
from laminar_lens.studies.dimensions.null import like_size
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.study import Answer

AXES = ("geometry", "pairs", "layer")


def answer(dataset: xr.Dataset) -> Answer:
    """Every contribution and angle with its interval, the claims D1–D4 and the sentence."""
    found, seed = of_dataset(Measurement, dataset), int(dataset.attrs["seed"])
    before, after, order = found.before, found.after, found.order
    facts = Halves(
        before,
        after,
        order,
        found.removal,
        like_size(before, after, order, FEW, seed),
        tuple(map(str, found.geometry)),
        tuple(found.layer.tolist()),
        found.text,
        found.group,
        seed,
    )
    claims = worded({name: few_claim(facts, *where) for name, where in CLAIMS.items()}, TEXTS)
    variables = _contributions(facts) | _top(facts) | _null(facts) | _angles(facts)
    removed = facts.removal.part.shape[-1]
    coords = {
        "geometry": list(facts.geometries),
        "pairs": list(PAIRS),
        "layer": list(facts.layers),
        "dimension": np.arange(facts.order.shape[-1]),
        "rank": np.arange(1, removed + 1),
        "removed": np.arange(removed + 1),
        "text": facts.texts,
    }
    attrs = {"n_texts": found.n_texts, "n_measured": len(facts.texts), "few": FEW}
    return Answer(xr.Dataset(variables, coords, attrs), sentence(facts, claims), claims)


def _contributions(facts: Halves) -> dict[str, xr.Variable]:
    a, b = facts.before, facts.after
    n = a.n + b.n
    mean = (a.n * a.mean + b.n * b.mean) / n
    name = "mean over texts of u_k v_k / (|u| |v|), each text's mean over its pairs"
    ranked = np.take_along_axis(b.mean, facts.order, -1).cumsum(-1)
    whole = b.cosine[..., None]
    enough = np.where(whole >= 0, ranked >= HALF * whole, ranked <= HALF * whole)
    return {
        "contribution": column((*AXES, "dimension"), mean, f"{name}; the sum over dimensions is the cosine"),
        "contribution_sd": column(
            (*AXES, "dimension"), b.sd, "its standard deviation over the measured texts"
        ),
        "cosine": column(AXES, mean.sum(-1), "mean cosine"),
        "n_half": column(
            AXES,
            np.where(enough.any(-1), enough.argmax(-1) + 1, -1),
            "how many dimensions make half of the mean cosine, the largest of the choosing texts first",
            "dimensions",
        ),
    }


def _top(facts: Halves) -> dict[str, xr.Variable]:
    by = (*AXES, "rank")
    removed = facts.removal.part.shape[-1]
    found = mean_interval(np.moveaxis(facts.removal.part, 3, 0), groups=facts.groups, seed=facts.seed)
    share = np.stack([[facts.share(g, k) for k in range(len(PAIRS))] for g in range(len(facts.geometries))])
    return {
        "top_dimension": column(by, facts.order[..., :removed], "dimension, the largest contribution first"),
        **with_ends("top_contribution", by, found, "its contribution in the measured texts"),
        "few_share": column(AXES, share, f"share of the mean cosine that the first {FEW} make"),
    }


def _null(facts: Halves) -> dict[str, xr.Variable]:
    like, name = facts.like, f"share of the mean cosine that {FEW} random dimensions of like size would make"
    reach = f"what the first {FEW} of two random directions add to their cosine, in 99 of 100"
    return {
        "random_reach": column(AXES, facts.reach, reach),
        "few_like_low": column(AXES, like.low, f"{name}; 2.5% of the draws lie below"),
        "few_like_high": column(AXES, like.high, f"{name}; 97.5% of the draws lie below"),
        "few_like_p": column(AXES, like.p, f"share of such draws that make as much as the first {FEW}"),
        "few_like_others": column(
            AXES, like.others, "how many others are of like size, for the one with the fewest", "dimensions"
        ),
    }


def _angles(facts: Halves) -> dict[str, xr.Variable]:
    removal, by = facts.removal, (*AXES, "removed")
    found = mean_interval(np.moveaxis(removal.angle, 3, 0), groups=facts.groups, seed=facts.seed)
    low, high = np.quantile(removal.null, [0.025, 0.975], axis=3)
    per_text = np.moveaxis(removal.angle, 3, 0).astype(np.float32)
    return {
        "angle": column(("text", *by), per_text, "mean angle of a text's pairs without dimensions", "rad"),
        **with_ends("angle_without", by, found, "mean angle without the first dimensions", "rad"),
        "angle_random": column(by, removal.null.mean(3), "the same without random dimensions", "rad"),
        "angle_random_low": column(by, low, "2.5% of the draws lie below", "rad"),
        "angle_random_high": column(by, high, "97.5% of the draws lie below", "rad"),
    }
