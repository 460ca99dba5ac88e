"""Files of results that this version knows: read whole, with every label and part checked."""

import os
from typing import TYPE_CHECKING

import xarray as xr

from laminar_lens.errors import ResultError
from laminar_lens.results.complete import check_labels
from laminar_lens.results.kinds import check_kinds
from laminar_lens.results.storage import read_tree
from laminar_lens.results.tree import answer_of, names, part_answers

if TYPE_CHECKING:
    from laminar_lens.results import StudyResult


def read_known(path: str | os.PathLike[str]) -> "tuple[type[StudyResult], xr.DataTree]":
    """The class of a file's results, and what the file holds; errors as of `load_result`."""
    from laminar_lens.studies.registry import result_class

    tree = read_tree(path)
    kind = str(tree.attrs.get("study"))
    for name in names(tree):
        for of, answer in {kind: answer_of(tree, name), **part_answers(tree, name)}.items():
            _check(path, of, answer)
    return result_class(kind), tree


def _check(path: str | os.PathLike[str], kind: str, answer: xr.Dataset) -> None:
    from laminar_lens.studies.registry import is_known, is_shipped

    if not is_known(kind):
        raise ResultError(
            f"{path} holds a study {kind!r} that is not known here: import or install what registers it "
            "(laminar_lens.register), or upgrade Laminar Lens if it is one of its own"
        )
    check_labels(path, answer)
    check_kinds(path, answer, shipped=is_shipped(kind))
