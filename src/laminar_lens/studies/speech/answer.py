"""From what a speech study measured to its answer: ratios between classes with their bands, and curves."""

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import mapped
from laminar_lens.studies.columns import BAND, column, with_ends
from laminar_lens.studies.lengths import RESIDUAL
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.speech.claims import PAIR, answer_claims
from laminar_lens.studies.speech.facts import HELD, MEASURES, Facts
from laminar_lens.studies.speech.measure import Measurement
from laminar_lens.studies.speech.words import sentence
from laminar_lens.studies.study import Answer

Variables = dict[str, xr.Variable]
CURVES = {
    "path": ("sum of the steps so far", RESIDUAL),
    "path_share": ("sum of the steps so far, over the mean of the classes", "1"),
    "tortuosity": ("path over distance from the embedding", "1"),
    "rotation": ("mean rotation a layer, so far", "rad"),
    "step": ("step since the layer before", RESIDUAL),
    "turn": ("rotation since the layer before", "rad"),
}


def answer(dataset: xr.Dataset, *, classes: tuple[str, ...], n_perm: int) -> Answer:
    """Every ratio and curve, the claims N1–N3 and the sentence."""
    measured = of_dataset(Measurement, dataset)
    facts = Facts(measured, classes, n_perm, int(dataset.attrs["seed"]))
    claims = answer_claims(facts)
    variables = _ratios(facts) | _curves(facts) | _published(facts)
    coords: dict[str, Any] = {
        "class": list(classes),
        "compared": [f"{first} / {second}" for first, second in facts.pairs],
        "measure": list(MEASURES),
        "held": list(HELD),
        "layer": measured.layer,
        "state": measured.state,
    }
    attrs = {"n_texts": facts.n, "tagger": measured.tagger, "what": "step_by_text"}
    if PAIR in facts.pairs:
        variables |= _longer(facts)
        attrs["what"] = "longer_by_text"
    return Answer(xr.Dataset(variables, coords, attrs), sentence(facts, claims), claims)


def _ratios(facts: Facts) -> Variables:
    by = ("measure", "compared", "held")
    about = "ratio of two classes' words, geometric mean over words of a text and over texts"
    ratios = replace(mapped(np.exp, facts.effect), withheld=facts.withheld())
    found = with_ends("ratio", by, ratios, about, "1", ends=BAND)
    found["ratio_by_text"] = column(("text", *by), np.exp(facts.effects), "ratio in each text")
    if np.isfinite(facts.p).any():
        found["ratio_p"] = column(by, facts.p, "p of the sign flips, adjusted for all ratios")
    return found


def _longer(facts: Facts) -> Variables:
    """What N1 and N2 are about, as it grows along the layers."""
    about = "logarithm of the ratio of nouns' and adjectives' paths so far"
    values = facts.path_effects[:, facts.pairs.index(PAIR)]
    return {"longer_by_text": column(("text", "held", "layer"), values, about)}


def _curves(facts: Facts) -> Variables:
    found: Variables = {
        "words": column(("class",), facts.n_words, "words that are measured"),
        "texts": column(("class",), [facts.n_texts[name] for name in facts.classes], "texts that have one"),
    }
    for name, (about, unit) in CURVES.items():
        found |= with_ends(name, ("class", "layer"), facts.curves[name], f"mean {about}", unit, ends=BAND)
    for name in ("step", "turn"):
        about, unit = CURVES[name]
        values = facts.by_class[name]
        found[f"{name}_by_text"] = column(
            ("text", "class", "layer"), values, f"{about}, mean over words", unit
        )
    return found


def _published(facts: Facts) -> Variables:
    about = "length of the path of a class's mean state"
    return {
        "plane": column(("class", "state", "coordinate"), facts.plane, "mean state in the plane", RESIDUAL),
        "published_length": column(("class",), facts.published["plane"], f"{about}, in a plane", RESIDUAL),
        "mean_length": column(("class",), facts.published["mean"], f"{about}, in all dimensions", RESIDUAL),
    }
