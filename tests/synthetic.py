"""Invented study results that follow the schema, for tests of what shows them. No number is measured."""

import numpy as np
import xarray as xr

from laminar_lens.results import StudyResult, label_dataset, make_provenance, make_tree
from laminar_lens.stats.warmup_costs import LEFT_OUT, SPANS

BASELINES = ("published", "adjacent", "matched", "by_position")
WORDS = (
    " the board", " promoted", " to", " chief", " of", " staff", " after", " a", " long", " and", " quiet",
    " year", " in", " office", " by", " the", " river", " where", " nobody", " had", " looked", ".",
)  # fmt: skip
CLAIMS = (
    ("the angle at the target is much wider than its rotation", "holds", 4.2, 3.6, 4.9, "ratio"),
    ("the angles fan out from the middle layers to the last", "fails", -0.04, -0.06, -0.02, "rad/layer"),
    ("the target pair turns more steadily than unrelated pairs", "undetermined", 0.02, -0.03, 0.07, "rad"),
    ("the baseline has two modes, about 1.0–1.5 and 2.5–3.0 rad", "holds", 5, 4, 6, "layers"),
    ("the upper mode is exactly the pairs with position 0", "holds", 0.98, 0.95, 1.0, "AMI"),
    ("the mean (and median) of the mixed baseline describes nothing", "holds", 0.41, 0.33, 0.50, "rad"),
    ("from the second or third token on, angles are alike", "undetermined", np.nan, np.nan, np.nan, ""),
)  # fmt: skip


def radians(dims, values, name):
    return xr.Variable(dims, np.asarray(values, dtype=float), {"units": "rad", "long_name": name})


def interval(values, axis):
    """Mean and a normal interval over one axis: a stand-in for the real bootstrap."""
    n = np.sum(np.isfinite(values), axis=axis)
    mean, half = np.nanmean(values, axis=axis), 1.96 * np.nanstd(values, axis=axis) / np.sqrt(n)
    return mean, mean - half, mean + half


def provenance(settings, texts):
    info = {
        "name": "synthetic", "revision": None, "n_layers": 8, "d_model": 200, "n_ctx": 128,
        "generation": "none", "weight_processing": "none", "device": "cpu", "dtype": "float32",
        "positions": "absolute",
    }  # fmt: skip
    return make_provenance(info, settings, backend="reference", seed=0, texts=texts)


def prompt_tokens(rng, n_prompts, texts=None):
    """Tokens, padded with "", lengths and the target's index of each invented prompt."""
    lengths = rng.integers(6, 16, n_prompts)
    targets = np.array([rng.integers(1, length - 1) for length in lengths])
    tokens = np.full((n_prompts, int(lengths.max())), "", dtype=object)
    for row, (length, target) in enumerate(zip(lengths, targets, strict=True)):
        tokens[row, :length] = rng.choice(WORDS, length)
        tokens[row, 0] = "The"
        tokens[row, target] = " her"
    for row, text in enumerate(texts or ()):
        tokens[row, 0] = text
    return tokens, lengths, targets


def adjacent_angles(rng, layers, n_prompts, n_pairs, sink):
    """Angles of all adjacent pairs [layer prompt pair], position 0 standing apart in the middle layers."""
    depth = np.arange(layers) / (layers - 1)
    base = 1.35 - 0.35 * np.sin(np.pi * depth) + 0.1 * depth
    angles = base[:, None, None] + rng.normal(0, 0.09, (layers, n_prompts, n_pairs))
    size = np.where((depth > 0.2) & (depth < 0.95), 1.55, 0.02)
    profile = size[:, None] * np.exp(-4.0 * np.arange(n_pairs))
    return np.clip(angles + sink * profile[:, None, :], 0.01, np.pi - 0.01)


def warmup_variables(rng, layers, n_pairs, sink):
    """The warm-up's variables."""
    depth = np.arange(layers) / (layers - 1)
    affected = (depth > 0.2) & (depth < 0.95) & bool(sink)
    delta = rng.normal(0, 0.006, (layers, n_pairs))
    delta += np.where(affected, 1.55 * sink, 0.01)[:, None] * np.exp(-4.0 * np.arange(n_pairs))
    half = 0.012
    angles = {
        "delta": delta, "delta_low90": delta - half, "delta_high90": delta + half,
        "band_low": delta - 2 * half, "band_high": delta + 2 * half,
        "mean_angle": delta + 1.2,
        "random_delta": -0.3 * np.exp(-np.arange(n_pairs) / 3)[None] * depth[:, None],
    }  # fmt: skip
    made = {name: radians(("layer", "pair"), values, name) for name, values in angles.items()}
    made["reference_angle"] = radians("layer", np.full(layers, 1.2), "mean angle over the reference window")
    shift = np.where(affected, 1.5 * sink, 0.0)
    for name, values in (("", shift), ("_low", shift - 0.05), ("_high", shift + 0.05)):
        made[f"paired_shift{name}"] = radians("layer", values, "same bigram, first against inside")
    k = np.where(affected, 1, 0)
    undecided = np.arange(layers) == layers - 1
    made |= {
        "k_lo": ("layer", k),
        "k_hi": ("layer", np.where(undecided, 2, k)),
        "skip": ("layer", np.where(undecided, 2, k)),
        "verdict": ("layer", np.where(undecided, "bracketed", "exact")),
        "n_needed": ("layer", np.where(undecided, 900, -1)),
        "sign": ("layer", np.where(affected, "wider", "none")),
        "share_affected": ("layer", np.where(affected, 0.97, 0.0)),
        "half_life": ("layer", np.where(affected, 0.4, np.nan)),
        "step_or_decay": ("layer", np.where(affected, "step", "none")),
    }
    return made | costs(affected, ("layer", "span", "k"))


def costs(affected, dims):
    """A bias where leaving nothing out matters, in one layer more than in the others."""
    spans, k = np.array(SPANS)[:, None], np.array(LEFT_OUT)
    size = np.where(affected, 1.5, 0.01) + 0.5 * (np.arange(len(affected)) == 3)
    bias = size[:, None, None] * np.exp(-k) / np.where(spans > k, spans - k, np.nan)
    sd = np.broadcast_to(0.3 / np.sqrt(np.where(spans > k, spans - k, np.nan)), bias.shape)
    made = {}
    for name, scale, units in (("mean", 1, "rad"), ("vector", 3, "typical lengths"), ("axis", 2, "rad")):
        for end, move in (("", 0), ("_low", -1), ("_high", 1)):
            made[f"{name}_bias{end}"] = (dims, scale * bias + 0.003 * move, {"units": units})
            made[f"{name}_sd{end}"] = (dims, scale * sd * (1 + 0.1 * move), {"units": units})
        made[f"{name}_from"] = (dims, np.where(scale * bias > 0.003, 30, -1), {"units": "texts"})
    return made


def warmup_dataset(n_layers=8, n_texts=40, length=64, seed=0, sink=1.0):
    """An invented `study="warmup"`."""
    rng = np.random.default_rng(seed)
    layers = n_layers + 1
    variables = warmup_variables(rng, layers, length - 1, sink)
    angle = variables["delta"].values[None] + 1.2 + rng.normal(0, 0.1, (n_texts, layers, length - 1))
    variables["angle"] = (("text", "layer", "pair"), angle.astype(np.float32), {"units": "rad"})
    coords = {"layer": np.arange(layers), "pair": np.arange(length - 1)}
    coords |= {"k": list(LEFT_OUT), "span": list(SPANS)}
    settings = {"tau": 0.05, "n_texts": n_texts, "length": length, "reference": [2 * length // 3, length - 1]}
    attrs = {"k_lo": 1, "k_hi": 2, "skip": 2, "verdict": "bracketed", "n_needed": 900, **settings}
    attrs["n_vector_texts"] = 43
    return label_dataset(
        xr.Dataset(variables, coords, attrs),
        study="warmup",
        sentence="Synthetic: leave out the first 2 tokens; 1 is necessary.",
        provenance=provenance(settings, ["synthetic"] * n_texts),
        settings=settings,
        warnings=["These numbers are invented."],
    )


def sequential_dataset(n_layers=8, n_prompts=54, seed=0, sink=1.0, texts=None):
    """An invented `study="sequential"`; `texts` replaces the first token of the first prompts."""
    rng = np.random.default_rng(seed)
    layers = n_layers + 1
    tokens, lengths, targets = prompt_tokens(rng, n_prompts, texts)
    n_pairs = tokens.shape[1] - 1
    angles = adjacent_angles(rng, layers, n_prompts, n_pairs, sink)
    angles[:, np.arange(n_pairs)[None] + 1 >= lengths[:, None]] = np.nan
    rows = np.arange(n_prompts)
    target = angles[:, rows, targets - 1]
    pairs = np.stack(
        [np.stack([np.sort(rng.choice(n, 2, replace=False)) for n in lengths]) for _ in BASELINES]
    )
    first = pairs[:, :, 0] == 0
    drawn = np.stack(
        [angles[:, rows, np.where(f, 0, np.maximum(p[:, 0], 1))] for p, f in zip(pairs, first, strict=True)]
    )
    drawn = np.where(np.isfinite(drawn), drawn, 1.2)
    coords = {
        "layer": np.arange(layers), "prompt": rows, "pos": np.arange(n_pairs + 1), "pair": np.arange(n_pairs),
        "end": [0, 1], "baseline": list(BASELINES), "claim": [f"C{i}" for i in range(1, 8)],
        "text": ("prompt", ["".join(row) for row in tokens]), "token": (("prompt", "pos"), tokens),
        "n_tokens": ("prompt", lengths),
    }  # fmt: skip
    rotation = rng.normal(0.25, 0.03, target.shape)
    rotation[0] = np.nan
    variables = {
        "target_angle": radians(("layer", "prompt"), target, "angle at the target"),
        "target_rotation": radians(
            ("layer", "prompt"), rotation, "rotation of the target since the layer before"
        ),
        "target_pair": (("prompt", "end"), np.stack([targets - 1, targets], 1)),
        "baseline_angle": radians(("layer", "prompt"), drawn[0], "angle at the published baseline pair"),
        "baseline_pair": (("prompt", "end"), pairs[0]),
        "angle_by_baseline": radians(("baseline", "layer", "prompt"), drawn, "one draw"),
        "pair_by_baseline": (("baseline", "prompt", "end"), pairs),
        "mean_by_baseline": radians(("baseline", "layer", "prompt"), drawn, "mean over draws"),
        "position_angle": radians(("layer", "prompt", "pair"), angles, "angle of each adjacent pair"),
        "position_mean": radians(("layer", "pair"), np.nanmean(angles, axis=1), "mean angle"),
        "position_prompts": ("pair", np.isfinite(angles).all(axis=0).sum(axis=0)),
        "angle_low": radians((), np.nanmin(angles), "smallest angle"),
        "angle_high": radians((), np.nanmax(angles), "largest angle"),
        "null_position_mean": radians("pair", np.full(n_pairs, np.nanmean(angles[1:])), "permuted"),
        "random_position_angle": radians(
            ("layer", "pair"),
            1.1 - 0.3 * np.exp(-np.arange(n_pairs) / 3) * np.ones((layers, 1)),
            "random weights",
        ),
        "null_position_angle": radians(
            ("layer", "pair"), np.nanmean(angles, axis=(1, 2))[:, None] * np.ones(n_pairs), "permuted"
        ),
    }
    variables |= statistics(target, rotation, drawn, layers)
    settings = {
        "target": " her", "occurrence": "error", "baseline": "published", "skip": 0, "seed": 0,
        "prepend_bos": False, "final_norm": False, "n_draws": 200, "n_perm": 10_000,
    }  # fmt: skip
    attrs = {"random_direction_mean": np.pi / 2, "random_direction_sd": 200**-0.5, "leave_out": 2}
    return label_dataset(
        xr.Dataset(variables, coords, attrs),
        study="sequential",
        sentence="Synthetic: leave out 1 token; pairs with position 0 are 1.55 rad wider in layers 2–7 "
        "(95% CI 1.50 to 1.60).",
        provenance=provenance(settings, coords["text"][1]),
        settings=settings,
        warnings=["These numbers are invented; they show what a result looks like and nothing else."],
    )


def with_warmup(dataset, warmup=None):
    """The result of an invented study that rests on an invented warm-up."""
    part = make_tree({"plain": warmup_dataset(dataset.sizes["layer"] - 1) if warmup is None else warmup})
    return StudyResult(make_tree({"plain": dataset}, parts={"plain": {"warmup": part}}))


def statistics(target, rotation, drawn, layers):
    """Summaries by layer of invented angles, each by the simplest formula."""
    made = {}
    for name, values in (("target", target), ("rotation", rotation)):
        values = np.where(np.isfinite(values), values, 0.0)
        for part, numbers in zip(("mean", "low", "high"), interval(values, 1), strict=True):
            made[f"{name}_{part}"] = radians("layer", np.where(np.isfinite(numbers), numbers, np.nan), name)
    iqr = np.subtract(*np.percentile(target, [75, 25], axis=1))
    for name, values in (
        ("median", np.median(target, axis=1)),
        ("iqr", iqr),
        ("iqr_low", 0.8 * iqr),
        ("iqr_high", 1.2 * iqr),
    ):
        made[f"target_{name}"] = radians("layer", values, name)
    for part, numbers in zip(("mean", "low", "high"), interval(drawn, 2), strict=True):
        made[f"baseline_{part}"] = radians(("baseline", "layer"), numbers, part)
    made["baseline_median"] = radians(("baseline", "layer"), np.median(drawn, axis=2), "median")
    made["baseline_iqr"] = radians(
        ("baseline", "layer"), np.subtract(*np.percentile(drawn, [75, 25], axis=2)), "IQR"
    )
    for part, numbers in zip(("", "_low", "_high"), interval(target[None] - drawn, 2), strict=True):
        made[f"difference{part}"] = radians(("baseline", "layer"), numbers, "target minus baseline")
    n = len(BASELINES)
    made["difference_p"] = (("baseline", "layer"), np.full((n, layers), 0.04))
    made["difference_p_overall"] = ("baseline", np.full(n, 0.04))
    made["difference_note"] = ("baseline", ["two modes: stratify or skip first", "", "", ""])
    upper = drawn[0] > 2
    two = (upper.mean(axis=1) > 0.05).astype(np.int8)
    low = np.where(upper, np.nan, drawn[0])
    high = np.where(upper & (two[:, None] == 1), drawn[0], np.inf)
    for side, values in (("low", low), ("high", high)):
        values = np.where(np.isfinite(values), values, np.nan)
        kept = np.isfinite(values).any(axis=1)
        mean, sd = np.full(layers, np.nan), np.full(layers, np.nan)
        mean[kept], sd[kept] = np.nanmean(values[kept], axis=1), np.nanstd(values[kept], axis=1)
        made[f"mode_{side}_mean"] = radians("layer", mean, f"{side} mode")
        made[f"mode_{side}_sd"] = radians("layer", sd, f"{side} mode")
    made |= {
        "two_modes": ("layer", two),
        "mode_verdict": ("layer", np.where(two, "two", "one"), {"prompts_needed": 20}),
        "mode_high_weight": ("layer", np.where(two, upper.mean(axis=1), np.nan)),
        "attributed_position": ("layer", np.where(two, 0, -1)),
    }
    for name, value in (
        ("mode_delta_bic", 120.0), ("mode_ashman_d", 9.0), ("mode_valley", 0.05), ("mode_p", 0.001),
        ("attribution_precision", 1.0), ("attribution_recall", 0.97),
        ("attribution_ami", 0.95), ("attribution_p", 5e-4),
    ):  # fmt: skip
        made[name] = ("layer", np.where(two, value, np.nan))
    for name, value in (("mean", 0.4), ("median", 0.08), ("mean_low", 0.3), ("mean_high", 0.5)):
        made[f"first_shift_{name}"] = radians("layer", np.where(two, value, 0.0), "shift by position 0")
    for column, values in zip(
        ("text", "verdict", "estimate", "low", "high", "unit"), zip(*CLAIMS, strict=True), strict=True
    ):
        made[f"claim_{column}"] = ("claim", list(values))
    made["claim_evidence"] = ("claim", [f"Synthetic evidence for claim {i}." for i in range(1, 8)])
    made["claim_reason"] = ("claim", ["Synthetic reason." * (row[1] == "undetermined") for row in CLAIMS])
    return made
