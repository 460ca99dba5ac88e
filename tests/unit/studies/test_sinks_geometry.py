"""Sinks by the lengths of a geometry, and behind a prefix: against the same numbers computed by hand."""

from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import CaptureError, InputError
from laminar_lens.geometry import Geometry, fit_geometry
from laminar_lens.models import random_twin
from laminar_lens.report import render
from laminar_lens.results import StudyResult, claim_rows
from tests.unit.studies.test_sinks import DIMENSION, LENGTH, SIZE, plant_write, tokens_of, verdicts

pytestmark = pytest.mark.filterwarnings("ignore:Hooks that were left on the model")  # planted on purpose
ATTENTION = ("attention", "attention_first", "resting_heads", "resting_first")


@pytest.fixture(params=["tiny_gpt2", "tiny_llama", "tiny_neox"])
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def study(model: Any, tokens: torch.Tensor | None = None, **options: Any) -> StudyResult:
    tokens = tokens_of(50) if tokens is None else tokens
    return ll.sink_study(model, tokens, **{"random_init": False, **options})


def planted(model: Any) -> Any:
    plant_write(model, 0, "mlp", SIZE)
    plant_write(model, 2, "mlp", -SIZE)
    return model


def mapped(model: Any, geometry: Geometry, tokens: torch.Tensor) -> np.ndarray:
    """States [layer text pos d_model] in a geometry."""
    states = ll.capture_residuals(model, tokens).values
    parts = [geometry.apply(layer, state).double() for layer, state in enumerate(states)]
    return torch.stack(parts).numpy()


def lengths(x: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(x, axis=-1)
    return np.asarray(norm / np.median(norm, axis=-1, keepdims=True))


def agrees(data: Any, x: np.ndarray, rtol: float = 1e-4) -> None:
    ratio, size = lengths(x), np.abs(x)
    np.testing.assert_allclose(data["ratio"].transpose("layer", "text", "pos").values, ratio, rtol=rtol)
    np.testing.assert_allclose(data["norm"].values, np.linalg.norm(x, axis=-1).mean(1), rtol=rtol)
    middle = torch.from_numpy(size).flatten(2).median(-1).values.numpy()[..., None]
    largest = np.exp(np.log(size.max(-1) / middle).mean(1))
    np.testing.assert_allclose(data["largest"].values, largest, rtol=10 * rtol)
    norms = 5 * np.median(np.linalg.norm(x, axis=-1), axis=-1)[..., None]
    found = data["massive"].sel(variant="scale_free").values
    np.testing.assert_allclose(found, (size.max(-1) > norms).mean(1), atol=1e-6)


def test_raw_is_what_a_study_measures_without_a_word(tiny_gpt2: Any) -> None:
    model = planted(ll.load_model(tiny_gpt2))
    plain = study(model)
    for geometry in ("raw", fit_geometry(model, "raw")):
        named = study(model, geometry=geometry)
        assert named.numbers_sha256 == plain.numbers_sha256
        assert named.sentence == plain.sentence
        assert named.settings == plain.settings
    assert [warning for warning in plain.warnings if "(plant_write.add)" not in warning] == []
    assert plain.provenance["model"]["geometry"] == {"name": "raw"}
    agrees(plain.dataset, mapped(model, fit_geometry(model, "raw"), tokens_of(50)))


@pytest.mark.parametrize("bridge", [None, True])
def test_without_its_dimension_there_is_no_sink(folder: Any, bridge: bool | None) -> None:
    model = planted(ll.load_model(folder, bridge=bridge))
    raw = study(model)
    geometry = fit_geometry(model, "without_dimensions", dimensions=[DIMENSION])
    result = study(model, geometry=geometry, random_init=True)
    assert verdicts(raw)["S1"] == verdicts(raw)["S4"] == verdicts(raw)["S5b"] == "holds"
    assert verdicts(result)["S1"] == verdicts(result)["S3"] == "fails"
    assert verdicts(result)["S4"] == verdicts(result)["S5b"] == "not applicable"
    assert result.sentence.startswith(
        "In the geometry 'without_dimensions', no sink at position 0 by length: "
    )
    agrees(result.dataset, mapped(model, geometry, tokens_of(50)))
    twin = random_twin(model)
    beside = lengths(mapped(twin, geometry.for_model(twin), tokens_of(50)))
    np.testing.assert_allclose(
        result.dataset["random_norm_ratio"].values, np.exp(np.log(beside).mean(1)), rtol=1e-4
    )


def test_a_sink_in_another_dimension_stays_and_who_writes_it_is_not_answered(tiny_gpt2: Any) -> None:
    model = planted(ll.load_model(tiny_gpt2))
    raw = study(model)
    result = study(model, geometry=fit_geometry(model, "without_dimensions", dimensions=[DIMENSION + 1]))
    assert verdicts(result) == {**verdicts(raw), "S4": "not applicable", "S5b": "not applicable"}
    said = {row["claim"]: row["evidence"] for row in claim_rows(result.dataset)}
    assert said["S4"] == said["S5b"] == "What blocks write adds up in the geometry 'raw' only."
    assert result.sentence.startswith(
        "In the geometry 'without_dimensions', position 0 is a sink in layers 1–2: "
    )
    assert "written" not in result.sentence
    assert not {"write", "write_first", "write_share", "identity_error"} & set(result.dataset.data_vars)
    for name in ATTENTION:
        np.testing.assert_array_equal(result.dataset[name], raw.dataset[name])
    assert [said for said in result.warnings if "(plant_write.add)" not in said] == [
        "Lengths and activations are measured in the geometry 'without_dimensions', not of residual vectors "
        "as they are; published thresholds were set for those.",
        "Who writes and who erases a sink (S4, S5b) refers to the geometry 'raw', where writes add up: not "
        "answered.",
    ]
    assert result.settings["geometry"] == "without_dimensions"
    assert result.provenance["model"]["geometry"]["dimensions"] == [DIMENSION + 1]
    assert "geometry: without_dimensions" in render(result)
    assert {"sink_lengths", "sink_attention", "sink_activations"} <= set(result.figures())


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("name", ["centred", "standardised", "mean_over_d_model", "layernormed"])
def test_lengths_are_those_of_the_geometry(tiny_gpt2: Any, name: str, bos: bool) -> None:
    model = ll.load_model(tiny_gpt2, bridge=True)
    geometry = fit_geometry(model, name, n_texts=8, length=16, prepend_bos=bos)
    data = study(model, geometry=geometry, prepend_bos=bos).dataset
    tokens = tokens_of(50)
    if bos:
        tokens = torch.cat([torch.zeros(50, 1, dtype=torch.long), tokens], 1)
    agrees(data, mapped(model, geometry, tokens))


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("name", ["layernormed", "centred"])
def test_half_precision_is_mapped_as_the_model_holds_it(
    tiny_gpt2: Any, bridge: bool | None, name: str
) -> None:
    model = ll.load_model(tiny_gpt2, bridge=bridge, dtype="bfloat16")
    geometry = fit_geometry(model, name, n_texts=8, length=16)
    agrees(study(model, geometry=geometry).dataset, mapped(model, geometry, tokens_of(50)))


def test_conditions_share_the_geometry_of_the_plain_run(tiny_gpt2: Any) -> None:
    model = planted(ll.load_model(tiny_gpt2))
    geometry = fit_geometry(model, "centred", n_texts=8, length=16)
    result = study(model, geometry=geometry, interventions={"shorter": ll.scale_norm(0.5, layers=1)})
    tokens = tokens_of(50)
    states = ll.capture_residuals(model, tokens, interventions=ll.scale_norm(0.5, layers=1)).values
    x = torch.stack([geometry.apply(layer, state).double() for layer, state in enumerate(states)]).numpy()
    agrees(result.condition("shorter").dataset, x)
    agrees(result.condition("plain").dataset, mapped(model, geometry, tokens))


def test_what_does_not_fit_is_refused(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    with pytest.raises(InputError, match=r"^geometry 'center' is unknown; choose from raw, centred, "):
        study(model, geometry="center")
    with pytest.raises(InputError, match="geometry is an int; give one of"):
        study(model, geometry=3)
    tokens = tokens_of(50)
    own = fit_geometry(model, "centred", texts=tokens[7:9])
    with pytest.raises(InputError, match="text 7 is one of the texts that geometry 'centred' was fitted on"):
        study(model, geometry=own)
    with pytest.raises(
        InputError, match="was fitted with prepend_bos=False, but prepend_bos=True is measured"
    ):
        study(model, geometry=fit_geometry(model, "centred", n_texts=8, length=16), prepend_bos=True)
    with pytest.raises(InputError, match=r"was made for hidden states \[1\], not 0"):
        study(model, geometry=fit_geometry(model, "mean_over_d_model", layers=[1]))


def test_a_vector_that_is_not_finite_is_refused_in_any_geometry(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    geometry = fit_geometry(model, "without_dimensions", dimensions=[DIMENSION])
    plant_write(model, 1, "mlp", float("inf"), place=3)
    with pytest.raises(
        CaptureError, match="prompt 0: the residual vector of hidden state 2 at position 3 is not"
    ):
        study(model, geometry=geometry)


@pytest.mark.parametrize("bridge", [None, True])
def test_behind_a_prefix_the_texts_own_positions_are_measured(folder: Any, bridge: bool | None) -> None:
    """By hand: the same tokens run with the prefix before them, and only the text's part is looked at."""
    model = ll.load_model(folder, bridge=bridge)
    tokens, words = tokens_of(6, 12), "They admired"
    before = model.tokenizer(words, add_special_tokens=False)["input_ids"]
    n = len(before)
    assert n >= 2
    whole = torch.cat([torch.tensor([before]).expand(6, -1), tokens], dim=1)
    data = study(model, tokens, interventions=ll.prefix(words)).condition(f"prefix({words!r})").dataset
    _, cache = model.run_with_cache(whole, return_type=None)
    x = ll.residuals_from_cache(cache, model.cfg).double().numpy()[:, :, n:]
    agrees(data, x)
    norm = np.linalg.norm(x, axis=-1)
    for block in range(3):
        parts = [cache[f"blocks.{block}.hook_{name}_out"].double().numpy() for name in ("attn", "mlp")]
        for row, part in enumerate(parts):
            grown = ((x[block] + x[block + 1]) * part[:, n:]).sum(-1) / (norm[block] + norm[block + 1])
            np.testing.assert_allclose(data["write"].values[block, row], grown.mean(0), atol=1e-4)
        pattern = cache[f"blocks.{block}.attn.hook_pattern"].double().numpy()
        alpha = np.zeros((6, 4, 12))
        for k in range(12):
            for i in range(k, 12):
                alpha[:, :, k] += pattern[:, :, n + i, n + k] / (12 - k)
        np.testing.assert_allclose(data["attention"].values[block], alpha.mean(0), atol=1e-5)
        np.testing.assert_allclose(data["resting_heads"].values[block], (alpha > 0.3).mean((0, 1)), atol=1e-6)
    assert (data["identity_error"].values < 1e-5).all()


def test_a_sink_in_the_prefix_is_not_the_texts(tiny_gpt2: Any) -> None:
    """The sink sits at the run's first place: the text's position 0 where nothing stands before it."""
    model = planted(ll.load_model(tiny_gpt2))
    result = study(model, interventions={"behind": ll.prefix("They")})
    assert verdicts(result.condition("plain"))["S1"] == "holds"
    assert verdicts(result.condition("behind"))["S1"] == "fails"
    assert result.condition("behind").dataset.sizes["pos"] == LENGTH
