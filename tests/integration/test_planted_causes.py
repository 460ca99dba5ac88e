"""A cause planted in a model's weights is told from the others through the whole library."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import laminar_lens as ll
from tests import planted, planted_causes
from tests.validate import causes as validation


def test_our_forward_is_the_library_s_in_every_cell(tmp_path: Path) -> None:
    """Two implementations, float64 and float32, of the same weights: the truth is a truth."""
    truth = planted_causes.plant(planted_causes.Plan("either", 0.25, seed=4))
    model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
    tokens = planted_causes.random_texts(24, seed=4)
    result = ll.why_study(model, torch.from_numpy(tokens), random_init=False)
    data = result.dataset
    own, reference = planted_causes.true_cells(truth.edited, tokens, data["donor"].values, data["at"].values)
    np.testing.assert_allclose(data["angle"].sel(place="first"), own, atol=2e-5)
    np.testing.assert_allclose(data["reference_angle"], reference, atol=2e-5)


@pytest.mark.parametrize("cause", planted_causes.CAUSES)
def test_what_the_edit_does_and_what_it_leaves_alone(cause: str) -> None:
    """In the float64 truth: as planned in the two layers between the writes, nothing elsewhere."""
    for sign, size in validation.KINDS:
        plan = planted_causes.Plan(cause, sign * size, seed=7)
        edited, _ = validation._true_effects(planted_causes.plant(plan).edited, plan)
        base = validation._base_effects(plan.seed, plan.sign, cause == "token")
        truth = {name: edited[name] - base[name] for name in edited}
        assert validation.as_planned(cause, sign, size, truth), (cause, sign, size)
        rest = {name: np.abs(x).max() for name, x in base.items() if name.startswith("E")}
        assert max(rest.values()) < 0.02, "the base itself has no cause"


def test_the_study_says_the_cause_in_its_sentence_and_its_claim(tmp_path: Path) -> None:
    truth = planted_causes.plant(planted_causes.Plan("jointly", 0.25, seed=2))
    model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
    tokens = planted_causes.random_texts(240, seed=2)
    result = ll.why_study(model, torch.from_numpy(tokens), random_init=False)
    said = (
        r"Jointly: being first makes a pair 0\.25\d? rad wider in layers 2–3 "
        r"\(95% CI \S+, 240 texts, each behind the first t = 10–14 tokens of another\), "
        r"and on average over these layers, neither is enough for it"
    )
    assert re.match(said, result.sentence)
    row = result.summary()["claims"][0]
    assert (row["verdict"], row["unit"]) == ("jointly", "rad")
    assert row["low"] <= row["estimate"] <= row["high"]
    assert row["estimate"] == pytest.approx(0.25, abs=0.01)
    by_layer = [line["verdict"] for line in result.by_layer]
    assert by_layer == ["none", "none", "jointly", "jointly", "none"]


def test_a_token_shows_in_t_and_is_no_cause(tmp_path: Path) -> None:
    truth = planted_causes.plant(planted_causes.Plan("token", 0.25, seed=2))
    model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
    tokens = planted_causes.random_texts(240, seed=2, sink=True)
    result = ll.why_study(model, torch.from_numpy(tokens), random_init=False)
    assert result.verdict == "none"
    assert "The first tokens themselves stand apart wherever they are, in layers 2–3" in result.sentence


def test_four_models_with_every_cause_and_none() -> None:
    failed = [
        f"{row.check} ({row.setting}): {row.required}, {row.measured}"
        for row in validation.run(4)
        if not row.ok
    ]
    assert not failed
