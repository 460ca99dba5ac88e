"""A warm-up planted in a model's weights is found through the whole library, in both TransformerLens
generations."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.studies.warmup.result import WarmupResult
from tests import planted
from tests.validate import planted as validation

TAU = validation.TAU


def loaded(truth: planted.Planted, folder: Path) -> Any:
    return ll.load_model(str(planted.save(truth.edited, folder / "model")))


def test_our_forward_is_the_library_s(tmp_path: Path) -> None:
    """Two implementations, float64 and float32, of the same weights: the truth is a truth."""
    truth = planted.plant(planted.Plan(1.0, 2, seed=4))
    tokens = planted.random_texts(20, seed=4)
    states = ll.capture_residuals(loaded(truth, tmp_path), torch.from_numpy(tokens))
    own = planted.forward(truth.edited, tokens)
    np.testing.assert_allclose(states.values.numpy(), own, atol=2e-5)
    angles = ll.sequential_angles(states.values).numpy()
    np.testing.assert_allclose(angles, planted.angles(own), atol=2e-5)


@pytest.mark.parametrize(("strength", "k"), [(0.0, 0), (1.0, 1), (-0.1, 4)])
def test_the_study_answers_with_length_layers_and_sign(strength: float, k: int, tmp_path: Path) -> None:
    truth = planted.plant(planted.Plan(strength, k, seed=k))
    tokens = planted.random_texts(500, seed=k)
    warm = ll.warmup_study(loaded(truth, tmp_path), torch.from_numpy(tokens), random_init=False)
    assert isinstance(warm, WarmupResult)
    assert warm.skip == k
    sign = "wider" if strength > 0 else "narrower"
    signs = [sign if k and layer in planted.PLANTED_LAYERS else "none" for layer in range(planted.BLOCKS + 1)]
    assert [row["sign"] for row in warm.by_layer] == signs
    edited, excess = planted.true_delta(truth, tokens)
    np.testing.assert_allclose(warm.dataset["delta"], edited, atol=1e-5)
    if k:
        said = re.search(rf" are (\S+) rad {sign} in layers 2–3 \(95% CI ", warm.sentence)
        assert said
        [effect] = json.loads(warm.dataset.attrs["effects"])
        estimate = abs(effect["mean"]["estimate"])
        assert estimate == pytest.approx(abs(strength), abs=0.02)
        assert said[1] == f"{estimate:.2f}"
        shift = warm.dataset["paired_shift"].values[list(planted.PLANTED_LAYERS)]
        np.testing.assert_allclose(shift, excess[list(planted.PLANTED_LAYERS), 0], atol=0.03)


def test_four_models_at_every_strength_and_their_null() -> None:
    failed = [
        f"{row.check} ({row.setting}): {row.required}, {row.measured}"
        for row in validation.run(4)
        if not row.ok
    ]
    assert not failed


@pytest.fixture(scope="module")
def token_gate() -> planted.Planted:
    """The same edit, opened by one token: often first, absent from some first positions, also placed
    mid-text."""
    return planted.plant(planted.Plan(1.0, gate="token", seed=2), write=12.0)


@pytest.fixture(scope="module")
def gated_model(token_gate: planted.Planted, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return loaded(token_gate, tmp_path_factory.mktemp("token"))


@pytest.fixture(scope="module")
def gated_tokens() -> np.ndarray:
    return planted.random_texts(500, seed=2, sink=True)


def test_a_token_that_is_often_first_is_found_and_its_place_is_not_the_cause(
    token_gate: planted.Planted, gated_model: Any, gated_tokens: np.ndarray
) -> None:
    warm = ll.warmup_study(gated_model, torch.from_numpy(gated_tokens), random_init=False)
    edited, _ = planted.true_delta(token_gate, gated_tokens)
    np.testing.assert_allclose(warm.dataset["delta"], edited, atol=1e-5)
    assert (warm.k_lo or 0) >= 1
    rows = list(planted.PLANTED_LAYERS)
    first = (gated_tokens[:, 0] == planted.SINK_TOKEN).mean()
    assert (np.abs(warm.dataset["share_affected"].values[rows] - first) < 0.06).all()
    # taken to the start, a bigram does what its own tokens do
    assert (np.abs(warm.dataset["paired_shift"].values[rows]) < TAU).all()


def test_the_mask_by_vector_finds_the_token_anywhere(gated_model: Any, gated_tokens: np.ndarray) -> None:
    states = ll.capture_residuals(gated_model, torch.from_numpy(gated_tokens[:200]))
    warm = ll.warmup_study(gated_model, torch.from_numpy(gated_tokens[:60]), random_init=False)
    warm = WarmupResult(warm.dataset.assign_attrs(verdict="exact", skip=1, k_lo=1, k_hi=1))
    expected = torch.from_numpy(gated_tokens[:200] != planted.SINK_TOKEN)
    expected[:, 0] = False
    assert torch.equal(warm.mask(states=states), expected)
    assert warm.mask(states=states, layers=[0, 1])[:, 1:].all(), "nothing is written before block 1"
