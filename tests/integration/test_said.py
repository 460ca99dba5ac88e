"""Every study's sentence against its claims, on the embedded model and on models with planted truths."""

from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens as ll
from laminar_lens.prompts import her_prompts
from laminar_lens.results import StudyResult
from tests import planted, planted_causes
from tests.said import check_said
from tests.unit.studies.test_sinks import SIZE, plant_write, tokens_of
from tests.unit.studies.test_sinks import study as sinks

QUICK: dict[str, Any] = {"random_init": False}


@pytest.mark.parametrize("n_texts", [12, 60, 200])
def test_novella(novella: Any, n_texts: int) -> None:
    few = {**QUICK, "n_texts": n_texts, "length": 20}
    check_said(ll.warmup_study(novella, **few))
    check_said(ll.why_study(novella, **few))
    check_said(ll.sink_study(novella, **few))
    check_said(ll.dimension_study(novella, n_texts=n_texts, length=20))
    check_said(ll.decomposition_study(novella, n_texts=n_texts, length=20))
    check_said(ll.path_study(novella, n_texts=n_texts, length=20, n_perm=99))
    if n_texts <= 60:
        check_said(ll.speech_study(novella, n_texts=n_texts, n_perm=99))


@pytest.mark.parametrize("n_prompts", [8, 24, 54])
def test_prompts_on_novella(novella: Any, n_prompts: int) -> None:
    how: dict[str, Any] = {"n_draws": 20, "n_perm": 199, **QUICK}
    prompts = her_prompts()[:n_prompts]
    for bos in (False, True):
        check_said(ll.trajectory_study(novella, prompts, prepend_bos=bos, keep_first=bos))
        check_said(ll.rotation_study(novella, prompts, prepend_bos=bos, n_perm=199, **QUICK))
        warm = ll.warmup_study(novella, n_texts=60, length=20, prepend_bos=bos, **QUICK)
        found = ll.sequential_study(novella, prompts, warmup=warm, prepend_bos=bos, **how)
        check_said(found)
        assert "The warm-up's texts are sampled: novella writes its own." in found.warnings


@pytest.mark.parametrize(("strength", "k"), [(0.0, 0), (1.0, 1), (-0.1, 4)])
@pytest.mark.parametrize("n", [30, 300])
def test_a_planted_warm_up(strength: float, k: int, n: int, tmp_path: Path) -> None:
    truth = planted.plant(planted.Plan(strength, k, seed=k))
    model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
    check_said(ll.warmup_study(model, torch.from_numpy(planted.random_texts(n, seed=k)), **QUICK))


@pytest.mark.parametrize("cause", planted_causes.CAUSES)
def test_a_planted_cause(cause: str, tmp_path: Path) -> None:
    truth = planted_causes.plant(planted_causes.Plan(cause, 0.25, seed=2))
    model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
    for n in (60, 200):
        tokens = torch.from_numpy(planted_causes.random_texts(n, seed=2))
        check_said(ll.why_study(model, tokens, **QUICK))


SIZES = {"all": 1.0, "most": 0.97, "half": 0.5, "some": 0.2, "nothing": 0.0}


@pytest.mark.parametrize("erased", SIZES)
@pytest.mark.parametrize("component", ["attn", "mlp"])
def test_a_planted_sink(tiny_gpt2: Path, component: str, erased: str) -> None:
    """Written, and taken away in part: what is left of 97% may be a sink still."""
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, component, SIZE)
    plant_write(model, 2, component, -SIZES[erased] * SIZE)
    for n in (12, 100):
        result = sinks(model, tokens_of(n))
        check_said(result)
    rows = {row["claim"]: row for row in result.summary()["claims"]}
    ratio = result.dataset["ratio"].transpose("layer", "text", "pos").values[..., 0]
    gone = 1 - (ratio[-1] / ratio[1]).mean()
    assert rows["S5a"]["estimate"] == pytest.approx(gone, abs=1e-6)
    assert rows["S5a"]["low"] <= gone <= rows["S5a"]["high"]
    assert rows["S5c"]["verdict"] == ("holds" if erased == "all" else "fails")
    if erased != "nothing":
        assert rows["S5b"]["verdict"] == ("holds" if component == "mlp" else "fails")


def test_a_sentence_that_says_another_thing_is_refused(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, "mlp", SIZE)
    result = sinks(model)
    check_said(result)
    for claim, column, value in (
        ("S5a", "verdict", "undetermined"),
        ("S4", "verdict", "fails"),
        ("S1", "verdict", "undetermined"),
        ("S1", "estimate", 3.0),
        ("S1", "text", "the vector at position 0 is longer"),
    ):
        wrong = StudyResult(result.dataset.copy(deep=True))
        row = wrong.dataset["claim"].values.tolist().index(claim)
        column_of = wrong.dataset[f"claim_{column}"]
        changed = column_of.values.astype(float if column == "estimate" else object)
        changed[row] = value
        wrong.dataset[f"claim_{column}"] = ("claim", changed)
        with pytest.raises(AssertionError):
            check_said(wrong)
