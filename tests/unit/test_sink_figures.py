"""Figures and pages of the sink and dimension studies, from real results of a tiny model."""

from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.report import render
from laminar_lens.results import StudyResult

SINKS = {"sink_lengths", "sink_attention", "sink_writes", "sink_activations"}
DIMENSIONS = {"dimension_angles", "dimension_removal", "dimension_contributions"}


def tokens() -> torch.Tensor:
    return torch.randint(1, 300, (60, 20), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def sinks(tiny_gpt2: Any) -> StudyResult:
    model = ll.load_model(tiny_gpt2)

    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, [0, 7], 5] += 900
        return value

    model.add_hook("blocks.0.hook_mlp_out", add)
    return ll.sink_study(model, tokens())


@pytest.fixture(scope="module")
def dimensions(tiny_gpt2: Any) -> StudyResult:
    return ll.dimension_study(ll.load_model(tiny_gpt2), tokens())


def test_every_figure_has_its_data_units_and_caption(sinks: StudyResult, dimensions: StudyResult) -> None:
    assert set(sinks.figures()) == SINKS | {"sink_tokens"}
    assert set(dimensions.figures()) == DIMENSIONS
    for figure in [*sinks.figures().values(), *dimensions.figures().values()]:
        assert figure.data
        assert figure.layout.title.text
        assert figure.layout.meta["caption"]
        assert figure.layout.xaxis.title.text
        assert figure.layout.yaxis.title.text
        assert figure.to_json()


def test_numbers_are_those_of_the_result(sinks: StudyResult, dimensions: StudyResult) -> None:
    drawn, data = sinks.figures(), sinks.dataset
    line = next(t for t in drawn["sink_lengths"].data if str(t.name).startswith("position 0, 95%"))
    np.testing.assert_allclose(line.y, data["norm_ratio"].values[:, 0])
    np.testing.assert_allclose(drawn["sink_attention"].data[0].z, data["attention_first"].values.T)
    bars = {t.name: t.y for t in drawn["sink_writes"].data if t.type == "bar"}
    np.testing.assert_allclose(bars["MLP"], data["write"].values[:, 1, 0])
    shown = dimensions.figures()["dimension_contributions"].data[0]
    part = dimensions.dataset.sel(geometry="raw", pairs="first")
    np.testing.assert_allclose(shown.z[0], part["cosine"], atol=1e-4)
    np.testing.assert_allclose(shown.z[1:], part["top_contribution"].values.T, atol=1e-4)
    assert shown.y[0] == "cosine"


def test_no_sink_beside_position_0_no_figure_of_it(tiny_gpt2: Any) -> None:
    quiet = ll.sink_study(ll.load_model(tiny_gpt2), tokens(), random_init=False)
    assert set(quiet.figures()) == SINKS
    without = StudyResult(quiet.dataset.drop_vars(["write", "attention_first"]))
    assert set(without.figures()) == {"sink_lengths", "sink_activations"}


def test_pages(sinks: StudyResult, dimensions: StudyResult) -> None:
    page = render(sinks)
    for title in (
        "Sink study",
        "What attention-sink research claims",
        "Position 0 against the rest",
        "Who writes it, and where",
    ):
        assert title in page
    page = render(dimensions)
    for title in (
        "Dimension study",
        "The claims of this study",
        "The angle without a few dimensions",
        "Dimension by dimension",
    ):
        assert title in page
    assert "published claims" not in page


def test_a_contrast_of_conditions_is_drawn(tiny_gpt2: Any) -> None:
    result = ll.sink_study(
        ll.load_model(tiny_gpt2), tokens(), random_init=False, interventions=[ll.cut(3), ll.no_context(1)]
    )
    assert "contrasts" in result.figures()
    assert "no_context(1)" in str(result.summary())
    assert render(result)
