"""The studies that there are: those of this package, of installed packages, and what a session registers.

The only list of the package's own; a study is imported when it is asked for.
"""

import importlib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from laminar_lens.errors import InputError
from laminar_lens.results import StudyResult
from laminar_lens.studies.study import Study

if TYPE_CHECKING:
    from laminar_lens.figures.view import View

GROUP = "laminar_lens.studies"
"""Entry points of other packages: `name = "module:Class"`."""

SHIPPED = {
    "sequential": "laminar_lens.studies.sequential.study:Sequential",
    "warmup": "laminar_lens.studies.warmup.study:Warmup",
    "why": "laminar_lens.studies.why.study:Why",
    "sinks": "laminar_lens.studies.sinks.study:Sinks",
    "dimensions": "laminar_lens.studies.dimensions.study:Dimensions",
}
TABLES = {"angles": "laminar_lens.studies.angles_view:VIEW"}
"""Kinds of results that are no study's, such as tables of `angle_table`, and how they are shown."""
_registered: dict[str, type[Study]] = {}
S = TypeVar("S", bound=type[Study])


def register(study: S) -> S:
    """Makes a study known by its `kind`, so that its results load, draw and show; a class decorator.

    Raises:
        InputError: no study, a kind that is no plain word, or one that the package has.
    """
    if not (isinstance(study, type) and issubclass(study, Study)):
        raise InputError(f"register() takes a subclass of Study; this is {study!r}")
    kind = getattr(study, "kind", None)
    if not isinstance(kind, str) or not kind.isidentifier():
        raise InputError(f"{study.__name__}.kind is {kind!r}; expected a plain word, such as 'rotation'")
    if kind in SHIPPED:
        raise InputError(f"{study.__name__}.kind is {kind!r}, which the package has: choose another name")
    _registered[kind] = study
    return study


def kinds() -> tuple[str, ...]:
    """Names of all studies, the package's own first."""
    return tuple(dict.fromkeys([*SHIPPED, *_registered, *(one.name for one in entry_points(group=GROUP))]))


def result_class(kind: str) -> type[StudyResult] | None:
    """The class of results of a kind; None where there is no such kind."""
    if kind in TABLES:
        return StudyResult
    study = study_of(kind)
    return None if study is None else study.result_class()


def study_of(kind: str) -> type[Study] | None:
    """The class of a study by its name; None where there is none."""
    if kind in _registered:
        return _registered[kind]
    if kind in SHIPPED:
        module, name = SHIPPED[kind].split(":")
        found: type[Study] = getattr(importlib.import_module(module), name)
        return found
    for one in entry_points(group=GROUP):
        if one.name == kind:
            loaded: type[Study] = one.load()
            return loaded
    return None


def view_of(kind: str) -> "View":
    """How results of a kind are shown: by the study's own view, or by the view of any."""
    from laminar_lens.figures.view import View

    study = None if kind in TABLES else study_of(kind)
    where = TABLES.get(kind) or (study.view if study else "")
    if not where:
        return View(title=study.title if study else f"{kind} study")
    module, name = where.split(":")
    view: View = getattr(importlib.import_module(module), name)
    return view
