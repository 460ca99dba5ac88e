"""Studies measured in a geometry, and the headline in all of them."""

from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.geometry import GEOMETRIES, fit_geometry
from laminar_lens.kernels import sequential_angles
from laminar_lens.models import random_twin, sample_tokens
from laminar_lens.report import render
from laminar_lens.studies.geometries import chosen_geometries

PROMPTS = (
    "He gave her the book.",
    "They admired her courage.",
    "The company promoted her to manager.",
    "They praised her for it.",
    "In the morning he drove her to the house.",
)
FAST: dict[str, Any] = {"random_init": False, "n_draws": 2, "n_perm": 9, "warmup": False, "n_donors": 10}


@pytest.fixture(scope="module", params=[None, True])
def model(tiny_gpt2: Any, request: pytest.FixtureRequest) -> Any:
    return ll.load_model(tiny_gpt2, bridge=request.param)


def expected(model: Any, geometry: Any, tokens: torch.Tensor) -> np.ndarray:
    states = ll.capture_residuals(model, tokens).values
    mapped = torch.stack([geometry.apply(layer, states[layer]) for layer in range(4)])
    return np.asarray(sequential_angles(mapped))


@pytest.mark.parametrize("name", ["centred", "standardised", "layernormed", "without_dimensions"])
def test_a_warm_up_in_a_geometry(model: Any, name: str) -> None:
    tokens = sample_tokens(model, 30, 16, seed=1)
    geometry = fit_geometry(model, name, n_texts=8, length=16)
    result = ll.warmup_study(model, tokens, geometry=geometry)
    angle = result.dataset["angle"].transpose("layer", "text", "pair").values
    np.testing.assert_allclose(angle, expected(model, geometry, tokens), atol=2e-6)
    assert result.settings["geometry"] == name
    assert result.provenance["model"]["geometry"]["name"] == name
    assert any(f"measured in the geometry '{name}'" in note for note in result.warnings)
    assert f"geometry: {name}" in render(result)
    raw = ll.warmup_study(model, tokens, random_init=False)
    assert raw.settings["geometry"] == "raw"
    assert not raw.warnings
    assert np.abs(result.dataset["vector_bias"].values - raw.dataset["vector_bias"].values).max() > 0


@pytest.mark.parametrize("name", ["centred", "layernormed"])
def test_after_the_final_norm(model: Any, name: str) -> None:
    tokens = sample_tokens(model, 30, 16, seed=1)
    geometry = fit_geometry(model, name, final_norm=True)
    result = ll.warmup_study(model, tokens, geometry=name, final_norm=True, random_init=False)
    last = ll.capture_residuals(model, tokens, final_norm=True, layers=3).values[0]
    angle = sequential_angles(geometry.apply(3, last))
    np.testing.assert_allclose(result.dataset["angle"].sel(layer=3), angle, atol=2e-6)


def test_a_sequential_study_and_a_table_in_a_geometry(model: Any) -> None:
    geometry = fit_geometry(model, "centred", n_texts=8, length=16)
    result = ll.sequential_study(model, PROMPTS, geometry=geometry, **FAST)
    table = ll.angle_table(model, PROMPTS, geometry=geometry)
    for row, prompt in enumerate(PROMPTS):
        tokens = torch.tensor([model.tokenizer(prompt, add_special_tokens=False)["input_ids"]])
        angle = expected(model, geometry, tokens)[:, 0]
        i = int(result.dataset["target_pair"].values[row][0])
        np.testing.assert_allclose(result.dataset["target_angle"].values[:, row], angle[:, i], atol=2e-6)
        np.testing.assert_allclose(table["sequential"].values[:, row, : angle.shape[1]], angle, atol=2e-6)
    assert result.settings["geometry"] == "centred"
    assert table.attrs["provenance"].count("centred")


def test_a_warm_up_of_another_geometry_does_not_fit(model: Any) -> None:
    warm = ll.warmup_study(model, n_texts=30, length=16, random_init=False)
    with pytest.raises(
        InputError, match="warmup was measured in the geometry 'raw', this study in 'centred'"
    ):
        ll.sequential_study(model, PROMPTS, geometry="centred", **{**FAST, "warmup": warm})
    options: dict[str, Any] = {"geometry": "mean_over_d_model"}
    warm = ll.warmup_study(model, n_texts=30, length=16, random_init=False, **options)
    ll.sequential_study(model, PROMPTS, **options, **{**FAST, "warmup": warm})


@pytest.mark.parametrize("bos", [False, True])
def test_the_headline_in_every_geometry(model: Any, bos: bool, tmp_path: Path) -> None:
    tokens = sample_tokens(model, 40, 16, seed=1)
    result = ll.warmup_study(model, tokens, geometries=True, random_init=False, prepend_bos=bos)
    data = result.dataset
    assert data["geometry"].values.tolist() == list(GEOMETRIES)
    angle = data["angle"].values
    window = slice(data.attrs["reference_start"], data.attrs["reference_stop"])
    raw = (angle[..., 0] - angle[..., window].mean(-1)).mean(0)
    np.testing.assert_allclose(data["geometry_excess"].sel(geometry="raw"), raw, atol=1e-5)
    centred = fit_geometry(model, "centred", prepend_bos=bos)
    beside = ll.warmup_study(model, tokens, geometry=centred, random_init=False, prepend_bos=bos).dataset
    other = beside["angle"].values
    found = (other[..., 0] - other[..., window].mean(-1)).mean(0)
    np.testing.assert_allclose(data["geometry_excess"].sel(geometry="centred"), found, atol=1e-5)
    assert (data["geometry_excess_low"] < data["geometry_excess_high"]).all()
    assert "geometry_excess" in result.figures()
    rows = result.summary()["geometries"]
    assert [row["geometry"] for row in rows] == list(GEOMETRIES)
    layer = int(np.abs(raw[1:]).argmax()) + 1
    assert {row["layer"] for row in rows} == {layer}
    assert rows[1]["estimate"] == pytest.approx(found[layer], abs=1e-5)
    assert f"By geometry, in layer {layer}" in str(result.summary())
    page = render(result)
    assert "In other geometries" in page
    assert f"Layer {layer}, where it is largest in the geometry 'raw'. Intervals are 95%" in unescape(page)
    assert ll.load_result(result.save(tmp_path / "w.nc")).numbers_sha256 == result.numbers_sha256


def test_target_and_baseline_in_some_geometries(model: Any) -> None:
    result = ll.sequential_study(model, ll.her_prompts()[:25], geometries=["layernormed"], **FAST)
    data = result.dataset
    assert data["geometry"].values.tolist() == ["raw", "layernormed"]
    np.testing.assert_allclose(data["geometry_target"].sel(geometry="raw"), data["target_mean"], atol=1e-5)
    single = data["baseline_angle"].mean("prompt")
    np.testing.assert_allclose(data["geometry_baseline"].sel(geometry="raw"), single, atol=1e-5)
    assert {"geometry_target", "geometry_baseline"} <= set(result.figures())
    rows = result.summary()["geometries"]
    apart = np.abs(data["geometry_target"].values[0] - data["geometry_baseline"].values[0])
    assert {row["layer"] for row in rows} == {int(apart[1:].argmax()) + 1}
    assert "where the two are farthest apart in the geometry" in render(result)
    assert [row["what"] for row in rows] == ["target's angle"] * 2 + [
        "published baseline's angle, its single draw"
    ] * 2


def test_beside_prompts_they_are_fitted_on_passages(model: Any) -> None:
    prompts = ll.her_prompts()[:25]
    data = ll.sequential_study(model, prompts, geometries=["centred"], **FAST)
    assert data.settings["geometries_fitted_on"] == "passages"
    own = fit_geometry(model, "centred", texts="passages")
    alone = ll.sequential_study(model, prompts, geometry=own, **FAST).dataset
    found = data.dataset["geometry_target"].sel(geometry="centred")
    np.testing.assert_allclose(found, alone["target_mean"], atol=1e-5)
    sampled = ll.warmup_study(
        model, sample_tokens(model, 30, 16, seed=1), geometries="centred", random_init=False
    )
    assert sampled.settings["geometries_fitted_on"] == "sampled"


@pytest.mark.parametrize("name", ["centred", "standardised", "layernormed"])
def test_a_why_study_in_a_geometry(model: Any, name: str) -> None:
    """Its cells are the angles of mapped states; E11 beside it is that of a study in that geometry."""
    tokens = sample_tokens(model, 50, 16, seed=1)
    geometry = fit_geometry(model, name)
    how: dict[str, Any] = {"random_init": False, "at": [7, 9]}
    result = ll.why_study(model, tokens, geometry=geometry, **how)
    first = result.dataset["angle"].sel(place="first", cell="both").values.T
    np.testing.assert_allclose(first, expected(model, geometry, tokens)[:, :, 0], atol=2e-6)
    assert result.dataset.attrs["identity"] < 1e-4
    assert result.settings["geometry"] == name
    assert result.provenance["model"]["geometry"]["name"] == name
    assert any(f"measured in the geometry '{name}'" in note for note in result.warnings)
    beside = ll.why_study(model, tokens, geometries=[name], **how)
    mean = beside.dataset["geometry_E11"]
    assert mean["geometry"].values.tolist() == ["raw", name]
    for kind, whole in (("raw", beside), (name, result)):
        own = whole.dataset["effect_mean"].sel(effect="E11")
        np.testing.assert_allclose(mean.sel(geometry=kind), own, atol=1e-6)
    assert "geometry_E11" in beside.figures()
    assert {row["what"] for row in beside.summary()["geometries"]} == {
        "what being first does to a pair (E11)"
    }
    with pytest.raises(InputError, match="text 0 is one of the texts"):
        ll.why_study(model, geometry=fit_geometry(model, "centred", texts=tokens), texts=tokens)


def test_a_why_study_s_random_twin_has_its_own_geometry(model: Any) -> None:
    tokens = sample_tokens(model, 50, 16, seed=1)
    geometry, twin = fit_geometry(model, "centred"), random_twin(model, seed=0)
    beside = ll.why_study(model, tokens, geometry=geometry, at=7).dataset["random_effect"]
    how: dict[str, Any] = {"at": 7, "random_init": False}
    own = ll.why_study(twin, tokens, geometry=geometry.for_model(twin), **how).dataset["effect_mean"]
    other = ll.why_study(twin, tokens, geometry=geometry, **how).dataset["effect_mean"]
    for effect in ("E11", "E10", "T"):
        found = beside.sel(effect=effect)
        np.testing.assert_allclose(found, own.sel(effect=effect), atol=1e-6)
    assert np.abs(found - other.sel(effect="T")).max() > 1e-3


def test_groups_weigh_alike_in_every_geometry(model: Any) -> None:
    tokens = sample_tokens(model, 40, 16, seed=1)
    groups = np.where(np.arange(40) < 20, 0, np.arange(40))
    data = ll.why_study(model, tokens, groups=groups, geometries="centred", at=7, random_init=False).dataset
    raw, mean = data["geometry_E11"].sel(geometry="raw"), data["effect_mean"].sel(effect="E11")
    np.testing.assert_allclose(raw, mean, atol=1e-6)


def test_conditions_have_their_own(model: Any) -> None:
    tokens = sample_tokens(model, 30, 16, seed=1)
    result = ll.warmup_study(model, tokens, geometries="centred", random_init=False, interventions=ll.cut(1))
    plain, cut = (result.condition(name).dataset["geometry_excess"].values for name in result.conditions)
    assert np.abs(plain - cut)[:, 1:].max() > 1e-3


def test_names() -> None:
    assert chosen_geometries(None) == chosen_geometries(False) == ()
    assert chosen_geometries("centred") == ("raw", "centred")
    with pytest.raises(InputError, match="geometry 'center' is unknown"):
        chosen_geometries(["center"])
    with pytest.raises(InputError, match="geometries is empty"):
        chosen_geometries([])
