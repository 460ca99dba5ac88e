"""Formulas of the literature, written a second time from their papers and another library's forward pass."""

from typing import Any

import numpy as np
import pytest

import laminar_lens as ll
from laminar_lens.models.names import NOVELLA

TEXTS = (
    "He gave her the book by the river.",
    "They admired her courage, and her sister admired her too.",
    "In the morning he drove her to the old house.",
    "Nobody had told her that the train was late again.",
)
TOLERANCE = 2e-5  # two float32 forwards of the same weights; the loops here are float64


@pytest.fixture(scope="module")
def forwards() -> list[tuple[np.ndarray, np.ndarray]]:
    """Hugging Face's own hidden states [layer pos d_model], before the final norm, and attention patterns
    [block head query key]."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NOVELLA)
    model = AutoModelForCausalLM.from_pretrained(NOVELLA, dtype=torch.float32, attn_implementation="eager")
    last: list[torch.Tensor] = []
    model.transformer.h[-1].register_forward_hook(
        lambda module, inputs, output: last.append(output[0] if isinstance(output, tuple) else output)
    )
    found = []
    with torch.no_grad():
        for text in TEXTS:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            out = model.eval()(ids, output_hidden_states=True, output_attentions=True)
            states = [state[0] for state in out.hidden_states[:-1]] + [last[-1].reshape(ids.shape[1], -1)]
            patterns = torch.stack([pattern[0] for pattern in out.attentions])
            found.append((torch.stack(states).double().numpy(), patterns.double().numpy()))
    return found


def cosine(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def test_block_influence(novella: Any, forwards: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """ShortGPT, arXiv 2403.03853, equation 1: BI = 1 − E[cos(x[l − 1, i], x[l, i])] over texts and tokens."""
    rotation = ll.angle_table(novella, TEXTS, what="rotation")["rotation"].values
    for layer in range(1, 9):
        terms = [
            cosine(states[layer - 1, i], states[layer, i])
            for states, _ in forwards
            for i in range(states.shape[1])
        ]
        assert 1 - np.nanmean(np.cos(rotation[layer])) == pytest.approx(1 - np.mean(terms), abs=TOLERANCE)


def test_pruning_distance(novella: Any, forwards: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """arXiv 2403.17887, equation 7: arccos(cos(x[l], x[l + n]))/π, of the last token only."""
    for row, (states, _) in enumerate(forwards):
        captured = ll.capture_residuals(novella, TEXTS[row]).values[:, 0, -1]
        for layer in range(9):
            for later in range(layer + 1, 9):
                expected = np.arccos(np.clip(cosine(states[layer, -1], states[later, -1]), -1, 1)) / np.pi
                found = float(ll.angle(captured[layer], captured[later])) / np.pi
                assert found == pytest.approx(expected, abs=TOLERANCE)


def test_straightening_curvature(novella: Any, forwards: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """arXiv 2311.04930, equations 1–3: v[k] = x[k + 1] − x[k], normalised; the mean of arccos(v[k]·v[k + 1])
    over a text's corners, per layer."""
    turning = ll.angle_table(novella, TEXTS, what="turning")["turning"].values
    for row, (states, _) in enumerate(forwards):
        for layer in range(9):
            angles = []
            for k in range(states.shape[1] - 2):
                a = states[layer, k + 1] - states[layer, k]
                b = states[layer, k + 2] - states[layer, k + 1]
                a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
                angles.append(np.arccos(np.clip(a @ b, -1, 1)))
            assert np.nanmean(turning[layer, row]) == pytest.approx(np.mean(angles), abs=TOLERANCE)


def test_sink_rate(novella: Any, forwards: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """arXiv 2410.10781, equation 2: α[k] = 1/(T − k) · Σ_{i ≥ k} A[i, k]; Sink = the share of heads of all
    layers with α > 0.3. Texts of one length: each is cut to the shortest."""
    import torch

    length = min(states.shape[1] for states, _ in forwards)
    rows = [ll.capture_residuals(novella, text).tokens[0, :length] for text in TEXTS]
    data = ll.sink_study(novella, torch.stack(rows), random_init=False).dataset
    rate = np.zeros(length)
    for _, patterns in forwards:
        for k in range(length):
            alpha = patterns[:, :, k:length, k].sum(-1) / (length - k)
            rate[k] += (alpha > 0.3).mean() / len(forwards)
    assert rate[-1] > 0, "the last token attends to itself: something is counted"
    np.testing.assert_allclose(data["resting_heads"].mean("block"), rate, atol=1e-6)


def test_dimension_contribution(novella: Any, forwards: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """arXiv 2109.04404, section 3: CC_k(u, v) = u_k·v_k/(‖u‖‖v‖), which sum to the cosine."""
    import torch

    length = min(states.shape[1] for states, _ in forwards)
    rows = [ll.capture_residuals(novella, text).tokens[0, :length] for text in TEXTS]
    data = ll.dimension_study(novella, torch.stack(rows)).dataset
    for layer in range(9):
        mean = np.zeros(width := forwards[0][0].shape[-1])
        for states, _ in forwards:
            u, v = states[layer, 0], states[layer, 1]
            parts = np.array([u[k] * v[k] for k in range(width)])
            mean += parts / (np.linalg.norm(u) * np.linalg.norm(v)) / len(forwards)
        found = data["contribution"].sel(geometry="raw", pairs="first", layer=layer)
        np.testing.assert_allclose(found, mean, atol=TOLERANCE)
