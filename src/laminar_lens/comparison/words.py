"""What a comparison says: which claims have the same answer on every model, and which not."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.results import StudyResult
from laminar_lens.results.summary import claim_rows
from laminar_lens.words import capitalised, decimal, joined, unit_text, with_ends

SEEN = ("layers", "geometries", "random_init")
"""Settings that the curves show, or of which nothing is compared."""


def sentence(data: xr.Dataset, found: Mapping[str, StudyResult]) -> str:
    """The claims, model by model, and how far numbers of the same texts are apart."""
    said = [_claims(found), *_differences(data, next(iter(found)))]
    return " ".join(one for one in said if one)


def differing(found: Mapping[str, StudyResult]) -> list[str]:
    """A line for each setting in which the runs differ, but for those in `SEEN`."""
    used = {name: one.settings for name, one in found.items()}
    lines = []
    flags = next(iter(found.values())).flags
    for key in dict.fromkeys(key for how in used.values() for key in how):
        values = {name: how[key] for name, how in used.items() if key in how}
        if key not in SEEN and len({repr(value) for value in values.values()}) > 1:
            each = ", ".join(f"{value} ({name})" for name, value in values.items())
            option = f" ({flags[key]})" if key in flags else ""
            lines.append(f"The runs differ in {key}{option}: {each}.")
    return lines


def _claims(found: Mapping[str, StudyResult]) -> str:
    verdicts = {
        name: {row["claim"]: str(row["verdict"]) for row in claim_rows(one.dataset)}
        for name, one in found.items()
    }
    claims = [key for key in next(iter(verdicts.values())) if all(key in one for one in verdicts.values())]
    kind, models = next(iter(found.values())).view.title, joined(list(found))
    if not claims:
        said = [
            f"{name}: {re.split(r'(?<=[.!?]) (?=[A-Z])', one.sentence)[0]}" for name, one in found.items()
        ]
        return f"{kind} of {models}. {' '.join(said)}"
    alike = [key for key in claims if len({one[key] for one in verdicts.values()}) == 1]
    first = next(iter(verdicts.values()))
    same = [
        f"{joined(keys)} {_agreeing(verdict, keys)}"
        for verdict in dict.fromkeys(first[key] for key in alike)
        if (keys := [key for key in alike if first[key] == verdict])
    ]
    other = [f"{key} {_by_model(key, verdicts)}" for key in claims if key not in alike]
    head = f"{kind} of {models}: {len(alike)} of {len(claims)} claims have the same answer on each"
    parts = [f"{head} ({'; '.join(same)})" if same else head, *other]
    return "; ".join(parts) + "."


def _agreeing(verdict: str, keys: list[str]) -> str:
    if verdict in ("holds", "fails"):
        return verdict if len(keys) == 1 else verdict.removesuffix("s")
    return f"{'is' if len(keys) == 1 else 'are'} {verdict}"


def _by_model(claim: str, verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """`holds on a, fails on b and c`."""
    answers = dict.fromkeys(one[claim] for one in verdicts.values())
    return ", ".join(
        f"{_agreeing(answer, [claim])} on "
        + joined([name for name, one in verdicts.items() if one[claim] == answer])
        for answer in answers
    )


def _differences(data: xr.Dataset, first: str) -> Iterator[str]:
    """Of each paired number, the largest difference that its band shows, or that it shows none."""
    for key, one in data.data_vars.items():
        if not str(key).endswith("_difference"):
            continue
        low, high = (data[f"{key}{end}"].values for end in ("_low", "_high"))
        for row, other in enumerate(data["other"].values.tolist()):
            yield _difference(one.values[row], low[row], high[row], data["common_depth"].values, {
                "what": str(one.attrs["long_name"]).split(", minus")[0],
                "unit": unit_text(str(one.attrs["units"])),
                "models": f"{other} minus {first}",
            })  # fmt: skip


def _difference(
    estimate: np.ndarray, low: np.ndarray, high: np.ndarray, depth: np.ndarray, names: Mapping[str, Any]
) -> str:
    where = f"{capitalised(names['what'])}, {names['models']}, of the same texts"
    if not np.isfinite(low).any():
        return f"{where}: no band, so no difference is said."
    shown = np.where((low > 0) | (high < 0), np.abs(estimate), np.nan)
    if not np.isfinite(shown).any():
        return f"{where}: no difference is shown at any depth."
    at = int(np.nanargmax(shown))
    size, ends = with_ends(estimate[at], low[at], high[at], join=" to ")
    return f"{where}: largest {size} ({ends}) {names['unit']}".rstrip() + f" at depth {decimal(depth[at])}."
