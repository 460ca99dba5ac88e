"""A result as a tree: under each condition, "plain" first, its answer, what was measured, and by their kinds
the other studies that it rests on, each with the same.

The root's attributes name the study, what each condition's interventions were, and the texts' groups where
texts of one group count as one. Everything else is said by each condition of itself.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import xarray as xr

from laminar_lens.axes import PLAIN, Labels
from laminar_lens.errors import InputError, ResultError, a_kind
from laminar_lens.results.complete import from_json

ANSWER, MEASURED = "answer", "measured"
_SAFE = " !#$&'()*+,:;<=>?@[]^{|}~"


def make_tree(
    answers: Mapping[str, xr.Dataset],
    measured: Mapping[str, xr.Dataset] | None = None,
    *,
    parts: Mapping[str, Mapping[str, xr.DataTree]] | None = None,
    described: Mapping[str, Any] | None = None,
    groups: Labels = None,
) -> xr.DataTree:
    """The tree of a study's conditions, the plain one first.

    Args:
        answers: labelled datasets by condition.
        measured: what was measured, by condition.
        parts: by condition, the trees of other studies' plain runs by their kinds.
        described: by condition, what was done, JSON-safe.
        groups: one label a text, where texts of one group count as one.
    """
    nodes = {f"{_node(name)}/{ANSWER}": dataset for name, dataset in answers.items()}
    nodes |= {f"{_node(name)}/{MEASURED}": dataset for name, dataset in (measured or {}).items()}
    attrs = {"study": next(iter(answers.values())).attrs.get("study")}
    if len(answers) > 1:
        attrs["interventions"] = json.dumps(dict(described or {}), ensure_ascii=False)
    if groups is not None and len(answers) > 1:
        attrs["groups"] = json.dumps(np.asarray(groups).astype(str).tolist(), ensure_ascii=False)
    inside = {
        f"{_node(name)}/{kind}": one.children[PLAIN]
        for name, of in (parts or {}).items()
        for kind, one in of.items()
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **nodes, **inside})


def of_dataset(data: object) -> xr.DataTree:
    """A tree as it is; a dataset as the answer of a plain run."""
    if isinstance(data, xr.Dataset):
        return make_tree({PLAIN: data})
    if not isinstance(data, xr.DataTree):
        raise ResultError(f"the result is {a_kind(data)}; expected an xarray.Dataset or a study's tree")
    tree: xr.DataTree = data
    if PLAIN not in tree.children or any(ANSWER not in one.children for one in tree.children.values()):
        raise ResultError(
            f"the result's tree has {', '.join(map(repr, names(tree))) or 'no condition'}; expected "
            f"{PLAIN!r}, and the answer of each condition"
        )
    return tree


def names(tree: xr.DataTree) -> tuple[str, ...]:
    """The conditions of a tree, "plain" first."""
    found = [unquote(name) for name in tree.children]
    return (*(name for name in found if name == PLAIN), *(name for name in found if name != PLAIN))


def answer_of(tree: xr.DataTree, name: str) -> xr.Dataset:
    """What a condition answers.

    Raises:
        InputError: no such condition; the message names those there are.
    """
    return _answer(_checked(tree, name))


def measured_of(tree: xr.DataTree, name: str) -> xr.Dataset | None:
    """What was measured under a condition; None where the result does not hold it."""
    return _measured(_checked(tree, name))


def parts_of(tree: xr.DataTree, name: str) -> dict[str, xr.DataTree]:
    """The other studies that a condition's answer rests on, by their kinds, each as a plain run's tree."""
    return _parts(_checked(tree, name))


def part_answers(tree: xr.DataTree, name: str) -> dict[str, xr.Dataset]:
    """What they answer, by their kinds."""
    return {kind: answer_of(one, PLAIN) for kind, one in parts_of(tree, name).items()}


def only(tree: xr.DataTree, name: str) -> xr.DataTree:
    """The tree of one condition, as its study alone would have given it."""
    return _alone(_checked(tree, name))


def part_tree(tree: xr.DataTree, kind: str) -> xr.DataTree:
    """Another study that a result rests on, under each condition that has one.

    Raises:
        InputError: it rests on no such study; the message names those that it rests on.
    """
    found = {name: parts_of(tree, name) for name in names(tree)}
    if kind not in found[PLAIN]:
        others = ", ".join(map(repr, found[PLAIN])) or "none"
        raise InputError(f"no part {kind!r} in this result; it has {others}")
    known = {name: of[kind] for name, of in found.items() if kind in of}
    measured = {name: one for name, of in known.items() if (one := measured_of(of, PLAIN)) is not None}
    return make_tree(
        {name: answer_of(one, PLAIN) for name, one in known.items()},
        measured,
        parts={name: parts_of(one, PLAIN) for name, one in known.items()},
        described={name: said for name, said in described(tree).items() if name in known},
        groups=observation_of(measured[PLAIN]) if PLAIN in measured else None,
    )


def groups_of(tree: xr.DataTree) -> np.ndarray | None:
    """The group of each text; None where texts are independent."""
    found = from_json("groups", tree.attrs, [])
    return np.array(found) if found else None


def observation_of(measured: xr.Dataset) -> np.ndarray | None:
    """By text, the observation that it is part of, as texts of one `unit` share tokens or are of one `group`;
    None where each text is one by itself."""
    found = measured.get("unit", measured.get("group"))
    return None if found is None else np.asarray(found.values)


def described(tree: xr.DataTree) -> dict[str, list[dict[str, Any]]]:
    """What was done in each condition; empty where there is but one."""
    return dict(from_json("interventions", tree.attrs, {}))


def _answer(node: xr.DataTree) -> xr.Dataset:
    return node.children[ANSWER].to_dataset(inherit=False)


def _measured(node: xr.DataTree) -> xr.Dataset | None:
    return node.children[MEASURED].to_dataset(inherit=False) if MEASURED in node.children else None


def _parts(node: xr.DataTree) -> dict[str, xr.DataTree]:
    return {kind: _alone(one) for kind, one in node.children.items() if kind not in (ANSWER, MEASURED)}


def _alone(node: xr.DataTree) -> xr.DataTree:
    """The tree of one node's answer and measurement, and of the parts that it rests on."""
    measured = _measured(node)
    return make_tree(
        {PLAIN: _answer(node)},
        {} if measured is None else {PLAIN: measured},
        parts={PLAIN: _parts(node)},
    )


def _checked(tree: xr.DataTree, name: str) -> xr.DataTree:
    if name not in names(tree):
        known = ", ".join(map(repr, names(tree)))
        raise InputError(f"condition {name!r} is not in this result; it has {known}")
    return tree.children[_node(name)]


def _node(name: str) -> str:
    """A name that a file can have for a group, whatever a condition is called."""
    return quote(name, safe=_SAFE).replace(".", "%2E") if set(name) == {"."} else quote(name, safe=_SAFE)
