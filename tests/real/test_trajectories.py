"""Every number of a trajectory study of smollm2, in loops over Hugging Face's hidden states, in float64."""

from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from tests.real.conftest import Reference
from tests.said import check_said

PROMPTS = ll.her_prompts()[:4]
WORDS = (" her", " him", " round")
OWN = {" her": (0, 1, 2), " him": (2, 3), " round": (3, 0, 1)}
"""Prompts of groups that have their own."""
States = dict[tuple[int, str], np.ndarray]


@pytest.fixture(scope="module")
def result(smollm2: Any) -> Any:
    return ll.trajectory_study(smollm2, PROMPTS)


@pytest.fixture(scope="module")
def states(reference: Reference) -> States:
    """Hidden states [layer pos d_model] of each prompt with each word."""
    found = {}
    for index, text in enumerate(PROMPTS):
        for word in WORDS:
            row = reference.tokenizer(text.replace(" her", word))["input_ids"]
            found[index, word] = reference.states(torch.tensor([row]))[:, 0].double().numpy()
    return found


@pytest.fixture(scope="module")
def own(smollm2: Any, states: States) -> Any:
    """Groups with prompts of their own."""
    groups = {word: [PROMPTS[index].replace(" her", word) for index in OWN[word]] for word in WORDS}
    return ll.trajectory_study(smollm2, groups)


@pytest.fixture(scope="module")
def places(reference: Reference) -> list[int]:
    her = reference.tokenizer(" her")["input_ids"]
    assert len(her) == 1
    return [reference.tokenizer(text)["input_ids"].index(her[0]) for text in PROMPTS]


@pytest.fixture(scope="module")
def pca(states: States) -> tuple[np.ndarray, np.ndarray]:
    return axes_of(list(states.values()))


def axes_of(states: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The first two axes of all states behind position 0, and what three explain, by eigenvectors."""
    rows = np.concatenate([x[:, 1:].reshape(-1, x.shape[-1]) for x in states])
    rows = rows - rows.mean(axis=0)
    variance, axes = np.linalg.eigh(rows.T @ rows)
    return axes[:, [-1, -2]].T, variance[[-1, -2, -3]] / variance.sum()


def between(u: np.ndarray, v: np.ndarray) -> float:
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return float(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v)))


def test_axes(result: Any, pca: Any) -> None:
    assert result.dataset["explained"].values == pytest.approx(pca[1], rel=1e-4)


def test_distances(result: Any, states: States, places: list[int], pca: Any) -> None:
    data, plane = result.dataset, pca[0]
    for row, (a, b) in enumerate(combinations(WORDS, 2)):
        relative = np.zeros(31)
        for layer in range(31):
            each = []
            for index, at in enumerate(places):
                u, v = states[index, a][layer, at], states[index, b][layer, at]
                full, flat = np.linalg.norm(u - v), np.linalg.norm(plane @ (u - v))
                norm = (np.linalg.norm(u) + np.linalg.norm(v)) / 2
                each.append((full, flat, 1 - flat**2 / full**2, full / norm))
            right = np.mean(each, axis=0)
            found = data["distance"].values[:, row, layer]
            assert found[0] == pytest.approx(right[0], rel=1e-4)
            assert found[1] == pytest.approx(right[1], rel=1e-3, abs=1e-3)
            assert data["hidden"].values[row, layer] == pytest.approx(right[2], abs=1e-4)
            assert data["relative"].values[row, layer] == pytest.approx(right[3], rel=1e-4)
            relative[layer] = right[3]
        parting = relative[-10:].mean() - relative[:10].mean()
        assert data["parting"].values[row] == pytest.approx(parting, abs=1e-4)
        points = [
            [
                np.mean([plane @ states[i, w][layer, at] for i, at in enumerate(places)], axis=0)
                for w in (a, b)
            ]
            for layer in range(31)
        ]
        published = [np.linalg.norm(u - v) for u, v in points]
        assert data["published_distance"].values[row] == pytest.approx(published, rel=1e-3, abs=1e-3)
        between = np.array([states[i, a][:, at] - states[i, b][:, at] for i, at in enumerate(places)])
        full = np.linalg.norm(between.mean(axis=0), axis=-1)
        assert data["published_full"].values[row] == pytest.approx(full, rel=2e-5)
        products = np.einsum("ild,kld->lik", between, between)
        square = products[:, ~np.eye(len(places), dtype=bool)].mean(axis=1)
        right = np.sqrt(np.maximum(square, 0))
        assert data["mean_distance"].values[0, row] == pytest.approx(right, rel=2e-5)


def test_groups_with_prompts_of_their_own(own: Any, states: States, places: list[int]) -> None:
    data = own.dataset
    plane, explained = axes_of([states[index, word] for word in WORDS for index in OWN[word]])
    assert data["explained"].values == pytest.approx(explained, rel=1e-4)
    target = {word: np.array([states[i, word][:, places[i]] for i in OWN[word]]) for word in WORDS}
    compared = 0
    for row, (a, b) in enumerate(combinations(WORDS, 2)):
        for layer in range(31):
            x, y = target[a][:, layer], target[b][:, layer]
            full, flat = squared(x, y), squared(x @ plane.T, y @ plane.T)
            near = 1e-5 * ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()  # of two prompts chance is as large
            found = data["distance"].values[:, row, layer] ** 2
            assert found == pytest.approx(np.maximum([full, flat], 0), abs=near)
            if full < 100 * near:
                continue
            share = np.clip(1 - flat / full, 0, 1)
            assert data["hidden"].values[row, layer] == pytest.approx(share, abs=2e-5)
            norm = (np.linalg.norm(x, axis=1).mean() + np.linalg.norm(y, axis=1).mean()) / 2
            assert data["relative"].values[row, layer] == pytest.approx(np.sqrt(full) / norm, rel=2e-5)
            compared += 1
    assert compared > 90


def squared(x: np.ndarray, y: np.ndarray) -> float:
    """The squared distance of two means, of products of different prompts alone."""
    products = [
        (x[i] - y[j]) @ (x[k] - y[m])
        for i, k in permutations(range(len(x)), 2)
        for j, m in permutations(range(len(y)), 2)
    ]
    return float(np.mean(products))


def test_turning(result: Any, states: States, places: list[int], pca: Any) -> None:
    found = result.dataset["turning"]
    for space, on in (("full", None), ("plane", pca[0])):
        tolerance = 1e-4 if space == "full" else 2e-3  # in the plane, short steps
        for which, word in enumerate(WORDS):
            x = {index: states[index, word] @ (on.T if on is not None else np.eye(576)) for index in range(4)}
            for layer in range(31):
                one = found.sel(space=space).isel(word=which).sel(layer=layer)
                position = [
                    between(x[i][layer, at] - x[i][layer, at - 1], x[i][layer, at + 1] - x[i][layer, at])
                    for i, at in enumerate(places)
                ]
                assert float(one.sel(along="positions")) == pytest.approx(np.mean(position), abs=tolerance)
                if 0 < layer < 30:
                    depth = [
                        between(x[i][layer, at] - x[i][layer - 1, at], x[i][layer + 1, at] - x[i][layer, at])
                        for i, at in enumerate(places)
                    ]
                    assert float(one.sel(along="depth")) == pytest.approx(np.mean(depth), abs=tolerance)


def test_the_sentence_says_what_the_claims_say(result: Any) -> None:
    check_said(result)
