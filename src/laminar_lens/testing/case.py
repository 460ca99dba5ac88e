"""A study under its contract: the small run, and how results are compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import laminar_lens as ll
from laminar_lens.errors import LaminarLensError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.results import StudyResult
from laminar_lens.studies.drive import run
from laminar_lens.studies.study import Study

FEW: Mapping[str, Any] = {"n_texts": 24, "length": 12, "geometries": False, "random_init": False}
"""Options of a quick run, those that a study takes."""
CHANGED = "changed"
CHANGES = {CHANGED: ll.remove_write("mlp", 1)}


@dataclass
class Case:
    """A study with a model and texts on which its contract is checked; runs are made once."""

    study: Study
    model: HookedModel
    texts: Any
    options: dict[str, Any]
    made: dict[str, StudyResult] = field(default_factory=dict)

    def run(self, name: str = "plain", **more: Any) -> StudyResult:
        """The study's result under more options, kept under `name`."""
        if name not in self.made:
            self.made[name] = run(self.study, self.model, self.texts, **{**self.options, **more})
        return self.made[name]

    @property
    def result(self) -> StudyResult:
        """Plain, and with the writes of one block removed."""
        return self.run(CHANGED, interventions=CHANGES)


def make_case(study: Study, model: HookedModel | None = None, texts: object = None, **options: Any) -> Case:
    """The study, the embedded model where none is given, and options of a quick run."""
    few = {name: value for name, value in FEW.items() if name not in study.without}
    given = ll.load_model("novella") if model is None else model
    return Case(study, given, texts, {**few, **options})


def same(a: StudyResult, b: StudyResult, what: str) -> None:
    """Numbers, measurement and sentence are equal."""
    for name in ("numbers_sha256", "measured_sha256", "sentence"):
        assert getattr(a, name) == getattr(b, name), f"{what} differ in {name}"


def same_measured(merged: Any, whole: Any) -> None:
    """Every variable is equal, but for the rounding of means of means."""
    for name, one in whole.variables.items():
        exact = "text" in one.dims or one.dtype.kind != "f"
        alike = np.array_equal if exact else partial(np.allclose, rtol=1e-6)
        equal = alike(one.values, merged[name].values, equal_nan=one.dtype.kind == "f")
        assert equal, f"{name} of the parts and of the whole"


def refusal(call: Callable[[], Any]) -> str:
    """What is refused, or nothing."""
    try:
        call()
    except LaminarLensError as error:
        return str(error)
    return ""
