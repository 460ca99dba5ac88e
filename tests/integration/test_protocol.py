"""The published protocol, written a second time from its definition: plain loops, another forward."""

from typing import Any

import numpy as np
import pytest

from laminar_lens.models.names import NOVELLA
from laminar_lens.prompts import her_prompts
from laminar_lens.results import StudyResult
from laminar_lens.studies.sequential.study import sequential_study

TOLERANCE = 1e-5  # radians: two float32 forwards of the same weights; the loops here are float64
DONORS = tuple(prompt.replace(" her", " him") for prompt in her_prompts())
FIXED = ((0, 1), (1, 2), (2, 3), (3, 4))


def kahan(u: np.ndarray, v: np.ndarray) -> float:
    """angle(u, v) = 2 · atan2(‖û − v̂‖, ‖û + v̂‖), coordinate by coordinate."""
    length_u, length_v = 0.0, 0.0
    for a, b in zip(u.tolist(), v.tolist(), strict=True):
        length_u += a * a
        length_v += b * b
    apart, together = 0.0, 0.0
    for a, b in zip(u.tolist(), v.tolist(), strict=True):
        a, b = a / length_u**0.5, b / length_v**0.5
        apart += (a - b) ** 2
        together += (a + b) ** 2
    return float(2 * np.arctan2(apart**0.5, together**0.5))


@pytest.fixture(scope="module")
def study(novella: Any) -> StudyResult:
    return sequential_study(
        novella, her_prompts(), warmup=False, random_init=False, n_draws=1, n_perm=99, donors=DONORS
    )


@pytest.fixture(scope="module")
def tokens() -> list[list[str]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NOVELLA)
    return [
        [tokenizer.decode([token]) for token in tokenizer(prompt)["input_ids"]] for prompt in her_prompts()
    ]


@pytest.fixture(scope="module")
def states(novella: Any) -> dict[str, list[np.ndarray]]:
    """[layer pos d_model] of each prompt: its last before the final norm, and after it as the original."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NOVELLA)
    model = AutoModelForCausalLM.from_pretrained(NOVELLA, dtype=torch.float32).eval()
    before: list[torch.Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        before.append(output[0] if isinstance(output, tuple) else output)

    model.transformer.h[-1].register_forward_hook(keep)
    found: dict[str, list[np.ndarray]] = {"before": [], "after": []}
    with torch.no_grad():
        for prompt in her_prompts():
            ids = torch.tensor([tokenizer(prompt)["input_ids"]])
            hidden = [
                state[0].double().numpy() for state in model(ids, output_hidden_states=True).hidden_states
            ]
            found["after"].append(np.stack(hidden))
            found["before"].append(np.stack([*hidden[:-1], before[-1][0].double().numpy()]))
    return found


def test_tokens_are_those_of_the_protocol(study: StudyResult, tokens: list[list[str]]) -> None:
    assert study.dataset["n_tokens"].values.tolist() == [len(row) for row in tokens]
    for prompt, row in enumerate(tokens):
        assert study.dataset["token"].values[prompt, : len(row)].tolist() == row
        assert set(study.dataset["token"].values[prompt, len(row) :]) <= {""}


def test_target_angles_and_rotations(
    study: StudyResult, tokens: list[list[str]], states: dict[str, list[np.ndarray]]
) -> None:
    """Condition 1: the pair (i, i + 1) whose second token is " her", one a sentence, in its own tokens."""
    data = study.dataset
    for prompt, row in enumerate(tokens):
        assert row.count(" her") == 1
        second = row.index(" her")
        assert data["target_pair"].values[prompt].tolist() == [second - 1, second]
        for layer, vectors in enumerate(states["before"][prompt]):
            expected = kahan(vectors[second - 1], vectors[second])
            assert abs(data["target_angle"].values[layer, prompt] - expected) < TOLERANCE
            if layer > 0:
                rotation = kahan(states["before"][prompt][layer - 1][second], vectors[second])
                assert abs(data["target_rotation"].values[layer, prompt] - rotation) < TOLERANCE


def test_baseline_draw_is_valid_and_its_angles_follow(
    study: StudyResult, tokens: list[list[str]], states: dict[str, list[np.ndarray]]
) -> None:
    """Condition 2: one pair of two distinct non-target positions, in order, reused for all layers."""
    data, with_first, expected_share, not_adjacent = study.dataset, 0, 0.0, 0
    for prompt, row in enumerate(tokens):
        i, j = data["baseline_pair"].values[prompt].tolist()
        assert 0 <= i < j < len(row)
        assert " her" not in (row[i], row[j])
        with_first += i == 0
        not_adjacent += j > i + 1
        expected_share += 2 / (len(row) - 1)
        for layer, vectors in enumerate(states["before"][prompt]):
            assert (
                abs(data["baseline_angle"].values[layer, prompt] - kahan(vectors[i], vectors[j])) < TOLERANCE
            )
    assert (
        abs(with_first - expected_share) < 4 * expected_share**0.5
    )  # 2/(n − 1) of all pairs contain position 0
    assert not_adjacent > len(tokens) / 4


def test_fixed_positions(study: StudyResult, states: dict[str, list[np.ndarray]]) -> None:
    """Condition 3: (0,1), (1,2), (2,3), (3,4) of every sentence."""
    data = study.dataset
    for prompt, layers in enumerate(states["before"]):
        for layer, vectors in enumerate(layers):
            for i, j in FIXED:
                measured = float(data["position_angle"].values[layer, prompt, i])
                assert abs(measured - kahan(vectors[i], vectors[j])) < TOLERANCE


def test_final_norm_reproduces_the_original_s_last_state(
    novella: Any, study: StudyResult, states: dict[str, list[np.ndarray]]
) -> None:
    after = sequential_study(
        novella,
        her_prompts(),
        final_norm=True,
        warmup=False,
        random_init=False,
        n_draws=1,
        n_perm=99,
        donors=DONORS,
    ).dataset
    changed = []
    for prompt, layers in enumerate(states["after"]):
        i, j = after["target_pair"].values[prompt]
        for layer, vectors in enumerate(layers):
            measured = after["target_angle"].values[layer, prompt]
            assert abs(measured - kahan(vectors[i], vectors[j])) < TOLERANCE
        changed.append(abs(measured - study.dataset["target_angle"].values[-1, prompt]))
    assert max(changed) > 100 * TOLERANCE


def test_a_seed_gives_the_same_bytes_of_numbers(novella: Any, study: StudyResult) -> None:
    again = sequential_study(
        novella, her_prompts(), warmup=False, random_init=False, n_draws=1, n_perm=99, donors=DONORS
    )
    assert again.numbers_sha256 == study.numbers_sha256
