"""From the four cells of a why-study to its dataset: every cell, effect, interval and verdict."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import Interval, mean_interval
from laminar_lens.stats.why import Found, WhyAnswer, why
from laminar_lens.stats.why_effects import CELLS, EFFECTS, by_observation, effects
from laminar_lens.stats.why_places import EFFECTS as TREND_EFFECTS
from laminar_lens.stats.why_places import Trend, place_trend
from laminar_lens.studies.claim import worded
from laminar_lens.studies.columns import CI, radians
from laminar_lens.studies.geometries import by_geometry
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.study import Answer
from laminar_lens.studies.why.cells import Cells
from laminar_lens.studies.why.measure import Measurement
from laminar_lens.studies.why.words import EFFECT, TEXT, claim, sentence, trend_sentence

PLACES = ("first", "body")
BY_TEXT = ("T", "E11", "E10", "E01")
"""Effects that are kept for each text, to be contrasted between conditions."""


def answer(dataset: xr.Dataset, tau: float) -> Answer:
    """Every cell, effect, interval and verdict, claim C8 and the sentence.

    Raises:
        InputError: fewer than 2 observations have angles.
    """
    found, seed = of_dataset(Measurement, dataset), int(dataset.attrs["seed"])
    layers, has_positions = found.layers, found.has_positions
    cells = Cells(found.angle, found.reference, found.at, found.identity, "")
    random = {} if found.random_effect is None else dict(zip(EFFECTS, found.random_effect, strict=True))
    keep = _complete(cells, has_positions)
    lost = f"{(~keep).sum()} of {len(keep)} texts left out: an angle is not defined (a zero vector)."
    _check_observations(keep, found.unit[keep])
    by_text = effects(cells.angle[0], cells.angle[1], cells.reference)
    kept = {name: x[keep] for name, x in by_text.items()}
    how: dict[str, Any] = {"groups": None if found.group is None else np.asarray(found.group)[keep]}
    how |= {"units": found.unit[keep], "seed": seed}
    control = layers.index(0) if 0 in layers else None
    said = why(kept, tau=tau, control=control, has_positions=has_positions, **how)
    trend = _trend(said, kept, cells.at[keep], places=np.unique(cells.at), **how)
    c8 = claim(said, layers, cells.identity, has_positions=has_positions, random=random)
    variables = (
        _cells(cells, found.unit, keep, seed)
        | _effects(said)
        | {name: radians(("text", "layer"), by_text[name], EFFECTS[name]) for name in BY_TEXT}
        | _random(random)
        | _texts(found)
        | _trend_variables(trend)
        | {name: xr.Variable(("layer",), np.array(getattr(said, f"{name}s"))) for name in ("verdict", "sign")}
    )
    where = np.unique(cells.at[keep]).tolist()
    words = sentence(said, layers, int(keep.sum()), where, has_positions=has_positions)
    variables |= _drawn(said, cells.reference[keep])
    attrs = _attributes(said, cells, keep, layers, has_positions)
    made = xr.Dataset(variables, _coords(layers, trend), attrs).assign(_geometries(found, seed))
    notes = (*(() if keep.all() else (lost,)), *_trend_note(trend))
    return Answer(made, words + trend_sentence(trend), worded({"C8": c8}, {"C8": TEXT}), notes)


def _check_observations(keep: np.ndarray, units: np.ndarray) -> None:
    if len(np.unique(units)) < 2:
        raise InputError(
            f"{int(keep.sum())} texts make {len(np.unique(units))} observation: texts exchange their "
            "beginnings in twos; give at least 4 texts or groups, better 400"
        )


def _coords(layers: tuple[int, ...], trend: Trend | None) -> dict[str, Any]:
    coords = {"layer": np.array(layers), "place": list(PLACES), "cell": list(CELLS), "effect": list(EFFECTS)}
    return coords | ({} if trend is None else {"t": trend.at, "trend_effect": list(TREND_EFFECTS)})


def _geometries(found: Measurement, seed: int) -> dict[str, xr.Variable]:
    """E11 in every geometry."""
    if found.e11 is None or found.geometry is None:
        return {}
    names = found.geometry.tolist()
    own = effects(found.angle[0], found.angle[1], found.reference)["E11"]
    values = {"E11": own, **{name: found.e11[row] for row, name in enumerate(names)}}
    averaged, _ = by_observation(values, found.group, found.unit)
    quantity = np.stack([averaged[name].T for name in names])
    meaning = "E11: what being first does to a text's first bigram"
    return by_geometry({"E11": (quantity, meaning)}, names, None, seed)


def _attributes(
    answer: WhyAnswer, cells: Cells, keep: np.ndarray, layers: tuple[int, ...], has_positions: bool
) -> dict[str, Any]:
    return {
        "verdict": answer.verdict,
        "overall_sign": answer.sign,
        "reason": answer.reason,
        "tau": answer.tau,
        "n_texts": int(keep.sum()),
        "n_observations": answer.n,
        "n_independent": answer.n_independent,
        "n_dropped": int((~keep).sum()),
        "position_factor": "applicable" if has_positions else "not applicable",
        "identity": cells.identity,
        "found": json.dumps([_found(one, layers) for one in answer.found]),
    }


def _complete(cells: Cells, has_positions: bool) -> np.ndarray:
    """Texts with every angle that there should be."""
    wanted = [0, 1, 2, 3] if has_positions else [0, 1, 3]
    whole = np.isfinite(cells.angle[:, wanted]).all(axis=(0, 1, 3))
    return np.asarray(whole & np.isfinite(cells.reference).all(axis=1))


def _cells(cells: Cells, unit: np.ndarray, keep: np.ndarray, seed: int) -> dict[str, xr.Variable]:
    """Angles of each text, and their means with intervals over observations."""
    dims = ("place", "cell", "layer")
    shape = (len(PLACES), len(CELLS), cells.angle.shape[-1])
    ends = np.full((3, *shape), np.nan)
    withheld = ""
    for place in range(len(PLACES)):
        for cell in range(len(CELLS)):
            x = cells.angle[place, cell][keep]
            if np.isfinite(x).any():
                found = mean_interval(x, groups=unit[keep], seed=seed)
                ends[:, place, cell] = found.estimate, found.low, found.high
                withheld = withheld or found.withheld
    name = "angle of the pair, mean over texts"
    return {
        "angle": radians(("place", "cell", "text", "layer"), cells.angle, "angle of the pair"),
        "reference_angle": radians(
            ("text", "layer"), cells.reference, "mean angle of the text's reference pairs"
        ),
        "cell_mean": radians(dims, ends[0], name),
        "cell_low": radians(dims, ends[1], CI[0], withheld),
        "cell_high": radians(dims, ends[2], CI[1], withheld),
    }


def _effects(answer: WhyAnswer) -> dict[str, xr.Variable]:
    dims = ("effect", "layer")

    def stack(of: dict[str, Interval], what: str, about: str) -> xr.Variable:
        withheld = "" if what == "estimate" else next((x.withheld for x in of.values() if x.withheld), "")
        return radians(dims, np.stack([getattr(of[name], what) for name in EFFECTS]), about, withheld)

    return {
        "effect_mean": stack(answer.intervals, "estimate", "effect, mean over texts"),
        "effect_low": stack(answer.intervals, "low", CI[0]),
        "effect_high": stack(answer.intervals, "high", CI[1]),
        "effect_band_low": stack(answer.bands, "low", "lower limit, simultaneous over layers"),
        "effect_band_high": stack(answer.bands, "high", "upper limit, simultaneous over layers"),
        "effect_text": xr.Variable(("effect",), np.array(list(EFFECTS.values()))),
    }


def _drawn(answer: WhyAnswer, reference: np.ndarray) -> dict[str, xr.Variable]:
    """What figures set the rest against."""
    half = answer.intervals["E11"].estimate / 2
    return {
        "half_E11": radians(("layer",), half, "half of E11, mean over texts"),
        "reference_mean": radians(("layer",), reference.mean(axis=0), "mean angle of the reference pairs"),
    }


def _random(random: Mapping[str, np.ndarray]) -> dict[str, xr.Variable]:
    if not random:
        return {}
    name, found = "the same effect with random weights", np.stack([random[effect] for effect in EFFECTS])
    return {"random_effect": radians(("effect", "layer"), found, name)}


def _texts(found: Measurement) -> dict[str, xr.Variable]:
    whose = {"long_name": "text whose first tokens go before this one's"}
    return {
        "token_id": xr.Variable(("text", "pos"), found.token_id.astype(np.int64)),
        "at": xr.Variable(("text",), found.at, {"long_name": "position of the bigrams in the body"}),
        "donor": xr.Variable(("text",), found.donor, whose),
        "unit": xr.Variable(("text",), found.unit, {"long_name": "observation that the text is part of"}),
    }


def _trend(answer: WhyAnswer, by_text: Mapping[str, np.ndarray], at: np.ndarray, **how: Any) -> Trend | None:
    """Effects along the places, in the mean of the layers that the verdict rests on (of two directions, the
    larger one), over all texts."""
    if not answer.found:
        return None
    rows = list(answer.found[0].layers)
    values = {name: by_text[name][:, rows].mean(axis=1) for name in TREND_EFFECTS}
    return place_trend(values, at, tau=answer.tau, **how)


def _trend_variables(trend: Trend | None) -> dict[str, xr.Variable]:
    if trend is None:
        return {}
    dims, line = ("trend_effect", "t"), trend.line
    name = "effect in the layers of the verdict, mean over the texts of a place"
    return {
        "trend_mean": radians(dims, trend.mean, name),
        "trend_line": radians(dims, line.estimate, "straight line through the texts"),
        "trend_low": radians(dims, line.low, "lower 95% limit of the whole line", line.withheld),
        "trend_high": radians(dims, line.high, "upper 95% limit of the whole line", line.withheld),
    }


def _trend_note(trend: Trend | None) -> list[str]:
    if trend is None or not trend.shown:
        return []
    first, last = trend.at[[0, -1]]
    changed = " and ".join(EFFECT[name] for name in trend.shown)
    return [
        f"The verdict may be another elsewhere: {changed} {'change' if len(trend.shown) > 1 else 'changes'} "
        f"along the places t = {first} … {last}. Choose other places, too."
    ]


def _found(one: Found, layers: tuple[int, ...]) -> dict[str, Any]:
    """The layers that were chosen on one half, and the effects on the other, in radians."""
    out: dict[str, Any] = {
        "layers": [layers[row] for row in one.layers],
        "sign": one.sign,
        "verdict": one.verdict,
    }
    for name, x in one.effects.items():
        values = {"estimate": float(x.estimate), "low": float(x.low), "high": float(x.high)}
        out[name] = {key: value if np.isfinite(value) else None for key, value in values.items()}
    return out
