"""From what a dimension study measured to its dataset, its claims and its sentence.

| claim | holds | fails |
|---|---|---|
| D1 | three dimensions make over half of the first pair's cosine in some layer | less in every layer |
| D2 | the same between position 0 and the body | the same |
| D3 | the same of neighbours in the body | the same |
| D4 | D1 also after the mean of other texts is removed | the same |

"Over" and "less" mean the whole 95% band over layers, in texts that did not choose the dimensions.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import Interval, mean_interval, simultaneous_band
from laminar_lens.studies.answer import Claim, because
from laminar_lens.studies.comparison import named_layers
from laminar_lens.studies.dimensions_measurement import PAIRS, Contributions, Removal

FEW, HALF = 3, 0.5
GEOMETRIES = ("raw", "centred")
CLAIMS = {"D1": (0, "first"), "D2": (0, "first_body"), "D3": (0, "body"), "D4": (1, "first")}
WORDS = {
    "first": "of the first pair",
    "first_body": "between position 0 and the body",
    "body": "of neighbours in the body",
}
TEXTS = {
    "D1": "three dimensions make over half of the cosine of the first pair",
    "D2": "three dimensions make over half of the cosine between position 0 and the body",
    "D3": "three dimensions make over half of the cosine of neighbours in the body",
    "D4": "three dimensions still do so in the first pair after centring on other texts",
}
AXES = ("geometry", "pairs", "layer")


@dataclass(frozen=True, eq=False)
class Halves:
    """What was measured.

    Attributes:
        before, after: contributions in the texts that choose, and in those that are measured.
        order: [geometry pairs layer d_model], dimensions by their contribution in the texts that choose.
        removal: what the first of them do in the texts that are measured.
        texts, groups: which texts were measured, and their groups.
    """

    before: Contributions
    after: Contributions
    order: np.ndarray
    removal: Removal
    layers: tuple[int, ...]
    texts: np.ndarray
    groups: np.ndarray | None
    seed: int

    def few(self, geometry: int, kind: int) -> tuple[np.ndarray, Interval]:
        """By layer, the few dimensions' share of the mean cosine, and the band of their part less half the
        cosine, in its direction.

        A share of the mean is no mean of shares: where a text's cosine is near 0, its share is anything.
        """
        part = self.removal.part[geometry, kind, :, :, :FEW].sum(-1)
        cosine = self.removal.cosine[geometry, kind]
        sign = np.sign(self.before.cosine[geometry, kind])[:, None]
        margin = simultaneous_band((sign * (part - HALF * cosine)).T, groups=self.groups, seed=self.seed)
        whole = cosine.mean(1)
        return np.divide(part.mean(1), whole, out=np.full(whole.shape, np.nan), where=whole != 0), margin


def answer_dataset(facts: Halves, n_texts: int) -> tuple[xr.Dataset, str]:
    """The dataset of study "dimensions", without the attributes that every result has, and its sentence."""
    claims = {name: few_claim(facts, *where) for name, where in CLAIMS.items()}
    columns: dict[str, Any] = {"claim_text": ("claim", [TEXTS[name] for name in claims])}
    for column in fields(Claim):
        columns[f"claim_{column.name}"] = (
            "claim",
            [getattr(claim, column.name) for claim in claims.values()],
        )
    variables = _contributions(facts) | _top(facts) | _angles(facts) | columns
    removed = facts.removal.part.shape[-1]
    coords = {
        "geometry": list(GEOMETRIES),
        "pairs": list(PAIRS),
        "layer": list(facts.layers),
        "dimension": np.arange(facts.order.shape[-1]),
        "rank": np.arange(1, removed + 1),
        "removed": np.arange(removed + 1),
        "text": facts.texts,
        "claim": list(claims),
    }
    attrs = {"n_texts": n_texts, "n_measured": len(facts.texts), "few": FEW}
    return xr.Dataset(variables, coords, attrs), sentence(facts, claims)


def _column(dims: tuple[str, ...], values: Any, name: str, units: str = "1", **attrs: Any) -> xr.Variable:
    return xr.Variable(dims, np.asarray(values), {"units": units, "long_name": name, **attrs})


def _contributions(facts: Halves) -> dict[str, xr.Variable]:
    a, b = facts.before, facts.after
    n = a.n + b.n
    mean = (a.n * a.mean + b.n * b.mean) / n
    name = "mean over texts of u_k v_k / (|u| |v|), each text's mean over its pairs"
    ranked = np.take_along_axis(b.mean, facts.order, -1).cumsum(-1)
    whole = b.cosine[..., None]
    enough = np.where(whole >= 0, ranked >= HALF * whole, ranked <= HALF * whole)
    return {
        "contribution": _column((*AXES, "dimension"), mean, f"{name}; the sum over dimensions is the cosine"),
        "contribution_sd": _column(
            (*AXES, "dimension"), b.sd, "its standard deviation over the measured texts"
        ),
        "cosine": _column(AXES, mean.sum(-1), "mean cosine"),
        "n_half": _column(
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
    share = np.stack([[facts.few(g, k)[0] for k in range(len(PAIRS))] for g in range(len(GEOMETRIES))])
    return {
        "top_dimension": _column(by, facts.order[..., :removed], "dimension, the largest contribution first"),
        "top_contribution": _column(by, found.estimate, "its contribution in the measured texts"),
        "top_contribution_low": _column(by, found.low, "lower 95% limit", withheld=found.withheld),
        "top_contribution_high": _column(by, found.high, "upper 95% limit"),
        "few_share": _column(AXES, share, f"share of the mean cosine that the first {FEW} make"),
    }


def _angles(facts: Halves) -> dict[str, xr.Variable]:
    removal, by = facts.removal, (*AXES, "removed")
    found = mean_interval(np.moveaxis(removal.angle, 3, 0), groups=facts.groups, seed=facts.seed)
    low, high = np.quantile(removal.null, [0.025, 0.975], axis=3)
    per_text = np.moveaxis(removal.angle, 3, 0).astype(np.float32)
    return {
        "angle": _column(("text", *by), per_text, "mean angle of a text's pairs without dimensions", "rad"),
        "angle_without": _column(by, found.estimate, "mean angle without the first dimensions", "rad"),
        "angle_without_low": _column(by, found.low, "lower 95% limit", "rad", withheld=found.withheld),
        "angle_without_high": _column(by, found.high, "upper 95% limit", "rad"),
        "angle_random": _column(by, removal.null.mean(3), "the same without random dimensions", "rad"),
        "angle_random_low": _column(by, low, "2.5% of the draws lie below", "rad"),
        "angle_random_high": _column(by, high, "97.5% of the draws lie below", "rad"),
    }


def few_claim(facts: Halves, geometry: int, name: str) -> Claim:
    """Whether a few dimensions make over half of a kind of pair's cosine, in some layer."""
    kind = PAIRS.index(name)
    share, margin = facts.few(geometry, kind)
    above, below = margin.low > 0, margin.high < 0
    verdict = "holds" if above.any() else "fails" if below.all() else "undetermined"
    row = int(
        np.nanargmax(np.where(above, share, -np.inf) if above.any() else np.nan_to_num(share, nan=-1e9))
    )
    scale = abs(float(facts.removal.cosine[geometry, kind, row].mean()))
    ends = (HALF + end[row] / scale if scale > 0 else np.nan for end in (margin.low, margin.high))
    low, high = map(float, ends)
    layers = [facts.layers[r] for r in np.flatnonzero(above)]
    where = f"So it is in {named_layers(layers)}. " if layers else ""
    return Claim(
        verdict,
        float(share[row]),
        low,
        high,
        "of the cosine",
        f"{where}{_evidence(facts, geometry, kind, row)}{because(margin.withheld)}",
    )


def _evidence(facts: Halves, geometry: int, kind: int, row: int) -> str:
    """One layer in numbers: which dimensions, the angle with and without, and without random ones."""
    at = (geometry, kind, row)
    names = ", ".join(map(str, facts.order[at][:FEW]))
    with_all, without = (float(facts.removal.angle[at][:, k].mean()) for k in (0, FEW))
    low, high = np.quantile(facts.removal.null[at][:, FEW], [0.025, 0.975])
    return (
        f"In layer {facts.layers[row]} they are {names}: the angle is {with_all:.2f} rad, without them "
        f"{without:.2f}, without {FEW} at random {low:.2f}–{high:.2f}."
    )


def sentence(facts: Halves, claims: dict[str, Claim]) -> str:
    """The answer in a few sentences: the first pair, then where else, then after centring."""
    first = claims["D1"]
    size = f"{first.estimate:.0%}"
    ci = f", 95% band {first.low:.0%}–{first.high:.0%}" if np.isfinite(first.low) else ""
    if first.verdict == "holds":
        text = f"Three dimensions make over half of the first pair's cosine ({size}{ci}). {first.evidence}"
    elif first.verdict == "fails":
        text = f"No three dimensions make half of the first pair's cosine: at most {size}{ci}."
    else:
        text = f"Undetermined whether three dimensions make half of the first pair's cosine: {size}{ci}."
    others = [WORDS[CLAIMS[name][1]] for name in ("D2", "D3") if claims[name].verdict == "holds"]
    if others:
        text += f" So do three dimensions {' and '.join(others)}."
    verb = {"holds": "do", "fails": "do not", "undetermined": "may or may not"}[claims["D4"].verdict]
    return f"{text} After centring on other texts, three dimensions {verb} make half of it."
