"""Sinks of chosen layers, after the final norm and in other geometries: against Hugging Face alone."""

from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import laminar_lens as ll
from laminar_lens.geometry import GEOMETRIES, fit_geometry
from laminar_lens.report import render
from laminar_lens.results import StudyResult, claim_rows
from tests.unit.studies.test_sinks import SIZE, plant_write, study, tokens_of, verdicts

BODY = 5


@pytest.fixture(params=["tiny_gpt2", "tiny_llama", "tiny_neox"])
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def planted(folder: Path) -> Any:
    model = ll.load_model(folder)
    plant_write(model, 0, "mlp", SIZE)
    plant_write(model, 2, "mlp", -SIZE)
    return model


def evidence(result: StudyResult) -> dict[str, str]:
    return {row["claim"]: row["evidence"] for row in claim_rows(result.dataset)}


def by_hugging_face(folder: Path, tokens: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states [layer text pos d_model], the last after the final norm, and attention [block text head
    query key], in float64."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    with torch.no_grad():
        found = model.eval()(tokens, output_hidden_states=True, output_attentions=True)
    return torch.stack(found.hidden_states).numpy(), torch.stack(found.attentions).numpy()


@pytest.mark.parametrize("bridge", [None, True])
def test_chosen_layers_after_the_final_norm_in_a_geometry(folder: Path, bridge: bool | None) -> None:
    tokens, others, layers = tokens_of(40), tokens_of(30, seed=9), [0, 2, 3]
    model = ll.load_model(folder, bridge=bridge)
    geometry = fit_geometry(model, "standardised", texts=others, skip=BODY, final_norm=True)
    result = study(model, tokens, layers=layers, final_norm=True, geometry=geometry)
    data = result.dataset
    body = by_hugging_face(folder, others)[0][:, :, BODY:].reshape(4, -1, 32)
    states, attention = by_hugging_face(folder, tokens)
    x = (states - body.mean(1)[:, None, None]) / body.std(1, ddof=1)[:, None, None]
    norm = np.linalg.norm(x[layers], axis=-1)
    ratio = norm / np.median(norm, axis=-1, keepdims=True)
    assert data["layer"].values.tolist() == layers
    np.testing.assert_allclose(data["ratio"].transpose("layer", "text", "pos"), ratio, rtol=2e-4)
    np.testing.assert_allclose(data["norm"], norm.mean(1), rtol=2e-4)
    np.testing.assert_allclose(data["norm_ratio"], np.exp(np.log(ratio).mean(1)), rtol=2e-4)
    size = np.abs(x[layers])
    assert (data["largest_dimension_share"].values > 0).all()
    found = data["massive"].sel(variant="scale_free").values
    massive = size.max(-1) > 5 * np.median(norm, axis=-1)[..., None]
    np.testing.assert_allclose(found, massive.mean(1), atol=0.03)
    assert data["block"].values.tolist() == [1, 2]
    alpha = attention.sum(3) / np.arange(24, 0, -1)
    np.testing.assert_allclose(data["attention"], alpha.mean(1)[[1, 2]], atol=1e-5)
    assert (result.settings["layers"], result.settings["final_norm"]) == (layers, True)
    assert result.settings["geometry"] == "standardised"


def test_chosen_layers_are_parts_of_the_whole(folder: Path) -> None:
    model = planted(folder)
    whole, part = study(model).dataset, study(model, layers=[1, 3])
    data = part.dataset
    chosen = whole.sel(layer=[1, 3], block=[0, 2])
    for name in ("ratio", "norm_ratio", "massive", "massive_dimension", "largest", "largest_dimension"):
        np.testing.assert_array_equal(data[name], chosen[name])
    for name in ("attention", "attention_first", "resting_heads", "write", "write_first", "identity_error"):
        np.testing.assert_array_equal(data[name], chosen[name])
    assert part.sentence.startswith("Of layers 1 and 3, position 0 is a sink in layer 1: ")
    assert "written" not in part.sentence
    assert " of blocks 0 and 2 " in part.sentence
    assert " heads of blocks 0 and 2 are shown " in evidence(part)["S2"]
    assert part.settings["layers"] == [1, 3]
    rows = part.table("position_0").rows()
    assert [(row["layer"], row["block"]) for row in rows] == [(1, 0), (3, 2)]
    assert render(part)


@pytest.mark.parametrize(
    ("layers", "final_norm", "answered", "reason"),
    [
        (None, False, ("holds", "holds"), ""),
        ([0, 1], False, ("holds", "not applicable"), "Not every layer after layer 1, where it is"),
        ([1, 2, 3], False, ("not applicable", "holds"), "Not every layer up to layer 1, where it is"),
        ([0, 1, 3], False, ("holds", "not applicable"), "Not every layer after layer 1, where it is"),
        (None, True, ("holds", "not applicable"), "The last hidden state is taken after the final norm"),
    ],
)  # fmt: skip
def test_who_writes_and_who_erases_needs_every_layer_between(
    folder: Path, layers: Any, final_norm: bool, answered: tuple[str, str], reason: str
) -> None:
    result = study(planted(folder), layers=layers, final_norm=final_norm)
    found = verdicts(result)
    assert (found["S1"], found["S4"], found["S5b"]) == ("holds", *answered)
    said = evidence(result)
    assert reason in said["S4"] + said["S5b"]
    assert ("by MLPs of block 0)" in result.sentence) == (answered[0] == "holds")
    assert ("by MLPs of block 2)" in result.sentence) == (answered[1] == "holds")
    assert np.isfinite(result.dataset["write"].values).all()


def test_the_embedding_alone_has_no_block(tiny_gpt2: Path) -> None:
    result = study(ll.load_model(tiny_gpt2), layers=0, geometries=True)
    assert verdicts(result)["S2"] == "undetermined"
    assert evidence(result)["S2"] == "No block was measured."
    assert result.sentence.startswith("Of layer 0, ")
    assert result.sentence.endswith(" No block was measured.")
    assert not {"attention", "write"} & set(result.dataset.data_vars)
    assert "No block" in render(result)


@pytest.mark.parametrize("bos", [False, True])
def test_the_headline_in_every_geometry(tiny_gpt2: Path, bos: bool, tmp_path: Path) -> None:
    model = planted(tiny_gpt2)
    changed = {"shorter": ll.scale_norm(0.5, layers=1)}
    result = study(model, geometries=True, prepend_bos=bos, interventions=changed)
    for name in GEOMETRIES:
        geometry = fit_geometry(model, name, prepend_bos=bos)
        alone = study(model, geometry=geometry, prepend_bos=bos, interventions=changed)
        for condition in result.conditions:
            data = result.condition(condition).dataset
            other = alone.condition(condition).dataset["norm_ratio"].values[:, 0]
            np.testing.assert_allclose(data["geometry_length"].sel(geometry=name), other, rtol=1e-5)
    data = result.dataset
    assert (data["geometry_length_low"] < data["geometry_length_high"]).all()
    assert result.settings["geometries"] == list(GEOMETRIES)
    plain = study(model, prepend_bos=bos, interventions=changed)
    assert result.sentence == plain.sentence
    for name, one in plain.dataset.variables.items():
        np.testing.assert_array_equal(one.values, data[name].values)
    rows = result.summary()["geometries"]
    assert [(row["geometry"], row["unit"]) for row in rows] == [(name, "times") for name in GEOMETRIES]
    assert "geometry_length" in result.figures()
    page = unescape(render(result))
    assert "In other geometries" in page
    assert "length of position 0" in page
    assert ll.load_result(result.save(tmp_path / "s.nc")).answer().numbers_sha256 == result.numbers_sha256
