"""The studies that there are: the only list of the package's own, and those that installed packages bring.

A study is imported when it is asked for.
"""

from dataclasses import fields
from importlib import import_module
from inspect import get_annotations
from typing import TYPE_CHECKING, TypeVar

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError
from laminar_lens.registered import Registry
from laminar_lens.studies.study import Study

if TYPE_CHECKING:
    from laminar_lens.figures.view import View
    from laminar_lens.results import StudyResult

S = TypeVar("S", bound=type[Study])


LEAVING_OUT = "warmup"
"""The study that says how many first tokens to leave out, as masks do."""
TABLES = {
    "angles": "laminar_lens.studies.angles_view:VIEW",
    "comparison": "laminar_lens.comparison.view:VIEW",
}
"""Kinds of results that are no study's, such as tables of `angle_table`, and how they are shown."""


def _accepted(name: str, given: object) -> type[Study]:
    if not (isinstance(given, type) and issubclass(given, Study)) or getattr(given, "kind", None) != name:
        raise InputError(f"study {name!r} is {shown(given)}; expected a subclass of Study of that kind")
    if name in TABLES:
        raise InputError(f"study {name!r}: tables of that kind are no study's; choose another kind")
    options = {one.name for one in fields(given)}
    for key, hint in get_annotations(given).items():
        if key not in options and "ClassVar" not in str(hint):
            raise InputError(
                f"study {name!r}: {key} is no field; decorate the class with @dataclass(frozen=True)"
            )
    if lacks := sorted(given.__abstractmethods__):
        raise InputError(f"study {name!r} lacks {' and '.join(lacks)}: a study measures and answers")
    return given


STUDIES: Registry[type[Study]] = Registry(
    "study",
    "laminar_lens.studies",
    {
        "sequential": "laminar_lens.studies.sequential.study:Sequential",
        "warmup": "laminar_lens.studies.warmup.study:Warmup",
        "why": "laminar_lens.studies.why.study:Why",
        "sinks": "laminar_lens.studies.sinks.study:Sinks",
        "dimensions": "laminar_lens.studies.dimensions.study:Dimensions",
        "decomposition": "laminar_lens.studies.decomposition.study:Decomposition",
        "rotation": "laminar_lens.studies.rotation.study:Rotation",
        "paths": "laminar_lens.studies.paths.study:Paths",
        "speech": "laminar_lens.studies.speech.study:Speech",
        "trajectories": "laminar_lens.studies.trajectories.study:Trajectories",
    },
    _accepted,
)


def register(study: S) -> S:
    """Makes a study known in this process, under its `kind`: its results load, draw and answer again.

    A decorator of the class; one that was registered before under that name is replaced. An installed package
    names its studies as entry points of the group `laminar_lens.studies` instead.

    Args:
        study: a subclass of `Study`, a frozen dataclass.

    Raises:
        InputError: no such class, no name, or the name of a shipped study.
    """
    STUDIES.add(getattr(study, "kind", None), study)
    return study


def study_of(kind: str) -> type[Study] | None:
    """The class of a study by its name; None where there is none."""
    return STUDIES.get(kind) if kind in STUDIES else None


def is_shipped(kind: str) -> bool:
    """Whether results of a kind are the package's own."""
    return kind in STUDIES.shipped or kind in TABLES


def is_known(kind: str) -> bool:
    """Whether there are results of a kind."""
    return kind in STUDIES or kind in TABLES


def result_class(kind: str) -> "type[StudyResult]":
    """The class of results of a known kind."""
    from laminar_lens.results import StudyResult

    study = None if kind in TABLES else study_of(kind)
    return StudyResult if study is None else study.result_class()


def view_of(kind: str) -> "View":
    """How results of a kind are shown: by the study's own view, or by the view of any."""
    from laminar_lens.figures.view import View

    study = None if kind in TABLES else study_of(kind)
    where = TABLES.get(kind) or (study.view if study else "")
    if not where:
        title = (study.title if study else "") or f"{kind} study"
        return View(title=title, claims_title="Claims, on this model")
    module, name = where.split(":")
    view: View = getattr(import_module(module), name)
    return view
