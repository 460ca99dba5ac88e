"""A measurement answered, when it was made and again from a file; needs no model."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.arguments import shown
from laminar_lens.axes import PLAIN
from laminar_lens.errors import InputError, nearest
from laminar_lens.results import StudyResult, label_dataset, make_tree
from laminar_lens.results.complete import plain_json
from laminar_lens.results.tree import answer_of, described, groups_of, measured_of, names, parts_of
from laminar_lens.studies.options import Options
from laminar_lens.studies.registry import result_class, study_of
from laminar_lens.studies.study import Answer, Study
from laminar_lens.words import neutral

ABOUT = "about"
"""Attribute of a measurement: what the result's labels are made from."""


def answered(
    study: Study, measured: xr.Dataset, parts: Mapping[str, xr.DataTree] | None = None
) -> xr.Dataset:
    """The labelled answer to a measurement and the studies that it rests on; needs no model."""
    about = plain_json(dict, ABOUT, measured.attrs[ABOUT])
    measured = study.joined(measured, {kind: answer_of(one, PLAIN) for kind, one in (parts or {}).items()})
    answer = study.answer(measured)
    if not isinstance(answer, Answer):
        raise InputError(f"answer of study {study.kind!r} returned {shown(answer)}; expected an Answer")
    if not isinstance(answer.sentence, str) or not answer.sentence.strip() or "\n" in answer.sentence:
        raise InputError(
            f"answer of study {study.kind!r} has sentence {shown(answer.sentence)}; expected one line of text"
        )
    own = study.settings(measured)
    settings = {**about["texts"], **own, **about["settings"], **own}
    provenance = {**about["provenance"], "settings": settings}
    options = ["texts", *(one.name for of in (study, Options) for one in fields(of))]
    return label_dataset(
        answer.dataset,
        study=study.kind,
        sentence=f"{answer.sentence} {about['observed']}".rstrip(),
        provenance=provenance,
        settings=settings,
        warnings=[neutral(note, options) for note in (*about["notes"], *answer.notes)],
    )


def answer_again(result: StudyResult, changed: Mapping[str, Any]) -> StudyResult:
    """As `StudyResult.answer`."""
    return type(result)(_tree_again(result.kind, result.tree, changed))


def _tree_again(kind: str, tree: xr.DataTree, changed: Mapping[str, Any]) -> xr.DataTree:
    """A result's tree, answered under other options of its study or of those that it rests on."""
    study, found = study_of(kind), {name: measured_of(tree, name) for name in names(tree)}
    if study is None or any(part is None for part in found.values()):
        raise InputError(f"this {kind} result does not hold what was measured: run the study again")
    beside = {name: parts_of(tree, name) for name in found}
    own, of_parts = _by_study(kind, [part for of in beside.values() for part in of.items()], changed)
    measured = {name: _asked_anew(study, part, own) for name, part in found.items() if part is not None}
    studies = {name: replace(of_fields(study, part), **own) for name, part in measured.items()}
    parts = {
        name: {part: _part_again(part, one, of_parts[part]) for part, one in of.items()}
        for name, of in beside.items()
    }
    answers = {name: answered(studies[name], part, parts[name]) for name, part in measured.items()}
    return make_tree(answers, measured, parts=parts, described=described(tree), groups=groups_of(tree))


def _part_again(kind: str, tree: xr.DataTree, changed: Mapping[str, Any]) -> xr.DataTree:
    """A study that another rests on, as a result of its own: what it lacks is said of it."""
    return result_class(kind)(tree).answer(**changed).tree if changed else tree


def _by_study(
    kind: str, parts: Sequence[tuple[str, xr.DataTree]], changed: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Options of a study, and of those that it rests on by their kinds: each is of the first that has it."""
    takes = {kind: _fields(kind)}
    for part, tree in parts:
        takes[part] = takes.get(part, {}) | _taken(part, tree)
    of: dict[str, dict[str, Any]] = {one: {} for one in takes}
    for name, value in changed.items():
        having = next((one for one, known in takes.items() if name in known), None)
        if having is None:
            again = [one for known in takes.values() for one, remeasured in known.items() if not remeasured]
            raise InputError(f"{name}= is no option of this {kind} result: {nearest(name, again)}")
        of[having][name] = value
    return of.pop(kind), of


def _taken(kind: str, tree: xr.DataTree) -> dict[str, bool]:
    """Options of a study and of those that it rests on, and whether they decide what is measured."""
    found: dict[str, bool] = {}
    for name in names(tree):
        for part in parts_of(tree, name).items():
            found |= _taken(*part)
    return found | _fields(kind)


def _fields(kind: str) -> dict[str, bool]:
    """As `_taken`, of the study itself."""
    study = study_of(kind)
    return {} if study is None else {one.name: one.name in study.remeasured for one in fields(study)}


def of_fields(study: type[Study], measured: xr.Dataset) -> Study:
    """The study with the options that a measurement was last answered under."""
    kept = plain_json(dict, "fields", plain_json(dict, ABOUT, measured.attrs[ABOUT])["fields"])
    return study(**{one.name: kept[one.name] for one in fields(study) if one.name in kept})


def _asked_anew(study: type[Study], measured: xr.Dataset, changed: Mapping[str, Any]) -> xr.Dataset:
    """The measurement, to be answered under other options of its study."""
    about = plain_json(dict, ABOUT, measured.attrs[ABOUT])
    for name in changed:
        if name in study.remeasured:
            raise InputError(f"{name}= decides what is measured: run the study again with it")
    given = {**plain_json(dict, "fields", about["fields"]), **changed}
    made = {name: as_kept(value) for name, value in given.items()}
    return measured.assign_attrs({ABOUT: {**about, "fields": made}})


def as_kept(value: object) -> Any:
    """An option as a file holds it; None for what it cannot hold, which only decides what is measured."""
    simple = (bool, int, float, str, type(None))
    value = value.item() if isinstance(value, np.generic) else value
    several = isinstance(value, list | tuple) and all(isinstance(one, simple) for one in value)
    return value if several or isinstance(value, simple) else None
