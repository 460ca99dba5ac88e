"""Results of one study on several models or checkpoints, along a common depth.

Depth is the hidden state's number over the number of blocks: 0 is the embedding, 1 the output of the last
block. What is compared are the numbers by text that the study's conditions are compared by, means over
everything but layers. Texts pair two models where their tokens and tokenizers are the same; elsewhere each
model has its own band, and no difference is said.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.arguments import checked, shown
from laminar_lens.axes import PLAIN, Results
from laminar_lens.comparison.words import differing, sentence
from laminar_lens.errors import InputError
from laminar_lens.figures.view import Part
from laminar_lens.results import StudyResult, label_dataset, load_result
from laminar_lens.results.conditions import claims_beside
from laminar_lens.results.contrasts import along, compared, parts_of, with_texts
from laminar_lens.results.summary import claim_rows
from laminar_lens.results.tree import observation_of
from laminar_lens.stats.bootstrap import Interval, band_or_nothing
from laminar_lens.tables import Column, Table

KIND = "comparison"
ENDS = ("", "_low", "_high")


@checked(results=None)
def compare(results: Results) -> StudyResult:
    """One study on several models or checkpoints, in one result.

    Args:
        results: at least two results of one study, or their files, by the name of their model; of those with
            interventions the plain run is compared. Differences are from the first.

    Returns:
        A result of kind "comparison". For each number that the study compares: its mean over texts
        [model state] with a 95% band over the layers of that model (`_low`, `_high`), at `depth`
        [model state] from 0 (embedding) to 1 (last block), with `blocks` [model]. Where texts and tokenizers
        are the same, `<number>_difference` [other common] from the first model at `common_depth` [common],
        the depths of the model with the fewest layers, to which the others are interpolated between layers
        text by text; its 95% band covers all depths and models at once. NaN behind the last layer, and where
        there is no difference or no band. Below 40 texts bands are withheld.

    Raises:
        InputError: fewer than two results, results of different studies, or a study without numbers by text
            and layer.
        ResultError: a file that cannot be read.
    """
    found = _results(results)
    kinds = {name: one.kind for name, one in found.items()}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise InputError(f"results of different studies are not compared ({said}): give those of one study")
    first = next(iter(found.values()))
    variables: dict[str, xr.Variable] = {}
    parts = _parts(found)
    places = _places(found)
    pairs = [name for name in list(found)[1:] if places.size and _is_paired(first, found[name])]
    for key, part in parts.items():
        variables |= _curves(key, part, found)
        if pairs:
            variables |= _differences(key, part, found, pairs, places)
    depths = _ragged([_depth(one) for one in found.values()])
    coords: dict[str, Any] = {"model": list(found), "state": np.arange(depths.shape[1])}
    coords |= {"depth": (("model", "state"), depths)}
    coords |= {"blocks": ("model", [_blocks(one) for one in found.values()])}
    coords |= {"other": pairs, "common_depth": ("common", places)} if pairs else {}
    about = {"compared": first.kind, "parts": json.dumps({key: one.name for key, one in parts.items()})}
    data = xr.Dataset(variables, coords, about)
    made = StudyResult(_labelled(data, found, sentence(data, found)))
    for table in (_answers(found), *_claims(found)):
        made = made.attach(table)
    return made


def _results(given: object) -> dict[str, StudyResult]:
    if not isinstance(given, Mapping) or len(given) < 2:
        raise InputError(
            f"results is {shown(given)}; expected at least two results by the name of their model, such as "
            "{'a': result, 'b': 'b.nc'}"
        )
    found = {}
    for name, one in given.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise InputError(f"results: {shown(name)} is no name of a model; give a text")
        if isinstance(one, str | os.PathLike):
            one = load_result(one)
        if not isinstance(one, StudyResult) or one.kind == KIND:
            raise InputError(f"results: {name!r} is {shown(one)}; expected a study's result, or its file")
        found[name] = one.condition(PLAIN)
    return found


def _parts(found: Mapping[str, StudyResult]) -> dict[str, Part]:
    """What all results have by text and layer, by the name of its variable."""
    each = []
    for name, one in found.items():
        data = compared(one.tree, PLAIN)
        if not with_texts(data):
            raise InputError(f"the {one.kind} result of {name} has no number by text: nothing is compared")
        each.append({part.name: part for part in parts_of(data, one.view) if _has_layers(data, part)})
    common = [part for key, part in each[0].items() if all(key in other for other in each)]
    if not common:
        raise InputError("these results have no number by text and by layer in common: nothing is compared")
    return {"".join(c if c.isalnum() else "_" for c in part.name): part for part in common}


def _has_layers(data: xr.Dataset, part: Part) -> bool:
    return "layer" in data[part.variable].dims and "layer" in data.coords


def _values(result: StudyResult, part: Part) -> np.ndarray:
    """Numbers [text layer], means over everything else."""
    return along(compared(result.tree, PLAIN)[part.variable].isel(part.where), "layer")


def _groups(result: StudyResult) -> np.ndarray | None:
    """The observation that each text is part of; None where texts are independent."""
    return None if result.measured is None else observation_of(result.measured)


def _depth(result: StudyResult) -> np.ndarray:
    """Of each measured layer, 0 … 1."""
    layers = compared(result.tree, PLAIN)["layer"].values
    return np.asarray(layers / _blocks(result))


def _blocks(result: StudyResult) -> int:
    return int(result.provenance["model"]["n_layers"])


def _ragged(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of different lengths in one array, NaN behind the end."""
    made = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, values in zip(made, rows, strict=True):
        row[: len(values)] = values
    return made


def _band(values: np.ndarray, of: StudyResult) -> Interval:
    """Of numbers [text …] of a result."""
    return band_or_nothing(values, groups=_groups(of), seed=_seed(of))


def _seed(result: StudyResult) -> int:
    return int(result.provenance.get("seed") or 0)


def _curves(key: str, part: Part, found: Mapping[str, StudyResult]) -> dict[str, xr.Variable]:
    """The mean of each model by layer with its band."""
    bands = [_band(_values(one, part), one) for one in found.values()]
    about = compared(next(iter(found.values())).tree, PLAIN)[part.variable].attrs
    return _variables(key, ("model", "state"), bands, str(about.get("units", "")), part.name)


def _differences(
    key: str, part: Part, found: Mapping[str, StudyResult], pairs: list[str], places: np.ndarray
) -> dict[str, xr.Variable]:
    """Each other model minus the first, text by text, at the common depths; one band over all of them."""
    first, *_ = found.values()
    base = _at(first, part, places)
    stack = np.stack([_at(found[name], part, places) - base for name in pairs], axis=1)
    band = _band(stack, first)
    units = str(compared(first.tree, PLAIN)[part.variable].attrs.get("units", ""))
    name = f"{part.name}, minus that of {next(iter(found))}"
    return _variables(f"{key}_difference", ("other", "common"), [band], units, name)


def _at(result: StudyResult, part: Part, places: np.ndarray) -> np.ndarray:
    """Numbers [text place], between layers interpolated along depth; NaN where either layer has none."""
    depth, values = _depth(result), _values(result, part)
    right = np.clip(np.searchsorted(depth, places), 1, len(depth) - 1) if len(depth) > 1 else np.array([0])
    left = np.maximum(right - 1, 0)
    width = np.where(depth[right] > depth[left], depth[right] - depth[left], 1.0)
    share = (places - depth[left]) / width
    low, high = np.where(share < 1, values[:, left], 0.0), np.where(share > 0, values[:, right], 0.0)
    return np.asarray((1 - share) * low + share * high)


def _places(found: Mapping[str, StudyResult]) -> np.ndarray:
    """The depths of the model with the fewest layers that all the others reach."""
    depths = [_depth(one) for one in found.values()]
    fewest = min(depths, key=len)
    start, stop = max(one[0] for one in depths), min(one[-1] for one in depths)
    return np.asarray(fewest[(fewest >= start) & (fewest <= stop)])


def _is_paired(a: StudyResult, b: StudyResult) -> bool:
    """Whether both read the same tokens of the same texts with the same tokenizer."""
    one, other = (result.provenance for result in (a, b))
    same = one["texts_sha256"] == other["texts_sha256"] and _same_groups(a, b)
    same &= a.settings.get("prepend_bos") == b.settings.get("prepend_bos")
    tokenizers = [about.get("model", {}).get("tokenizer_sha256") for about in (one, other)]
    return bool(same and tokenizers[0] and tokenizers[0] == tokenizers[1])


def _same_groups(a: StudyResult, b: StudyResult) -> bool:
    one, other = _groups(a), _groups(b)
    return one is other if one is None or other is None else np.array_equal(one, other)


def _variables(
    key: str, dims: tuple[str, str], bands: list[Interval], units: str, name: str
) -> dict[str, xr.Variable]:
    withheld = next((one.withheld for one in bands if one.withheld), "")
    made = {}
    for end, values in zip(ENDS, ("estimate", "low", "high"), strict=True):
        rows = [np.atleast_2d(getattr(one, values)) for one in bands]
        joined = rows[0] if len(rows) == 1 else _ragged([row[0] for row in rows])
        said = {"units": units, "long_name": name if not end else f"{name}: {end[1:]} end of its 95% band"}
        made[key + end] = xr.Variable(dims, joined, said | ({"withheld": withheld} if end else {}))
    return made


def _labelled(data: xr.Dataset, found: Mapping[str, StudyResult], said: str) -> xr.Dataset:
    first = next(iter(found.values()))
    settings = {"compared": first.kind, "models": list(found)} | {
        key: value
        for key, value in first.settings.items()
        if all(key in one.settings and one.settings[key] == value for one in found.values())
    }
    provenance = {
        "model": {"name": ", ".join(found)},
        "settings": settings,
        "seed": _seed(first),
        "versions": first.provenance["versions"],
        "compared": {name: one.provenance | {"numbers": one.numbers_sha256} for name, one in found.items()},
    }
    notes = [f"{name}: {note}" for name, one in found.items() for note in one.warnings]
    return label_dataset(
        data,
        study=KIND,
        sentence=said,
        provenance=provenance,
        settings=settings,
        warnings=[*differing(found), *notes],
    )


def _answers(found: Mapping[str, StudyResult]) -> Table:
    models = [one.provenance["model"] for one in found.values()]
    columns = (
        Column("model", tuple(found), wide=True),
        Column.of("blocks", str, {"n_layers": [one["n_layers"] for one in models]}),
        Column.of("d_model", str, {"d_model": [one["d_model"] for one in models]}, spare=2),
        Column.of("texts", str, {"n_texts": [one.provenance["n_texts"] for one in found.values()]}, spare=1),
        Column("answer", tuple(one.sentence for one in found.values()), wide=True),
    )
    return Table("answers", "What the study says of each model", columns)


def _claims(found: Mapping[str, StudyResult]) -> list[Table]:
    rows = {name: claim_rows(one.dataset) for name, one in found.items()}
    return claims_beside("model_claims", "The claims, model by model", rows)
