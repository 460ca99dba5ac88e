"""Every number of a rotation study of smollm2, in loops over Hugging Face's hidden states, in float64."""

from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from tests.real.conftest import Reference
from tests.said import check_said

TOLERANCE_RAD = 2e-5
PROMPTS = ll.her_prompts()[:6]


@pytest.fixture(scope="module")
def result(smollm2: Any) -> Any:
    return ll.rotation_study(smollm2, PROMPTS, random_init=False, n_shuffled=3, n_perm=99)


@pytest.fixture(scope="module")
def states(reference: Reference) -> list[np.ndarray]:
    """Hidden states [layer pos d_model] of each prompt, and its tokens beside it."""
    rows = [reference.tokenizer(text)["input_ids"] for text in PROMPTS]
    return [reference.states(torch.tensor([row]))[:, 0].double().numpy() for row in rows]


def between(u: np.ndarray, v: np.ndarray) -> float:
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return float(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))


def test_rotations_of_the_target_its_neighbour_and_shuffled_tokens(
    result: Any, states: list[np.ndarray], reference: Reference
) -> None:
    data, drawn = result.dataset, result.measured["shuffled_at"].values
    her = reference.tokenizer(" her")["input_ids"]
    assert len(her) == 1
    means = np.zeros((3, 30))
    for index, (text, x) in enumerate(zip(PROMPTS, states, strict=True)):
        at = reference.tokenizer(text)["input_ids"].index(her[0])
        for layer in range(1, 31):
            right = (
                between(x[layer - 1, at], x[layer, at]),
                between(x[layer - 1, at - 1], x[layer, at - 1]),
                np.mean([between(x[layer - 1, at], x[layer, other]) for other in drawn[index, 0]]),
            )
            for row, name in enumerate(("target", "before", "shuffled")):
                found = float(data[f"{name}_rotation"].sel(layer=layer).values[index])
                assert found == pytest.approx(right[row], abs=TOLERANCE_RAD), (index, layer, name)
                means[row, layer - 1] += right[row] / len(PROMPTS)
    assert np.abs(data["rotation"].values - means).max() <= TOLERANCE_RAD
    assert np.abs(data["difference"].values - (means[0] - means[1])).max() <= TOLERANCE_RAD
    part = data["part_rotation"].sel(place="target")
    for name, layers in {
        "first block": [0],
        "middle blocks": range(1, 29),
        "last block": [29],
        "every block": range(30),
    }.items():
        assert float(part.sel(part=name)) == pytest.approx(means[0, list(layers)].mean(), abs=TOLERANCE_RAD)


def test_layer_against_layer_and_the_least_turning_runs(result: Any, states: list[np.ndarray]) -> None:
    data, distance = result.dataset, np.zeros((31, 31))
    for x in states:
        for a in range(31):
            for b in range(31):
                distance[a, b] += between(x[a, -1], x[b, -1]) / len(states)
    assert np.abs(data["between"].sel(which="last").values - distance).max() <= TOLERANCE_RAD
    for row in range(30):
        blocks = row + 1
        sums = [distance[a, a + blocks] / np.pi for a in range(31 - blocks)]
        assert int(data["run_blocks"][row]) == blocks
        assert float(data["run_estimate"][row]) == pytest.approx(min(sums), abs=TOLERANCE_RAD)
        assert sums[int(data["run_first"][row])] == pytest.approx(min(sums), abs=TOLERANCE_RAD)


def test_block_influence(result: Any, states: list[np.ndarray]) -> None:
    """ShortGPT, arXiv 2403.03853, equation 1, each prompt's tokens averaged first."""
    for layer in range(1, 31):
        each = []
        for x in states:
            cosines = [
                u @ v / (np.linalg.norm(u) * np.linalg.norm(v))
                for u, v in zip(x[layer - 1], x[layer], strict=True)
            ]
            each.append(1 - np.mean(cosines))
        assert float(result.dataset["influence"].sel(layer=layer)) == pytest.approx(np.mean(each), abs=1e-5)


def test_the_sentence_says_what_the_claims_say(result: Any) -> None:
    check_said(result)
