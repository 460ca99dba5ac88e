"""The dimension study in other geometries: what it measures, what stands beside it, and what it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.geometry import GEOMETRIES, RAW, fit_geometry
from laminar_lens.models.calibration import SEED
from laminar_lens.report import render
from laminar_lens.results import claim_rows
from laminar_lens.studies.dimensions.study import dimension_study
from laminar_lens.studies.options import Options
from laminar_lens.studies.texts import chosen_texts

N, LENGTH, SKIP = 60, 24, 12
KINDS = ["tiny_gpt2", "tiny_llama", "tiny_neox"]


def tokens_of() -> torch.Tensor:
    return torch.randint(1, 300, (N, LENGTH), generator=torch.Generator().manual_seed(2))


def without(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[..., [1, 4]] = 0
    return x


def maps(model: Any, name: str) -> Callable[[int, torch.Tensor], torch.Tensor]:
    """The same geometries, written down again."""
    if name == "layernormed":
        with torch.no_grad():
            norms = [block.ln1 for block in model.blocks] + [model.ln_final]
        return lambda layer, x: norms[layer](x.float()).detach().double()
    return {
        "raw": lambda layer, x: x,
        "mean_over_d_model": lambda layer, x: x - x.mean(-1, keepdim=True),
        "without_dimensions": lambda layer, x: without(x),
    }[name]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["raw", "mean_over_d_model", "without_dimensions", "layernormed"])
def test_contributions_are_those_of_the_mapped_vectors_and_of_the_same_centred(
    name: str, kind: str, request: pytest.FixtureRequest
) -> None:
    """From captured states: the map, then minus the mean of the map of other texts' body."""
    model, tokens = ll.load_model(request.getfixturevalue(kind)), tokens_of()
    geometry = fit_geometry(model, name, dimensions=[1, 4]) if name == "without_dimensions" else name
    data = dimension_study(model, tokens, geometry=geometry).dataset
    beside = "centred" if name == "raw" else f"{name}, centred"
    assert data["geometry"].values.tolist() == [name, beside]
    apply = maps(model, name)
    states = ll.capture_residuals(model, tokens).values.double()
    others = ll.capture_residuals(model, ll.sample_tokens(model, 64, 64, seed=SEED)).values.double()
    for layer in range(4):
        x = apply(layer, states[layer])
        mean = apply(layer, others[layer])[:, SKIP:].mean((0, 1))
        for row, vectors in enumerate((x, x - mean)):
            unit = (vectors / vectors.norm(dim=-1, keepdim=True)).numpy()
            expected = (unit[:, 0] * unit[:, 1]).mean(0)
            np.testing.assert_allclose(data["contribution"].values[row, 0, layer], expected, atol=1e-5)
            angles = np.arccos((unit[data["text"].values, 0] * unit[data["text"].values, 1]).sum(-1))
            np.testing.assert_allclose(data["angle"].values[:, row, 0, layer, 0], angles, atol=1e-4)
    np.testing.assert_allclose(data["contribution"].sum("dimension"), data["cosine"], atol=1e-12)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_contributions_sum_to_the_cosine_in_every_geometry(tiny_gpt2: Any, name: str) -> None:
    result = dimension_study(ll.load_model(tiny_gpt2), tokens_of(), geometry=name)
    data = result.dataset
    np.testing.assert_allclose(data["contribution"].sum("dimension"), data["cosine"], atol=1e-12)
    # the mean angle of every kind of pair is that of cosines that were summed
    first = data["cosine"].sel(pairs="first").values
    assert (np.abs(first) <= 1).all()
    assert result.settings["geometry"] == name
    names = data["geometry"].values.tolist()
    assert result.settings["compared"] == names
    assert list(result.provenance["model"]["geometry"]) == names
    about = render(result).partition('id="provenance"')[2].partition("<script")[0]
    assert f"model · geometry · {name} · " in about
    assert "{" not in about  # no dictionary as Python writes it
    assert any(name in warning for warning in result.warnings) == (name != "raw")


def test_raw_is_what_it_was(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    runs = [
        dimension_study(model, tokens_of(), **given) for given in ({}, {"geometry": "raw"}, {"geometry": RAW})
    ]
    assert len({run.numbers_sha256 for run in runs}) == 1
    assert runs[0].dataset["geometry"].values.tolist() == ["raw", "centred"]


def test_centred_is_what_stands_beside_raw_and_nothing_stands_beside_it(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    raw, centred = (dimension_study(model, tokens_of(), geometry=name) for name in ("raw", "centred"))
    both = raw.dataset.sel(geometry=["centred"])
    for name in ("contribution", "angle", "angle_random_low", "top_dimension", "few_share", "n_half"):
        np.testing.assert_array_equal(centred.dataset[name].values, both[name].values)
    claims = {row["claim"]: row for row in claim_rows(centred.dataset)}
    assert claims["D4"]["verdict"] == "not applicable"
    assert claims["D4"]["evidence"] == "The geometry centred is already centred."
    assert claims["D1"]["verdict"] == {row["claim"]: row for row in claim_rows(raw.dataset)}["D4"]["verdict"]
    assert "centring" not in centred.sentence
    figure = centred.figures()["dimension_angles"]
    assert "centring" not in figure.layout.title.text
    named = {str(trace.name).split(",")[0] for trace in figure.data if trace.name}
    assert named == {"centred", "π/2: random directions"}


def test_conditions_in_a_geometry(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    result = dimension_study(model, tokens_of(), geometry="standardised", interventions=ll.cut(3), layers=[2])
    assert result.conditions == ("plain", "cut(3)")
    assert result.dataset.sizes["geometry"] == 1


def test_what_does_not_fit_is_refused_in_one_line(tiny_gpt2: Any, tiny_llama: Any) -> None:
    model, tokens = ll.load_model(tiny_gpt2), tokens_of()
    fitted = fit_geometry(model, "centred", texts=tokens[:8])
    for geometry, message in (
        ("centered", "geometry 'centered' is unknown; choose from raw, centred"),
        (3, "geometry is an int; give one of raw, centred"),
        (fit_geometry(model, "centred", prepend_bos=True), "was fitted with prepend_bos=True"),
        (fit_geometry(model, "centred", layers=[1]), r"was made for hidden states \[1\], not 0"),
        (fitted, "text 0 is one of the texts that geometry 'centred' was fitted on"),
    ):
        with pytest.raises(InputError, match=message) as error:
            dimension_study(model, tokens, geometry=geometry)
        assert "\n" not in str(error.value)
    # texts that only the centred one beside it was fitted on
    own = ll.sample_tokens(model, 64, 64, seed=SEED)
    with pytest.raises(InputError, match="text 0 is one of the texts that geometry 'centred' was fitted on"):
        dimension_study(model, own, geometry="mean_over_d_model")


def test_on_passages_it_is_fitted_on_others_in_one_pass(tiny_gpt2: Any, monkeypatch: Any) -> None:
    """Nothing is written by the model, and no passage that is fitted on is measured."""
    from laminar_lens.models import calibration
    from laminar_lens.models.batches import prompt_batches

    def noted(model: Any, texts: Any, **how: Any) -> Any:
        fitted.extend(texts.tolist())
        return prompt_batches(model, texts, **how)

    monkeypatch.setattr(calibration, "sample_tokens", None)
    monkeypatch.setattr(calibration, "prompt_batches", noted)
    model = ll.load_model(str(tiny_gpt2))
    for n_texts, measured in ((40, 40), (None, 416)):
        fitted: list[list[int]] = []
        result = ll.dimension_study(model, length=24, n_texts=n_texts, seed=3)
        assert result.settings["n_texts"] == measured
        told = result.provenance["model"]["geometry"]["centred"]["centred"]
        assert (told["texts"], told["n_texts"]) == ("passages", 64), "as what it was fitted on"
        chosen = chosen_texts(model, None, Options(n_texts=measured, length=24, seed=3), [], None).rows
        assert len(fitted) == 64
        assert not {tuple(row[-6:]) for row in fitted} & {tuple(row[-6:]) for row in chosen}
        assert [row in [one[:24] for one in fitted] for row in chosen] == [False] * measured
