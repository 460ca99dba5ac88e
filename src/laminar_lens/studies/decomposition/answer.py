"""From what a decomposition study measured to its dataset: every number by layer with its band."""

import numpy as np
import xarray as xr

from laminar_lens.models.families import WRITES
from laminar_lens.stats.bootstrap import Interval
from laminar_lens.stats.sinks import within_shares
from laminar_lens.studies.columns import BAND, column, with_ends
from laminar_lens.studies.decomposition.claims import answer_claims
from laminar_lens.studies.decomposition.facts import STEP, Facts
from laminar_lens.studies.decomposition.numbers import Measured
from laminar_lens.studies.decomposition.parts import PARTS
from laminar_lens.studies.decomposition.words import sentence
from laminar_lens.studies.lengths import RESIDUAL
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.study import Answer

LAYER, PART = ("layer",), ("layer", "part")
ENTERED = "the residual that it enters"


def answer(dataset: xr.Dataset) -> Answer:
    """Every number with its band, the claims W1–W4 and the sentence."""
    measured = of_dataset(Measured, dataset)
    facts = Facts(measured, int(dataset.attrs["seed"]))
    claims = answer_claims(facts)
    variables = _by_text(measured) | _pairing(facts) | _parts(facts) | _turns(facts) | _heads(facts)
    coords = {
        "layer": measured.layer,
        "part": list(PARTS),
        "component": list(WRITES),
        "pos": np.arange(measured.place_cosine.shape[1]),
    }
    attrs = {
        "n_texts": len(measured.cosine),
        "body_from": measured.body_from,
        "parallel": int(measured.parallel),
    }
    return Answer(xr.Dataset(variables, coords, attrs), sentence(facts, claims), claims)


def _by_text(measured: Measured) -> dict[str, xr.Variable]:
    by = ("text", "layer")
    return {
        "text_cosine": column(by, measured.cosine, "cosine of attention's and the MLP's write, by text"),
        "text_turn": column(by, measured.turn[..., STEP], "turn by the step, by text", "rad"),
    }


def _pairing(facts: Facts) -> dict[str, xr.Variable]:
    """The two writes against each other."""
    measured = facts.measured
    name = "cosine of attention's and the MLP's write to a token"
    minus = f"{name}, minus that of writes to different tokens of the same text and layer"
    length = "length of the MLP's write over attention's, geometric mean"
    return {
        **with_ends("cosine", LAYER, facts.cosine, name, ends=BAND),
        "other": column(
            LAYER, facts.other.estimate, "the same of writes to different tokens of the same text and layer"
        ),
        **with_ends("difference", LAYER, facts.difference, minus, ends=BAND),
        "p_value": column(LAYER, facts.p, "of no difference, by sign flips of texts, each layer by itself"),
        "q_value": column(LAYER, facts.q, "the same, adjusted for the false discovery rate over layers"),
        "related": column(LAYER, facts.related.astype(int), "whether the difference is a discovery, 0 or 1"),
        **with_ends("ratio", LAYER, facts.ratio, length, ends=BAND),
        "place_cosine": column(("layer", "pos"), measured.place_cosine, f"{name}, by position"),
        "identity_error": column(
            LAYER,
            measured.error,
            "largest distance of a step from attn + mlp, over the longest of input, output and writes",
        ),
    }


def _parts(facts: Facts) -> dict[str, xr.Variable]:
    """Lengths of the parts, and how much of them lengthens and turns."""
    measured = facts.measured
    over = f"over the length of {ENTERED}"
    meanings = {
        "relative": f"length {over}",
        "along": f"its part along {ENTERED}, {over}: above 0 it lengthens",
        "across": f"its part at right angles to {ENTERED}, {over}: it turns",
    }
    found = {
        "residual": column(LAYER, facts.band(measured.residual).estimate, "length of the input", RESIDUAL),
        "length": column(PART, facts.band(measured.length).estimate, "length", RESIDUAL),
    }
    for name, meaning in meanings.items():
        found |= with_ends(name, PART, facts.band(getattr(measured, name)), meaning, ends=BAND)
    radial = within_shares(facts.band(measured.radial))
    return found | with_ends(
        "radial", PART, radial, f"share of its squared length along {ENTERED}", ends=BAND
    )


def _turns(facts: Facts) -> dict[str, xr.Variable]:
    """Angles with the residual and with the step, and by how much each turns."""
    measured = facts.measured
    turn, by = measured.turn, {"units": "rad", "ends": BAND}
    apart = "turn by attention minus turn by the MLP, the difference of their adjustments"

    def of(name: str, dims: tuple[str, ...], values: np.ndarray, meaning: str) -> dict[str, xr.Variable]:
        return with_ends(name, dims, facts.band(values), meaning, **by)  # type: ignore[arg-type]

    return {
        **of("with_residual", PART, measured.with_residual, f"angle with {ENTERED}"),
        **of("with_step", ("layer", "component"), measured.with_step, "angle with the step"),
        **of("turn", PART, turn, f"by how much it turns {ENTERED}"),
        **of("difference_of_adjustments", LAYER, turn[..., 0] - turn[..., 1], apart),
    }


def _heads(facts: Facts) -> dict[str, xr.Variable]:
    """What single heads write, where it was asked for."""
    measured = facts.measured
    if measured.head_cosine is None:
        return {}
    by, cosine = ("layer", "head"), facts.band(measured.head_cosine)
    found = with_ends("head_cosine", by, cosine, "cosine of a head's and the MLP's write", ends=BAND)
    meanings = {
        "head_relative": "length of a head's write over that of the block's input",
        "head_along": "its part along the block's input, over that one's length",
        "head_share": "its part along attention's write, over that one's length",
    }
    for name, meaning in meanings.items():
        band: Interval = facts.band(getattr(measured, name))
        found |= with_ends(name, by, band, meaning, ends=BAND)
    return found
