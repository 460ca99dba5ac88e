"""The sensitivity grid: one row a combination, equal to what the studies say one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar_lens.errors import InputError
from laminar_lens.geometry import fit_geometry
from laminar_lens.models import load_model
from laminar_lens.studies.warmup.grid import sensitivity_grid
from laminar_lens.studies.warmup.study import warmup_study

PROMPTS = [f"He {verb} her in the house." for verb in ("saw", "met", "heard", "asked")]


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return load_model(tiny_gpt2)


@pytest.fixture(scope="module")
def frame(model: Any) -> Any:
    return sensitivity_grid(
        model, PROMPTS, n_texts=40, length=16, tau=(0.05, 0.5), reference=("last third", "last half")
    )


def test_one_row_a_combination(frame: Any) -> None:
    keys = ["prepend_bos", "final_norm", "tau", "reference"]
    assert len(frame) == 16 == len(frame[keys].drop_duplicates())
    assert set(frame["verdict"]) <= {"exact", "bracketed", "undetermined", "drift"}
    assert set(frame["note"]) == {""}
    assert str(frame["k_hi"].dtype) == "Int64"
    for name in ("target_angle", "rotation", "target_minus_baseline"):
        assert np.isfinite(frame[name]).all()
        assert frame.groupby(["prepend_bos", "final_norm"])[name].nunique().max() == 1


def same(row: Any, study: Any) -> None:
    """A cell, and a result's answer, to the last bit."""
    assert row["verdict"] == study.verdict
    assert row["sign"] == study.dataset.attrs["sign"]
    for name in ("k_lo", "k_hi", "skip", "n_needed"):
        assert (None if row.isna()[name] else int(row[name])) == getattr(study, name)
    delta = study.dataset["delta"].values[:, 0]
    assert row["first_pair"] == delta[np.argmax(np.abs(delta))]
    assert row["layer"] == study.dataset["layer"].values[np.argmax(np.abs(delta))]


@pytest.mark.parametrize("final_norm", [False, True])
@pytest.mark.parametrize("reference", ["last third", "last half"])
def test_a_cell_is_the_result_s_answer(model: Any, frame: Any, final_norm: bool, reference: str) -> None:
    """Measured under one tolerance, answered under those of the grid."""
    how: dict[str, Any] = {"final_norm": final_norm, "reference": reference, "random_init": False}
    study = warmup_study(model, n_texts=40, length=16, tau=0.1, **how)
    for tau in (0.05, 0.5):
        query = f"prepend_bos == False and final_norm == {final_norm} and tau == {tau}"
        row = frame.query(f"{query} and reference == '{reference}'").iloc[0]
        same(row, study.answer(tau=tau))


def test_a_window_that_the_texts_do_not_have_is_a_note(model: Any) -> None:
    frame = sensitivity_grid(
        model,
        n_texts=30,
        length=12,
        bos=(False,),
        final_norm=(False, True),
        layers=(1, 2),
        tau=(0.05,),
        reference=((4, 9), (9, 20)),
    )
    assert frame["reference"].tolist() == ["4-8", "9-19"] * 2
    assert frame["verdict"].isna().tolist() == [False, True] * 2
    assert frame["note"].str.startswith("reference pairs 9…19 of 11").tolist() == [False, True] * 2
    assert set(frame["layer"].dropna()) <= {1, 2}


def test_without_prompts_and_without_a_bos(tiny_gpt2: Path) -> None:
    bare = load_model(tiny_gpt2)
    bare.tokenizer.bos_token = None
    frame = sensitivity_grid(
        bare, n_texts=30, length=12, final_norm=(False,), tau=(0.05,), reference=("last half",)
    )
    assert frame["note"][0] == ""
    assert "no BOS" in frame["note"][1]
    assert frame["verdict"].isna().tolist() == [False, True]
    assert "target_angle" not in frame


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"geometry": "center"}, "geometry 'center' is unknown"),
        ({"geometry": 3}, "geometry 3 is unknown"),
        ({"tau": 0.05}, "give the choices to try as a list"),
        ({"bos": ()}, "give the choices to try as a list"),
        ({"tau": (0.05, -1)}, "tau holds -1"),
        ({"prompts": ["He left."], "n_texts": 4, "length": 8}, "in none of the 1 prompts"),
        ({"prompts": PROMPTS, "baseline": "matched", "n_texts": 4, "length": 8}, "has no donors"),
        ({"reference": ("all",), "n_texts": 4, "length": 8}, "'all' is unknown"),
    ],
)
def test_refusals(model: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sensitivity_grid(model, **given)


def test_a_grid_in_a_geometry(model: Any) -> None:
    how: dict[str, Any] = {"n_texts": 40, "length": 16, "geometry": "layernormed"}
    frame = sensitivity_grid(model, PROMPTS, tau=(0.5,), reference=("last third",), **how)
    study = warmup_study(model, tau=0.5, final_norm=True, random_init=False, **how)
    same(frame.query("prepend_bos == False and final_norm == True").iloc[0], study)
    assert set(frame["note"]) == {""}
    made = fit_geometry(model, "layernormed")
    notes = sensitivity_grid(model, tau=(0.5,), reference=("last third",), **{**how, "geometry": made})[
        "note"
    ]
    assert ["was fitted with final_norm=False" in note for note in notes] == [False, True, False, True]
