"""The dataset of a sequential study: every number with its axes, unit and a name a reader understands."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.errors import InputError
from laminar_lens.pairs import BASELINES
from laminar_lens.stats.bootstrap import Interval, mean_or_nothing
from laminar_lens.stats.intervals import statistic_interval
from laminar_lens.stats.means import mean
from laminar_lens.studies.columns import radians, with_ends
from laminar_lens.studies.geometries import by_geometry
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.sequential.beside import LeaveOut
from laminar_lens.studies.sequential.claims import answer_claims, sentence
from laminar_lens.studies.sequential.comparison import (
    Baseline,
    Difference,
    compare,
    modes_by_layer,
    pairs_of_sinks,
    quantile,
    without_position,
)
from laminar_lens.studies.sequential.intervals import first_shift
from laminar_lens.studies.sequential.measure import Measurement
from laminar_lens.studies.sequential.mode_claims import mode_verdict, needed_prompts
from laminar_lens.studies.study import Answer

Variables = dict[str, xr.Variable]
_BY_BASELINE = {
    "baseline_mean": "mean over texts of each text's mean over draws",
    "baseline_low": "its interval, lower end",
    "baseline_high": "its interval, upper end",
    "baseline_median": "median of the single draws, averaged over draws",
    "baseline_iqr": "interquartile range of the single draws, averaged over draws",
    "difference": "target minus baseline, mean over texts",
    "difference_low": "its simultaneous band over layers, lower end",
    "difference_high": "its simultaneous band over layers, upper end",
    "difference_p": "p of the sign-flip test, adjusted for the maximum over layers",
    "stratified_difference": "target minus baseline without the position that explains two modes",
    "stratified_difference_low": "its simultaneous band over layers, lower end",
    "stratified_difference_high": "its simultaneous band over layers, upper end",
    "stratified_difference_p": "p of its sign-flip test, adjusted for the maximum over layers",
}


def answer(dataset: xr.Dataset, chosen: str, n_perm: int) -> Answer:
    """Angles and statistics of the target against every baseline, the claims C1–C7 and the sentence."""
    measured, seed = of_dataset(Measurement, dataset), int(dataset.attrs["seed"])
    warm = LeaveOut(**dataset.attrs["warmup"]) if "warmup" in dataset.attrs else None
    baselines = _baselines(measured, n_perm, seed)
    if chosen not in baselines:
        raise InputError(f"these prompts have no baseline {chosen!r}; choose from {', '.join(baselines)}")
    made = _dataset(measured, baselines, chosen=chosen, seed=seed).assign(_geometries(measured, seed))
    claims = answer_claims(made, baselines, chosen=chosen, warmup=warm, seed=seed)
    if warm is not None:
        made = made.assign_attrs(leave_out=next((k for k in (warm.k_hi, warm.k_lo) if k is not None), 1))
    return Answer(made, sentence(measured.layers, baselines[chosen], warm, claims), claims)


def _baselines(measured: Measurement, n_perm: int, seed: int) -> dict[str, Baseline]:
    """Every baseline that these prompts allow, in the order of `BASELINES`."""
    target, first, draws = mean(measured.target_angle, axis=2), measured.target_pair[:, 0], measured.draws()
    return {
        name: compare(target, first, name, *draws[name], measured.layers, n_perm=n_perm, seed=seed)
        for name in BASELINES
        if name in draws
    }


def _geometries(measured: Measurement, seed: int) -> Variables:
    """Target and published baseline in every geometry."""
    if measured.geometry is None or measured.target_beside is None or measured.baseline_beside is None:
        return {}
    values = {
        "target": (measured.target_beside, "angle of the target"),
        "baseline": (measured.baseline_beside, "angle of the published baseline's single draw"),
    }
    return by_geometry(values, measured.geometry.tolist(), None, seed)


def _dataset(
    measured: Measurement, baselines: Mapping[str, Baseline], *, chosen: str, seed: int
) -> xr.Dataset:
    """Angles and statistics of a study, without the claims."""
    variables = _angles(measured, baselines, chosen)
    variables |= _curves(measured)
    variables |= _target_statistics(variables, seed)
    variables |= _baseline_statistics(measured.layers, baselines)
    variables |= _mode_statistics(baselines[chosen], seed)
    variables |= _two_sinks(measured, baselines[chosen], chosen)
    coords: dict[str, Any] = {
        "layer": ("layer", list(measured.layers), {"long_name": "hidden state"}),
        "prompt": np.arange(len(measured.text)),
        "pos": np.arange(measured.token_id.shape[1]),
        "pair": ("pair", np.arange(measured.angle.shape[2]), {"long_name": "first position of the pair"}),
        "end": [0, 1],
        "baseline": list(BASELINES),
        "text": ("prompt", measured.text.astype(object)),
        "token": (("prompt", "pos"), measured.token.astype(object)),
        "n_tokens": ("prompt", measured.n_tokens),
    }
    attrs = {
        "random_direction_mean": np.pi / 2,
        "random_direction_sd": measured.d_model**-0.5,
        "units": "rad",
    }
    return xr.Dataset(variables, coords, attrs)


def _angles(measured: Measurement, baselines: Mapping[str, Baseline], chosen: str) -> Variables:
    target, n = measured.target_angle, len(measured.text)
    shape = (len(BASELINES), len(measured.layers), n)
    single, averaged = np.full(shape, np.nan), np.full(shape, np.nan)
    pairs = np.full((len(BASELINES), n, 2), -1)
    for name, found in baselines.items():
        row = BASELINES.index(name)
        single[row], averaged[row] = found.angle[:, :, 0], mean(found.angle, axis=2)
        pairs[row] = found.pairs[0]
    at, by = BASELINES.index(chosen), ("baseline", "layer", "prompt")
    several = {"target_pairs": xr.Variable(("prompt", "occurrence", "end"), measured.target_pair)}
    return {
        "target_angle": radians(by[1:], mean(target, axis=2), "angle at the target"),
        "target_rotation": radians(
            by[1:], mean(measured.rotation, axis=2), "rotation of the target since the layer before"
        ),
        "target_pair": xr.Variable(("prompt", "end"), measured.target_pair[:, 0]),
        "baseline_angle": radians(by[1:], single[at], f"angle at the {chosen} baseline pair"),
        "baseline_pair": xr.Variable(("prompt", "end"), pairs[at]),
        "angle_by_baseline": radians(by, single, "angle at the baseline pair, single draw"),
        "pair_by_baseline": xr.Variable(("baseline", "prompt", "end"), pairs),
        "mean_by_baseline": radians(by, averaged, "angle at the baseline pair, mean over draws"),
        **(several if measured.target_pair.shape[1] > 1 else {}),
    }


def _curves(measured: Measurement) -> Variables:
    null, random_curve = mean(measured.permuted_angle, axis=1), measured.random_curve
    angle, deep = measured.angle, measured.layer > 0
    finite = np.isfinite(angle)
    ends = np.quantile(angle[finite], (0.005, 0.995)) if finite.any() else (0.0, np.pi)
    name = "mean angle, positions permuted within each text"
    curves = {
        "position_angle": radians(("layer", "prompt", "pair"), angle, "angle of each adjacent pair"),
        "position_mean": radians(("layer", "pair"), mean(angle, axis=1), "mean angle of each adjacent pair"),
        "position_prompts": xr.Variable(("pair",), finite.any(axis=0).sum(axis=0)),
        "angle_low": radians((), ends[0], "0.5% of the angles of adjacent pairs are smaller"),
        "angle_high": radians((), ends[1], "0.5% of the angles of adjacent pairs are larger"),
        "null_position_angle": radians(("layer", "pair"), null, name),
        "null_position_mean": radians(
            ("pair",), mean(null[deep] if deep.any() else null, axis=0), f"{name}, over layers with context"
        ),
    }
    if random_curve is not None:
        curves["random_position_angle"] = radians(
            ("layer", "pair"), random_curve, "mean angle, random weights"
        )
    return curves


def _target_statistics(variables: Variables, seed: int) -> Variables:
    target, rotation = variables["target_angle"].values, variables["target_rotation"].values
    angle, turned = (mean_or_nothing(x.T, seed=seed) for x in (target, rotation))
    spread = statistic_interval("iqr", target.T, seed=seed)
    return {
        **_ends("target", angle, "mean angle at the target", "_mean"),
        "target_median": radians(("layer",), quantile(target, 0.5), "median angle at the target"),
        **_ends("target_iqr", spread, "interquartile range of the angle at the target"),
        **_ends("rotation", turned, "mean rotation of the target since the layer before", "_mean"),
    }


def _baseline_statistics(layers: Sequence[int], baselines: Mapping[str, Baseline]) -> Variables:
    table = {name: np.full((len(BASELINES), len(layers)), np.nan) for name in _BY_BASELINE}
    overall = {kind: np.full(len(BASELINES), np.nan) for kind in ("difference", "stratified_difference")}
    missing = ["there is no such baseline for these prompts"] * len(BASELINES)
    notes = {kind: np.array(missing, dtype=object) for kind in overall}
    withheld: dict[str, dict[str, str]] = {"baseline": {}, "difference": {}, "stratified_difference": {}}
    for name, found in baselines.items():
        row = BASELINES.index(name)
        withheld["baseline"][name] = found.mean.withheld
        table["baseline_median"][row], table["baseline_iqr"][row] = found.median, found.iqr
        _fill(table, row, ("baseline_mean", "baseline_low", "baseline_high"), found.mean)
        for kind, result in (("difference", found.difference), ("stratified_difference", found.stratified)):
            notes[kind][row] = withheld[kind][name] = _why(result)
            if result.band is not None and result.flip is not None:
                _fill(table, row, (kind, f"{kind}_low", f"{kind}_high"), result.band)
                table[f"{kind}_p"][row], overall[kind][row] = result.flip.p, result.flip.p_overall
    made = {name: radians(("baseline", "layer"), table[name], about) for name, about in _BY_BASELINE.items()}
    for kind, values in overall.items():
        made[f"{kind}_p"].attrs.pop("units")
        made[f"{kind}_p_overall"] = xr.Variable(("baseline",), values)
        made[f"{kind}_note"] = xr.Variable(("baseline",), notes[kind])
    for kind, why in withheld.items():
        for end in ("low", "high"):
            if any(why.values()):
                made[f"{kind}_{end}"].attrs["withheld"] = _by_baseline(why)
    return made


def _why(found: Difference) -> str:
    """Why a difference or its band is missing; empty if neither is."""
    return found.note or ("" if found.band is None else found.band.withheld)


def _by_baseline(why: Mapping[str, str]) -> str:
    """One reason if it is every baseline's, else each with its baseline's name."""
    if len(set(why.values())) == 1:
        return next(iter(why.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in why.items() if reason)


def _fill(table: dict[str, np.ndarray], row: int, names: Sequence[str], found: Interval) -> None:
    for name, values in zip(names, (found.estimate, found.low, found.high), strict=True):
        table[name][row] = values


def _mode_statistics(found: Baseline, seed: int) -> Variables:
    """Two modes of the chosen baseline's single draw, what explains the upper one, what position 0 shifts."""
    single, pairs = found.angle[:, :, 0], found.pairs[0]
    first, needed = without_position(single, pairs), needed_prompts(found)
    rest = modes_by_layer(first, seed)
    numbers = {
        "mode_low_mean": [m.means[0] for m in found.modes],
        "mode_high_mean": [m.means[1] for m in found.modes],
        "mode_low_sd": [m.sds[0] for m in found.modes],
        "mode_high_sd": [m.sds[1] for m in found.modes],
    }
    plain = {
        "two_modes": np.array([m.has_two for m in found.modes], dtype=np.int8),
        "mode_verdict": np.array([mode_verdict(m, needed) for m in found.modes]),
        "two_modes_without_first": np.array([m.has_two for m in rest], dtype=np.int8),
        "mode_high_weight": np.array([m.weights[1] for m in found.modes]),
        "mode_delta_bic": np.array([m.delta_bic for m in found.modes]),
        "mode_ashman_d": np.array([m.ashman_d for m in found.modes]),
        "mode_valley": np.array([m.valley_ratio for m in found.modes]),
        "mode_p": np.array([m.p_one_mode for m in found.modes]),
        "mode_reason": np.array([m.reason for m in found.modes], dtype=object),
        "attributed_position": np.array(
            [-1 if a is None or a.position is None else a.position for a in found.attribution]
        ),
    }
    for name in ("precision", "recall", "ami", "p"):
        values = [np.nan if a is None else getattr(a, name) for a in found.attribution]
        plain[f"attribution_{name}"] = np.array(values)
    made = {name: radians(("layer",), values, name.replace("_", " ")) for name, values in numbers.items()}
    made |= {name: xr.Variable(("layer",), values) for name, values in plain.items()}
    made["mode_verdict"].attrs["prompts_needed"] = needed
    return made | _first_shift(single, pairs, seed)


def _two_sinks(measured: Measurement, found: Baseline, chosen: str) -> Variables:
    """Where both tokens of a pair of the chosen baseline are sinks; nothing of pairs from other texts."""
    if measured.length is None or chosen == "matched":
        return {}
    both = pairs_of_sinks(measured.length, found.pairs[0], found.angle[:, :, 0], measured.angle)
    about = {"long_name": f"whether both tokens of the {chosen} baseline pair are sinks"}
    return {"two_sinks": xr.Variable(("layer", "prompt"), both.astype(np.int8), about)}


def _first_shift(single: np.ndarray, pairs: np.ndarray, seed: int) -> Variables:
    """How the baseline's mean and median move by the pairs with position 0; NaN where there are none."""
    first = without_position(single, pairs)
    shift = first_shift(single, (pairs == 0).any(axis=-1), seed)
    medians = quantile(single, 0.5) - quantile(first, 0.5)
    if not (pairs == 0).any():
        medians = np.full(len(single), np.nan)
    return {
        **_ends("first_shift_mean", shift, "shift of the mean by the pairs with position 0"),
        "first_shift_median": radians(
            ("layer",), medians, "shift of the median by the pairs with position 0"
        ),
    }


def _ends(name: str, found: Interval, about: str, estimate: str = "") -> Variables:
    return with_ends(name, ("layer",), found, about, "rad", estimate=estimate)
