"""Tidy tables of pandas: one a quantity, with every number of the dataset under its labels."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from laminar_lens.errors import InputError
from laminar_lens.results import StudyResult, make_tree
from tests.synthetic import sequential_dataset, warmup_dataset


@pytest.fixture(scope="module")
def result() -> StudyResult:
    return StudyResult(sequential_dataset(n_layers=4, n_prompts=7))


def test_a_quantity_has_its_interval_beside_it_and_its_axes_as_columns(result):
    frame = result.to_dataframe("target_mean")
    assert list(frame) == ["layer", "target_mean", "target_low", "target_high"]
    np.testing.assert_array_equal(frame["layer"], result.dataset["layer"])
    np.testing.assert_array_equal(frame["target_low"], result.dataset["target_low"])
    assert frame.attrs["target_mean"] == "rad"
    assert result.to_dataframe("target_low").equals(frame)


def test_each_number_stands_in_a_row_of_its_labels(result):
    frame, data = result.to_dataframe("position_angle"), result.dataset
    finite = np.isfinite(data["position_angle"].values)
    assert len(frame) == finite.sum() < finite.size, "what does not exist has no row"
    for row in frame.sample(20, random_state=0).itertuples():
        place = {"layer": row.layer, "prompt": row.prompt, "pair": row.pair}
        assert row.position_angle == data["position_angle"].sel(place)
        assert row.text == data["text"].values[row.prompt]


def test_without_a_name_every_quantity_once_and_the_claims(result):
    frames = result.to_dataframe()
    named = {column for frame in frames.values() for column in frame}
    assert {str(name) for name in result.dataset.data_vars if not str(name).startswith("claim_")} <= named
    assert list(frames["claims"]["claim"]) == [f"C{k}" for k in range(1, 8)]
    assert all(isinstance(frame, pd.DataFrame) for frame in frames.values())
    assert max(map(len, frames.values())) <= max(
        variable.size for variable in result.dataset.variables.values()
    )
    assert "target_low" not in frames


def test_conditions_stand_one_below_the_other():
    plain, cut = warmup_dataset(n_texts=6), warmup_dataset(n_texts=6, seed=1)
    result = StudyResult(make_tree({"plain": plain, "cut": cut}, described={"cut": [{"label": "cut(5)"}]}))
    frame = result.to_dataframe("delta")
    assert list(frame["condition"].unique()) == ["plain", "cut"]
    assert next(iter(frame)) == "condition"
    there = frame.query("condition == 'cut' and layer == 3 and pair == 2")["delta"].item()
    assert there == cut["delta"].sel(layer=3, pair=2)


def test_what_was_measured_is_there_by_name():
    measured = xr.Dataset({"raw": (("text", "pos"), np.arange(6.0).reshape(2, 3))})
    result = StudyResult(make_tree({"plain": warmup_dataset(n_texts=6)}, {"plain": measured}))
    assert result.to_dataframe("raw")["raw"].tolist() == list(range(6))
    assert "raw" not in result.to_dataframe()


def test_an_unknown_quantity_names_those_there_are(result):
    with pytest.raises(InputError, match=r"no quantity 'pie'.*target_angle"):
        result.to_dataframe("pie")
