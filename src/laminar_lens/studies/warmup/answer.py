"""From the angles of a warm-up study to its dataset: every curve, interval and answer with its axes."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.stats.warmup import Answer as LayerAnswer
from laminar_lens.stats.warmup import WarmupAnswer, contrast, encode, independent_texts, warmup
from laminar_lens.stats.warmup_costs import SPANS, left_out
from laminar_lens.stats.warmup_shape import Effect, effects, shape, share_affected
from laminar_lens.studies.columns import CI, column, radians
from laminar_lens.studies.geometries import by_geometry
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.study import Answer
from laminar_lens.studies.warmup.costs import costs
from laminar_lens.studies.warmup.measure import Measurement
from laminar_lens.studies.warmup.words import named_pairs, sentence

NUMBERS = ("k_lo", "k_hi", "skip", "n_needed")


def answer(measured: xr.Dataset, tau: float) -> Answer:
    """Every curve, interval and answer, and the sentence."""
    found, seed = of_dataset(Measurement, measured), int(measured.attrs["seed"])
    layers = tuple(found.layer.tolist())
    theta, paired, n_dropped = _independent(found)
    window = slice(*found.window)
    said = warmup(theta, tau=tau, reference=window, seed=seed)
    d = contrast(theta, window)
    k = said.overall.k_lo or 0
    sizes = effects(d, named_pairs(k), tau, paired=paired, seed=seed)
    variables = (
        _curves(said, theta, window)
        | _answers(said)
        | _over_tolerances(said)
        | _shapes(said, d, window, k)
        | costs(theta, found, window, seed, _groups(found))
        | _paired(found, paired, theta.shape[-1], seed)
        | _random(found.random_angle, window)
        | {"angle": radians(("text", "layer", "pair"), found.angle, "angle of adjacent positions")}
        | {"token_id": xr.Variable(("text", "pos"), found.token_id)}
        | _geometries(found, seed)
    )
    coords = {
        "layer": found.layer,
        "pair": np.arange(theta.shape[-1]),
        "tolerance": ("tolerance", said.tolerances, {"units": "rad"}),
        "span": ("span", list(SPANS), {"units": "tokens"}),
        "k": left_out(window),
    }
    dropped = f"{n_dropped} of {len(found.angle)} texts left out: an angle is not defined (a zero vector)."
    return Answer(
        xr.Dataset(variables, coords, _attributes(said, sizes, found, n_dropped)),
        sentence(said, sizes, layers, found.bos, grouped=found.group is not None),
        notes=(dropped,) if n_dropped else (),
    )


def _independent(measured: Measurement) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Angles and paired shifts of the same independent texts: without NaN, groups averaged."""
    n_pair = measured.angle.shape[-1]
    if measured.paired is None:
        theta, n_dropped = independent_texts(measured.angle, measured.group)
        return theta, None, n_dropped
    both = np.concatenate([measured.angle, measured.paired[..., measured.bos :]], axis=-1)
    values, n_dropped = independent_texts(both, measured.group)
    shift = np.full((*values.shape[:2], measured.paired.shape[-1]), np.nan)
    shift[..., measured.bos :] = values[..., n_pair:]
    return values[..., :n_pair], shift, n_dropped


def _groups(found: Measurement) -> np.ndarray | None:
    """Of the texts whose vectors were measured."""
    return None if found.group is None else found.group[found.vector_text]


def _geometries(found: Measurement, seed: int) -> dict[str, xr.Variable]:
    """The first pair's excess in every geometry."""
    if found.excess is None or found.geometry is None:
        return {}
    groups = None if found.group is None else found.group[: found.excess.shape[-1]]
    name = "angle of the first pair minus the mean over the reference pairs of the same text"
    return by_geometry({"excess": (found.excess, name)}, found.geometry.tolist(), groups, seed)


def _curves(answer: WarmupAnswer, theta: np.ndarray, window: slice) -> dict[str, xr.Variable]:
    by, reference = ("layer", "pair"), theta[:, :, window].mean((0, 2))
    return {
        "delta": radians(by, answer.delta, "angle minus the mean over the reference pairs of the same text"),
        "delta_low90": radians(by, answer.low90, "lower limit of its 90% interval"),
        "delta_high90": radians(by, answer.high90, "upper limit of its 90% interval"),
        "band_low": radians(by, answer.band_low, "lower limit of its simultaneous 95% band"),
        "band_high": radians(by, answer.band_high, "upper limit of its simultaneous 95% band"),
        "delta_sd": radians(by, answer.sd, "its standard deviation over texts"),
        "mean_angle": radians(by, theta.mean(0), "mean angle of adjacent positions"),
        "reference_angle": radians(("layer",), reference, "mean angle of the reference pairs"),
    }


def _numbers(answers: Sequence[LayerAnswer]) -> dict[str, np.ndarray]:
    return {name: encode([getattr(one, name) for one in answers]) for name in NUMBERS}


def _answers(answer: WarmupAnswer) -> dict[str, xr.Variable]:
    words = {name: np.array([getattr(one, name) for one in answer.layers]) for name in ("verdict", "sign")}
    return {
        name: xr.Variable(("layer",), found) for name, found in {**_numbers(answer.layers), **words}.items()
    }


def _over_tolerances(answer: WarmupAnswer) -> dict[str, xr.Variable]:
    """What is enough and what is necessary at each tolerance, in each layer and in all at once."""
    found, names = {}, {"k_hi": "first tokens that are enough to leave out", "k_lo": "necessary to leave out"}
    for name, about in names.items():
        k = np.stack([encode([getattr(one, name) for one in row]) for row in answer.curve])
        attrs = {"units": "tokens", "long_name": f"{about}; -1: none was shown"}
        found[f"tolerance_{name}"] = xr.Variable(("tolerance",), k[:, -1], attrs)
        found[f"tolerance_{name}_by_layer"] = xr.Variable(("tolerance", "layer"), k[:, :-1], attrs)
    return found


def _shapes(answer: WarmupAnswer, d: np.ndarray, window: slice, k: int) -> dict[str, xr.Variable]:
    share = share_affected(d, window, k)
    error = answer.sd / np.sqrt(answer.n)
    fits = [
        shape(delta, e, window, shown=a.sign != "none")
        for delta, e, a in zip(answer.delta, error, answer.layers, strict=True)
    ]
    name = (
        "share of texts whose most affected pair leaves the central 95% of the reference pairs, beyond chance"
    )
    return {
        "share_affected": column(("layer",), share[0], name),
        "share_affected_low": column(("layer",), share[1], CI[0]),
        "share_affected_high": column(("layer",), share[2], CI[1]),
        "half_life": column(
            ("layer",), [f.half_life for f in fits], "half-life of the fitted decay", "positions"
        ),
        "step_or_decay": xr.Variable(("layer",), np.array([f.kind for f in fits])),
    }


def _paired(
    measured: Measurement, paired: np.ndarray | None, n_pair: int, seed: int
) -> dict[str, xr.Variable]:
    """The paired shift of the first bigram, and its mean at every pair that has a counterpart."""
    n_layer, first = measured.angle.shape[1], measured.bos
    curve, ends = np.full((n_layer, n_pair), np.nan), np.full((3, n_layer), np.nan)
    if paired is not None and paired.shape[-1] > first:
        curve[:, : paired.shape[-1]] = paired.mean(0)
        interval = mean_interval(paired[:, :, first], seed=seed)
        ends = np.stack([interval.estimate, interval.low, interval.high])
    name = "angle of a bigram as the first of a text minus the same bigram's deep inside it"
    return {
        "paired_shift": radians(("layer",), ends[0], name),
        "paired_shift_low": radians(("layer",), ends[1], CI[0]),
        "paired_shift_high": radians(("layer",), ends[2], CI[1]),
        "paired_delta": radians(("layer", "pair"), curve, "the same at every pair"),
    }


def _random(random: np.ndarray | None, window: slice) -> dict[str, xr.Variable]:
    if random is None:
        return {}
    try:
        theta, _ = independent_texts(random)
    except InputError:
        return {}
    curve, name = contrast(theta, window).mean(0), "delta of the same architecture with random weights"
    return {"random_delta": radians(("layer", "pair"), curve, name)}


def _attributes(
    answer: WarmupAnswer, found: list[Effect], measured: Measurement, n_dropped: int
) -> dict[str, Any]:
    return {
        **{name: int(found[0]) for name, found in _numbers([answer.overall]).items()},
        "verdict": answer.overall.verdict,
        "sign": answer.overall.sign,
        "tau": answer.tau,
        "n_texts": answer.n,
        "n_dropped": n_dropped,
        "length": measured.token_id.shape[1],
        "n_vector_texts": len(measured.vector_text),
        "reference_start": answer.reference[0],
        "reference_stop": answer.reference[1],
        "effects": json.dumps([_effect(e, tuple(measured.layer.tolist())) for e in found]),
    }


def _effect(effect: Effect, layers: tuple[int, ...]) -> dict[str, Any]:
    """The layers that were chosen on one half of the texts, and the size on the other, in radians."""
    out: dict[str, Any] = {"layers": [layers[row] for row in effect.layers], "sign": effect.sign}
    for name, interval in (("mean", effect.interval), ("paired", effect.paired)):
        if interval is not None:
            values = {k: float(v) for k, v in asdict(interval).items() if k in ("estimate", "low", "high")}
            out[name] = {k: v if np.isfinite(v) else None for k, v in values.items()}
    return out
