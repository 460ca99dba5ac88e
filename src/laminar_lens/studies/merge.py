"""One result from several: texts that were measured anywhere, in parts, answered together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.arguments import checked, shown
from laminar_lens.errors import InputError
from laminar_lens.results import StudyResult, make_tree, texts_fingerprint
from laminar_lens.results.complete import plain_json
from laminar_lens.results.tree import described, measured_of, names
from laminar_lens.studies.answering import ABOUT, answered, of_fields
from laminar_lens.studies.registry import study_of
from laminar_lens.studies.study import Study

COUNTED = ("n_texts", "observations")
TEXT_AXES = ("text", "random_text", "compared_text")
"""Along these, parts follow each other."""


@checked()
def merge(parts: Any) -> StudyResult:
    """The result of all texts from results of some each, as one run would have given it.

    Parts are of one study with the same options, model and seed, on texts that differ. Where a study measures
    texts by each other, such as by exchanging their beginnings, its parts cannot be merged.

    Args:
        parts: results with their measurements, in the order of the texts; answered again under the options
            that they were last answered under.

    Raises:
        InputError: fewer than two parts, parts that do not fit together (the message says where), a text that
            is in two parts, groups of texts, or a study whose parts cannot be merged.
    """
    _check_parts(parts)
    study, first = study_of(parts[0].kind), parts[0].tree
    assert study is not None
    measured, answers = {}, {}
    for name in names(first):
        found = [_measured(part, name) for part in parts]
        _check_texts(found)
        about = merged_about(study, found)
        whole = study.merge(found).assign_attrs({ABOUT: about, "seed": found[0].attrs["seed"]})
        measured[name] = whole
        answers[name] = answered(of_fields(study, whole), whole)
    made: StudyResult = type(parts[0])(make_tree(answers, measured, described=described(first)))
    return made


def by_text(
    study: type[Study],
    parts: Sequence[xr.Dataset],
    rules: dict[str, Callable[[Any], Any]],
    most: Mapping[str, int] | None = None,
) -> xr.Dataset:
    """Texts one after another; what has no text is the same in all, or merged by its rule.

    Args:
        study: of the parts.
        parts: measurements of some texts each.
        rules: by variable, the whole's values from those of the parts.
        most: by axis, such as "random_text", how many of the first texts one run measures there.

    Raises:
        InputError: a variable or attribute that is not the same, and has no rule.
    """
    variables, first = {}, parts[0]
    every = {name for part in parts for name in part.variables}
    if lacks := sorted(str(name) for name in every if any(name not in part.variables for part in parts)):
        raise InputError(f"parts of a {study.kind} study: one lacks {lacks[0]!r}; measure all alike")
    for name, one in first.variables.items():
        values = [part[name].values for part in parts]
        axis = next((dim for dim in one.dims if dim in TEXT_AXES), None)
        if axis is not None:
            at, texts = one.dims.index(axis), slice((most or {}).get(str(axis)))
            merged = np.concatenate(values, axis=at)[(slice(None),) * at + (texts,)]
        elif str(name) in rules:
            merged = rules[str(name)](values)
        elif all(np.array_equal(values[0], other) for other in values[1:]):
            merged = values[0]
        else:
            raise InputError(
                f"parts of a {study.kind} study differ in {name!r}: measure all texts in one run"
            )
        variables[str(name)] = xr.Variable(one.dims, merged, one.attrs)
    coords = {str(name): variables.pop(str(name)) for name in first.coords}
    return xr.Dataset(variables, coords, _same_attrs(study, parts))


def _same_attrs(study: type[Study], parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    """The attributes of a measurement, beside what its labels are made from.

    Raises:
        InputError: one that is not the same in all.
    """
    own = {str(key): value for key, value in parts[0].attrs.items() if key != ABOUT}
    for key, value in own.items():
        if any(key not in part.attrs or not np.array_equal(part.attrs[key], value) for part in parts):
            raise InputError(f"parts of a {study.kind} study differ in {key}: measure all alike")
    return own


def merged_about(study: type[Study], parts: Sequence[xr.Dataset]) -> dict[str, Any]:
    """What the labels are made from, of all parts."""
    abouts = [plain_json(dict, ABOUT, part.attrs[ABOUT]) for part in parts]
    first = abouts[0]
    if any(about["observed"] or about["texts"].get("grouped") for about in abouts):
        raise InputError("parts with groups or with texts that repeat cannot be merged: give each text once")
    for what in ("fields", "settings", "texts"):
        same = [{k: v for k, v in about[what].items() if k not in COUNTED} for about in abouts]
        for key in sorted({key for one in same for key in one}):
            if any(one.get(key) != same[0].get(key) for one in same):
                given = ", ".join(shown(one.get(key)) for one in same)
                raise InputError(f"parts of a {study.kind} study differ in {key}: {given}; measure all alike")
    tokens = np.concatenate([part["token_id"].values for part in parts])
    n_texts, digest = texts_fingerprint(tokens)
    counts = {key: sum(about["texts"][key] for about in abouts) for key in COUNTED}
    _check_models([about["provenance"]["model"] for about in abouts])
    if len(seeds := {about["provenance"]["seed"] for about in abouts}) > 1:
        given = " and ".join(map(str, sorted(seeds)))
        raise InputError(f"parts of a {study.kind} study have the seeds {given}: measure all with one")
    return {
        **first,
        "texts": {**first["texts"], **counts},
        "notes": list(dict.fromkeys(note for about in abouts for note in about["notes"])),
        "provenance": {**first["provenance"], "n_texts": n_texts, "texts_sha256": digest},
    }


def _check_models(models: Sequence[dict[str, Any]]) -> None:
    """Refuses another model, and what has the same name and is another: a geometry that was fitted on other
    texts, an intervention with other vectors."""
    same = {
        "weights_sha256": "parts are of different weights: measure all with one model",
        "geometry": "parts are measured in geometries that were fitted apart: fit one, and give it to all",
        "interventions": "parts have interventions that differ, such as in their vectors: measure all alike",
    }
    for key, said in same.items():
        if any(model.get(key) != models[0].get(key) for model in models):
            raise InputError(said)


def _check_parts(parts: object) -> None:
    if not isinstance(parts, list | tuple) or len(parts) < 2:
        raise InputError(f"parts is {shown(parts)}; expected a list of two results or more")
    for part in parts:
        if not isinstance(part, StudyResult):
            raise InputError(f"parts holds {shown(part)}; expected results of a study")
    for what in ("kind", "conditions"):
        given = list(dict.fromkeys(getattr(part, what) for part in parts))
        if len(given) > 1:
            raise InputError(f"parts differ in {what}: {shown(given)}; merge parts of one study")
    study = study_of(parts[0].kind)
    if study is None or study.together:
        reason = study.together if study is not None else "they are no study's"
        raise InputError(f"{parts[0].kind} results cannot be merged: {reason}; measure all texts in one run")
    if beside := [other.kind for part in parts for other in part.parts()]:
        raise InputError(
            f"{parts[0].kind} results that rest on a {beside[0]} study cannot be merged: measure all texts "
            "in one run"
        )


def _measured(part: StudyResult, name: str) -> xr.Dataset:
    found = measured_of(part.tree, name)
    if found is None or "token_id" not in found:
        raise InputError(f"a {part.kind} result does not hold what was measured of which text: run it again")
    return found


def _check_texts(parts: Sequence[xr.Dataset]) -> None:
    """Refuses a text that two parts have: it would be counted as two observations."""
    seen: dict[bytes, tuple[int, int]] = {}
    for number, part in enumerate(parts):
        for row, tokens in enumerate(np.asarray(part["token_id"].values, dtype="<i8")):
            where = seen.setdefault(tokens.tobytes(), (number, row))
            if where[0] != number:
                raise InputError(
                    f"text {row} of part {number} is text {where[1]} of part {where[0]}: a text that is "
                    "there twice is one observation; leave it out of one part"
                )
