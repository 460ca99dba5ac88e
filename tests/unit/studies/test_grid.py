"""The sensitivity grid: one row a combination, equal to what the studies say one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar_lens.errors import InputError
from laminar_lens.geometry import fit_geometry
from laminar_lens.models import load_model
from laminar_lens.studies.warmup import grid
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


@pytest.mark.parametrize("final_norm", [False, True])
def test_a_row_is_the_study_s_answer(model: Any, frame: Any, final_norm: bool) -> None:
    study = warmup_study(model, n_texts=40, length=16, tau=0.5, final_norm=final_norm, random_init=False)
    row = frame.query(f"prepend_bos == False and final_norm == {final_norm} and tau == 0.5").iloc[0]
    assert row["reference"] == "last third"
    assert row["verdict"] == study.verdict
    for name in ("k_lo", "k_hi", "skip"):
        assert (None if row[name] is np.ma.masked or row.isna()[name] else int(row[name])) == getattr(
            study, name
        )
    delta = study.dataset["delta"].values[:, 0]
    assert abs(row["first_pair"] - delta[np.argmax(np.abs(delta))]) < 1e-5


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


def test_without_prompts_and_without_a_bos(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any, tokens: Any, how: Any, *args: Any, **kwargs: Any) -> Any:
        if how.prepend_bos:
            raise InputError("the model's tokenizer has no BOS token")
        return whole(model, tokens, how, *args, **kwargs)

    whole = grid.adjacent_angles
    monkeypatch.setattr(grid, "adjacent_angles", refuse)
    frame = sensitivity_grid(
        model, n_texts=30, length=12, final_norm=(False,), tau=(0.05,), reference=("last half",)
    )
    assert frame["note"].tolist() == ["", "the model's tokenizer has no BOS token"]
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
    row = frame.query("prepend_bos == False and final_norm == True").iloc[0]
    delta = study.dataset["delta"].values[:, 0]
    assert abs(row["first_pair"] - delta[np.argmax(np.abs(delta))]) < 1e-5
    assert set(frame["note"]) == {""}
    made = fit_geometry(model, "layernormed")
    notes = sensitivity_grid(model, tau=(0.5,), reference=("last third",), **{**how, "geometry": made})[
        "note"
    ]
    assert ["was fitted with final_norm=False" in note for note in notes] == [False, True, False, True]
