"""Every study, the package's and one that is not, keeps every clause of the contract."""

from collections.abc import Callable
from typing import Any

import pytest

import laminar_lens as ll
from laminar_lens.studies.registry import STUDIES
from laminar_lens.testing import CONTRACT, Case, make_case
from tests.contract.turning import Turning

SMALL: dict[str, dict[str, Any]] = {
    "sequential": {"n_draws": 5, "n_perm": 99, "n_donors": 24, "warmup": False},
    "why": {},
}
"""Fields of a quick run, for studies that have more to measure."""


@pytest.fixture(scope="module", params=[*STUDIES.shipped, Turning.kind])
def case(request: pytest.FixtureRequest, novella: Any) -> Case:
    kind = request.param
    study = STUDIES.get(kind)(**SMALL.get(kind, {}))
    prompts = list(ll.her_prompts()[:12]) if kind == "sequential" else None
    return make_case(study, novella, prompts)


@pytest.mark.parametrize("clause", CONTRACT.values(), ids=CONTRACT)
def test_contract(case: Case, clause: Callable[[Case], None]) -> None:
    clause(case)
