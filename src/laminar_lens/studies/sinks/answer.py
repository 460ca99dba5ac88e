"""From what a sink study measured to its dataset: every length, share and write with its interval."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.models.families import WRITES
from laminar_lens.stats.bootstrap import Interval, mapped, simultaneous_band
from laminar_lens.stats.sinks import HEAD_SHARE, NORM_RATIO, token_kind, within_shares
from laminar_lens.studies.columns import BAND, column, with_ends
from laminar_lens.studies.geometries import by_geometry
from laminar_lens.studies.lengths import RESIDUAL
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.sinks.claims import answer_claims
from laminar_lens.studies.sinks.facts import Facts
from laminar_lens.studies.sinks.numbers import FLOOR, NORMS, RELATIVE, VARIANTS, Sinks, length_ratios
from laminar_lens.studies.sinks.words import sentence
from laminar_lens.studies.study import Answer

MOST_TOKENS = 20
"""So many kinds of tokens beside position 0 are listed."""


def answer(dataset: xr.Dataset) -> Answer:
    """Every length, share and write, the claims S1–S6 and the sentence."""
    measured, seed = of_dataset(Sinks, dataset), int(dataset.attrs["seed"])
    groups = measured.group
    ratio = length_ratios(measured.norm)
    facts = Facts(
        ratio=ratio,
        by_place=_of_ratios(simultaneous_band, ratio, groups=groups, seed=seed),
        heads=_heads(measured, groups, seed),
        first=measured.first,
        massive=_massive(measured),
        measured=measured,
        groups=groups,
        seed=seed,
    )
    claims = answer_claims(facts)
    variables = (
        _lengths(facts)
        | _attention(facts)
        | _activations(facts)
        | _writes(facts)
        | _tokens(facts)
        | _random(measured)
        | _geometries(measured, seed)
    )
    length = measured.norm.shape[2]
    coords = {
        "layer": measured.layer,
        "block": measured.block,
        "pos": np.arange(length),
        "variant": list(VARIANTS),
        "component": list(WRITES),
    }
    attrs = {"n_texts": len(measured.norm), "length": length, "threshold": NORM_RATIO}
    return Answer(xr.Dataset(variables, coords, attrs), sentence(facts, claims), claims)


def _of_ratios(interval: Callable[..., Interval], ratios: np.ndarray, **how: Any) -> Interval:
    """The geometric mean over texts [text …] with the interval of its logarithm."""
    with np.errstate(divide="ignore", invalid="ignore"):
        band = interval(np.log(ratios), **how)
    return mapped(np.exp, band)


def _heads(measured: Sinks, groups: np.ndarray | None, seed: int) -> Interval | None:
    """Mean attention of each head to position 0, [block head], in a band that covers all heads."""
    if measured.first is None:
        return None
    return within_shares(simultaneous_band(measured.first, groups=groups, seed=seed))


def _massive(measured: Sinks) -> np.ndarray:
    """Whether a token has a massive activation, [variant text layer pos]."""
    median, typical = measured.median[..., None], np.median(measured.norm, axis=-1, keepdims=True)
    relative = measured.value > RELATIVE * median
    return np.stack([relative & (measured.value > FLOOR), relative, measured.value > NORMS * typical])


def _lengths(facts: Facts) -> dict[str, xr.Variable]:
    by = ("layer", "pos")
    band, norm = facts.by_place, facts.measured.norm
    name = "length over the median length of the same text and layer"
    return {
        "ratio": column(("text", *by), facts.ratio.astype(np.float32), name),
        **with_ends("norm_ratio", by, band, f"geometric mean over texts of the {name}", ends=BAND),
        "norm": column(by, norm.mean(0), "mean length", RESIDUAL),
        "norm_median": column(("layer",), np.median(norm, axis=(0, 2)), "median length", RESIDUAL),
    }


def _attention(facts: Facts) -> dict[str, xr.Variable]:
    measured = facts.measured
    if facts.heads is None or measured.received is None or measured.resting is None:
        return {}
    name = "mean attention that a position and those after it pay to the position"
    by, length, low = ("block", "head"), measured.norm.shape[2], facts.heads.low
    over = np.where(np.isfinite(low).all(axis=1), (low > HEAD_SHARE).sum(axis=1), -1)
    return {
        "attention": column((*by, "pos"), measured.received.astype(np.float32), name),
        **with_ends(
            "attention_first", by, facts.heads, "the same of position 0", ends=BAND, say_withheld=False
        ),
        "attention_even": column((), (1 / np.arange(1, length + 1)).mean(), "the same, spread evenly"),
        "top_head": column(("block",), facts.heads.estimate.max(axis=1), "the largest of its heads"),
        "heads_over": column(
            ("block",), over, f"heads shown to give position 0 over {HEAD_SHARE}; -1: not known", "heads"
        ),
        "resting_heads": column(
            ("block", "pos"), measured.resting.mean(0), "share of heads with more than 0.3 of that, by text"
        ),
        "resting_first": column(
            ("text",), measured.resting[:, :, 0].mean(1), "share of all heads that rest on position 0"
        ),
    }


def _activations(facts: Facts) -> dict[str, xr.Variable]:
    measured = facts.measured
    median = np.maximum(measured.median[..., None], np.finfo(np.float32).tiny)
    common, share = _most_common(measured.dimension)
    return {
        "massive": column(
            ("variant", "layer", "pos"), facts.massive.mean(1), "share of texts with a massive activation"
        ),
        "massive_dimension": column(
            ("variant", "layer", "dimension"),
            measured.massive / len(measured.norm),
            "share of texts with a massive activation in that dimension",
        ),
        "massive_dimension_first": column(
            ("variant", "layer", "dimension"),
            measured.massive_first / len(measured.norm),
            "the same, at position 0",
        ),
        "largest": column(
            ("layer", "pos"), np.exp(np.log(np.maximum(measured.value / median, 1e-30)).mean(0)),
            "largest |coordinate| over the text's median |coordinate|, geometric mean",
        ),
        "largest_dimension": column(("layer", "pos"), common, "dimension that most often is the largest"),
        "largest_dimension_share": column(("layer", "pos"), share, "share of texts in which it is"),
    }  # fmt: skip


def _most_common(dimension: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent entry over texts of [text layer pos], and its share."""
    ordered = np.sort(dimension, axis=0)
    n = len(ordered)
    run = np.ones(ordered.shape, int)
    for row in range(1, n):
        run[row] = np.where(ordered[row] == ordered[row - 1], run[row - 1] + 1, 1)
    at = run.argmax(axis=0)[None]
    return np.take_along_axis(ordered, at, 0)[0], np.take_along_axis(run, at, 0)[0] / n


def _writes(facts: Facts) -> dict[str, xr.Variable]:
    measured = facts.measured
    if measured.write is None or measured.error is None:
        return {}
    write, by = measured.write.mean(0), ("block", "component")
    later = write[..., write.shape[-1] // 2 :].mean(-1)
    first = measured.write[..., 0]
    found: dict[str, xr.Variable] = {
        "write": column((*by, "pos"), write, "growth of the length by a component", RESIDUAL),
        "write_rest": column(by, later, "the same, mean over the later half of a text", RESIDUAL),
        "write_first": column(("text", *by), first, "the same at position 0, by text", RESIDUAL),
        "identity_error": column(
            ("block",),
            measured.error,
            "largest distance of a step from attn + mlp, over the longest of input, output and writes",
        ),
    }
    if facts.writes is not None:
        name = f"growth of position 0's length by a component, over {facts.growth[1]}"
        found |= with_ends("write_share", by, facts.writes, name, ends=BAND, say_withheld=False)
    return found


def _tokens(facts: Facts) -> dict[str, xr.Variable]:
    """Tokens beside position 0 that are sinks by their length in some layer, the most frequent first."""
    measured = facts.measured
    tokens, beside = measured.token_id[:, 1:], facts.sinks[:, 1:]
    ids, counts = np.unique(tokens[beside], return_counts=True)
    ids = ids[np.argsort(-counts, kind="stable")][:MOST_TOKENS]
    words = [str(word) for word in measured.word[np.searchsorted(measured.token, ids)]]
    first = np.zeros(tokens.shape, bool)
    for text, row in enumerate(tokens):
        first[text, np.unique(row, return_index=True)[1]] = True
    columns: dict[str, list[Any]] = {"sinks": [], "occurrences": [], "share": [], "first_share": []}
    for token in ids:
        here = tokens == token
        columns["sinks"].append(int((here & beside).sum()))
        columns["occurrences"].append(int(here.sum()))
        columns["share"].append(float(beside[here].mean()))
        columns["first_share"].append(float(beside[here & first].mean()))
    rest = MOST_TOKENS - len(ids)
    about = {
        "sinks": "how often it is a sink beside position 0",
        "occurrences": "how often it occurs there",
        "share": "share of these that are sinks",
        "first_share": "the same of its first occurrence in each text",
    }
    return {
        "sink_token": column(("sink",), [*words, *[""] * rest], "token that is a sink beside position 0"),
        "sink_token_kind": column(("sink",), [*map(token_kind, words), *[""] * rest], "what it is"),
        **{
            f"sink_token_{name}": column(("sink",), np.array([*one, *[np.nan] * rest], float), about[name])
            for name, one in columns.items()
        },
    }


def _geometries(measured: Sinks, seed: int) -> dict[str, xr.Variable]:
    """Position 0's length over the text's median in every geometry."""
    if measured.beside is None or measured.geometries is None:
        return {}
    meaning = "length of position 0 over the text's median, geometric mean over texts"
    return by_geometry(
        {"length": (measured.beside, meaning)},
        measured.geometries.tolist(),
        measured.group,
        seed,
        units="1",
        interval=partial(_of_ratios, simultaneous_band),
    )


def _random(measured: Sinks) -> dict[str, xr.Variable]:
    if measured.random_norm is None:
        return {}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.exp(np.log(length_ratios(measured.random_norm)).mean(0))
    found = {"random_norm_ratio": column(("layer", "pos"), ratio, "norm_ratio with random weights")}
    if measured.random_resting is not None:
        found["random_resting_heads"] = column(
            ("block", "pos"), measured.random_resting.mean(0), "resting_heads with random weights"
        )
    return found
