"""Every study, the package's and one that is not, keeps every clause of the contract."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import laminar_lens as ll
from laminar_lens.studies.registry import STUDIES
from laminar_lens.studies.study import Study
from laminar_lens.testing import CONTRACT, Case, checks_interventions_first, is_shown, make_case
from tests.contract.turning import Turning

SMALL: dict[str, dict[str, Any]] = {
    "sequential": {"n_draws": 5, "n_perm": 99, "n_donors": 24, "warmup": False},
    "why": {},
    "rotation": {"n_perm": 99},
    "trajectories": {"n_perm": 99},
    "paths": {"n_perm": 99},
    "speech": {"n_perm": 99},
}
"""Fields of a quick run, for studies that have more to measure."""
OF_PROMPTS = ("sequential", "rotation", "trajectories")


@pytest.fixture(scope="module", params=[*STUDIES.shipped, Turning.kind])
def case(request: pytest.FixtureRequest, novella: Any) -> Case:
    kind = request.param
    study = STUDIES.get(kind)(**SMALL.get(kind, {}))
    prompts = list(ll.her_prompts()[:12]) if kind in OF_PROMPTS else None
    return make_case(study, novella, prompts)


@pytest.mark.parametrize("clause", CONTRACT.values(), ids=CONTRACT)
def test_contract(case: Case, clause: Callable[[Case], None]) -> None:
    clause(case)


@pytest.mark.parametrize("texts", ["sampled", "passages"])
def test_interventions_that_are_checked_late_break_it(
    texts: str, novella: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the check before the first pass, the plain run comes first: positive control of the clause."""
    checks_interventions_first(make_case(Turning(), novella, texts))
    for module in ("drive", "texts"):
        monkeypatch.setattr(f"laminar_lens.studies.{module}.check_conditions", lambda *given, **how: None)
    with pytest.raises(AssertionError, match=r"block 8 of 8 is refused after \d+ forward passes"):
        checks_interventions_first(make_case(Turning(), novella, texts))


def test_a_study_that_runs_the_model_to_choose_its_texts_breaks_it(novella: Any) -> None:
    class Early(Turning):
        def texts(self, run: Any, given: Any) -> Any:
            ll.capture_residuals(run.model, ["He gave her the book."])
            return Study.texts(self, run, given)

    with pytest.raises(AssertionError, match=r"is refused after \d+ forward passes"):
        checks_interventions_first(make_case(Early(), novella))


def test_a_sentence_without_an_end_breaks_it(novella: Any) -> None:
    """Also where the names of conditions come behind it."""

    class Unended(Turning):
        def answer(self, measured: Any) -> ll.Answer:
            made = super().answer(measured)
            return replace(made, sentence=made.sentence.rstrip("."))

    with pytest.raises(AssertionError, match="the sentence is no sentence: 'Tokens turn by "):
        is_shown(make_case(Unended(), novella))
