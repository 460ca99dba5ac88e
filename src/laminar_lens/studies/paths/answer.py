"""From what a path study measured to its answer: lengths, growth and correlations with their bands."""

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import mapped
from laminar_lens.stats.means import mean
from laminar_lens.studies.columns import BAND, column, with_ends
from laminar_lens.studies.lengths import RESIDUAL
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.paths.claims import PUBLISHED_GROWTH, answer_claims
from laminar_lens.studies.paths.correlations import METHODS
from laminar_lens.studies.paths.facts import HELD, LENGTHS, PARTS, PREDICTED, WHICH, Facts
from laminar_lens.studies.paths.measure import Measurement
from laminar_lens.studies.paths.words import sentence
from laminar_lens.studies.study import Answer

Variables = dict[str, xr.Variable]
BY_LAYER = {
    "step": ("step since the layer before", RESIDUAL),
    "relative_step": ("step over the norm that it leaves", "1"),
    "path": ("sum of the steps so far", RESIDUAL),
    "relative_path": ("sum of the relative steps so far", "1"),
    "displacement": ("distance from the embedding", RESIDUAL),
    "tortuosity": ("path over displacement", "1"),
}


def answer(dataset: xr.Dataset, *, n_perm: int) -> Answer:
    """Every length and correlation, the claims P1a–P3 and the sentence."""
    measured = of_dataset(Measurement, dataset)
    facts = Facts(measured, n_perm, int(dataset.attrs["seed"]))
    claims = answer_claims(facts)
    variables = _by_text(facts) | _lengths(facts) | _growth(facts) | _correlations(facts)
    coords = {
        "layer": measured.layer,
        "which": list(WHICH),
        "part": list(PARTS),
        "length": list(LENGTHS),
        "predicted": list(PREDICTED),
        "statistic": list(METHODS),
        "held": list(HELD),
    }
    attrs = {"n_texts": facts.n, "tokens": measured.norm.shape[2], "published_growth": PUBLISHED_GROWTH}
    return Answer(xr.Dataset(variables, coords, attrs), sentence(facts, claims), claims)


def _by_text(facts: Facts) -> Variables:
    """Mean over positions, without position 0."""
    return {
        f"{name}_by_text": column(
            ("text", "layer"),
            mean(facts.lengths[name][:, :, 1:], axis=2),
            f"{about}, mean over positions",
            unit,
        )
        for name, (about, unit) in BY_LAYER.items()
        if name in ("relative_step", "tortuosity")
    }


def _lengths(facts: Facts) -> Variables:
    found: Variables = {}
    for name, (about, unit) in BY_LAYER.items():
        found |= with_ends(name, ("which", "layer"), facts.by_layer[name], f"mean {about}", unit, ends=BAND)
    growth = mapped(np.exp, facts.by_layer["log_growth"])
    about = "norm over the norm in the layer before, geometric mean"
    return found | with_ends("growth", ("which", "layer"), growth, about, "1", ends=BAND)


def _growth(facts: Facts) -> Variables:
    about = "norm over the norm in the layer before, geometric mean over the blocks of a part"
    return with_ends("part_growth", ("which", "part"), mapped(np.exp, facts.growth), about, "1", ends=BAND)


def _correlations(facts: Facts) -> Variables:
    by = ("length", "predicted", "statistic", "held")
    about = "correlation of path length along a text's positions with what is predicted, mean over texts"
    found = with_ends("correlation", by, facts.correlation, about, "1", ends=BAND)
    found["correlation_by_text"] = column(("text", *by), facts.correlations, "correlation in each text")
    pooled = "correlation over the tokens of all texts at once"
    found["correlation_pooled"] = column(by[:3], facts.pooled, pooled)
    if facts.flips is not None:
        p = facts.flips.p.reshape(facts.correlations.shape[1:])
        found["correlation_p"] = column(by, p, "p of the sign flips, adjusted for all correlations")
    return found
