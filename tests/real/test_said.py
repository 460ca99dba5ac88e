"""Every study's sentence against its claims, on a few texts of a real model with a sink."""

from typing import Any

import pytest

import laminar_lens as ll
from laminar_lens.results import StudyResult
from tests.said import check_said

FEW: dict[str, Any] = {"n_texts": 44, "length": 24}
LAYERS = [4, 11, 12, 29, 30]


@pytest.fixture(scope="module")
def sinks(smollm2: Any) -> StudyResult:
    return ll.sink_study(smollm2, random_init=False, **FEW)


def test_what_is_left_of_a_sink_that_mostly_goes(sinks: StudyResult) -> None:
    """How much goes, by whom, and whether what is left is a sink: each with its own verdict."""
    check_said(sinks)
    found = {row["claim"]: row for row in sinks.summary()["claims"]}
    gone, taken, left = (found[f"S5{part}"] for part in "abc")
    assert gone["verdict"] == "holds"
    assert 0.9 < gone["low"] < gone["estimate"] < gone["high"] < 1
    assert taken["verdict"] == "holds"
    assert 0.5 < taken["low"] < taken["estimate"] < taken["high"]
    assert "by MLPs of blocks 28–29" in taken["evidence"]
    assert 4 < left["estimate"] < 8


@pytest.mark.parametrize("name", ["warmup", "why", "dimension", "decomposition"])
def test_the_others(smollm2: Any, name: str) -> None:
    compares = name in ("warmup", "why")
    more: dict[str, Any] = {"random_init": False} if compares else {"length": 12}
    check_said(getattr(ll, f"{name}_study")(smollm2, layers=LAYERS, **{**FEW, **more}))


def test_the_prompts(smollm2: Any) -> None:
    prompts = ll.her_prompts()
    how: dict[str, Any] = {"n_draws": 5, "n_perm": 199, "n_donors": 10, "warmup": False, "random_init": False}
    check_said(ll.sequential_study(smollm2, prompts[:40], layers=LAYERS, **how))
