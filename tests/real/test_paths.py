"""Every number of a path study of smollm2, in loops over Hugging Face's own states and logits, in float64."""

from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from tests.real.conftest import LENGTH, Reference
from tests.said import check_said

N, LAYERS = 4, 30


@pytest.fixture(scope="module")
def result(smollm2: Any, reference: Reference) -> Any:
    return ll.path_study(smollm2, reference.rows[:N], n_perm=99)


@pytest.fixture(scope="module")
def norms(states: torch.Tensor) -> np.ndarray:
    """[text layer pos]."""
    found = np.zeros((N, LAYERS + 1, LENGTH))
    for layer in range(LAYERS + 1):
        for text in range(N):
            for pos in range(LENGTH):
                found[text, layer, pos] = float(states[layer, text, pos].double().norm())
    return found


@pytest.fixture(scope="module")
def steps(states: torch.Tensor) -> np.ndarray:
    """[text layer − 1 pos]."""
    x = states[:, :N].double()
    found = np.zeros((N, LAYERS, LENGTH))
    for layer in range(LAYERS):
        for text in range(N):
            for pos in range(LENGTH):
                found[text, layer, pos] = float((x[layer + 1, text, pos] - x[layer, text, pos]).norm())
    return found


@pytest.fixture(scope="module")
def predicted(reference: Reference) -> tuple[np.ndarray, np.ndarray]:
    """Logit and log-probability [text pos] of the true next token."""
    rows = reference.rows[:N]
    with torch.no_grad():
        logits = reference.model(rows).logits.double()
    found = np.zeros((2, N, LENGTH - 1))
    for text in range(N):
        for pos in range(LENGTH - 1):
            one, following = logits[text, pos], int(rows[text, pos + 1])
            found[:, text, pos] = float(one[following]), float(one[following] - one.logsumexp(0))
    return found[0], found[1]


def test_steps_paths_and_how_winding_they_are(
    result: Any, states: torch.Tensor, steps: np.ndarray, norms: np.ndarray
) -> None:
    data = result.dataset
    for which, first in (("every position", 0), ("without position 0", 1)):
        part = data.sel(which=which)
        for layer in range(LAYERS):
            way = [[steps[text, : layer + 1, pos].sum() for pos in range(first, LENGTH)] for text in range(N)]
            away = (states[layer + 1, :N, first:] - states[0, :N, first:]).double().norm(dim=-1).numpy()
            right = {
                "step": steps[:, layer, first:],
                "relative_step": steps[:, layer, first:] / norms[:, layer, first:],
                "path": np.array(way),
                "displacement": away,
                "tortuosity": np.array(way) / away,
            }
            for name, values in right.items():
                found = float(part[name].sel(layer=layer + 1))
                assert found == pytest.approx(values.mean(1).mean(), rel=1e-4), (which, layer, name)
            growth = np.log(norms[:, layer + 1, first:] / norms[:, layer, first:]).mean(1).mean()
            assert float(part["growth"].sel(layer=layer + 1)) == pytest.approx(np.exp(growth), rel=1e-4)


def test_the_next_token(result: Any, predicted: tuple[np.ndarray, np.ndarray]) -> None:
    for name, right in zip(("logit", "log_prob"), predicted, strict=True):
        found = result.measured[name].values
        assert np.abs(found[:, :-1] - right).max() <= 2e-3
        assert np.isnan(found[:, -1]).all()


def test_correlations(
    result: Any, steps: np.ndarray, predicted: tuple[np.ndarray, np.ndarray], reference: Reference
) -> None:
    """Pearson's and Spearman's by scipy; with frequencies held fixed, of what a least-squares fit leaves."""
    from scipy.stats import pearsonr, spearmanr

    rows = reference.rows[:N].numpy()
    flat = rows.ravel().tolist()
    frequency = np.log([[flat.count(token) / len(flat) for token in row] for row in rows.tolist()])
    data, path = result.dataset.sel(length="path"), steps.sum(axis=1)
    for name, y in zip(("logit", "log_prob"), predicted, strict=True):
        of = data["correlation"].sel(predicted=name)
        for held, first in (("every position", 0), ("without position 0", 1)):
            for statistic, function in (("pearson", pearsonr), ("spearman", spearmanr)):
                each = [function(path[text, first:-1], y[text, first:]).statistic for text in range(N)]
                found = float(of.sel(held=held, statistic=statistic))
                assert found == pytest.approx(np.mean(each), abs=2e-3), (name, held, statistic)
        each = []
        for text in range(N):
            fixed = np.stack([np.ones(LENGTH - 2), frequency[text, 1:-1], frequency[text, 2:]], axis=1)
            left = []
            for values in (path[text, 1:-1], y[text, 1:]):
                left.append(values - fixed @ np.linalg.lstsq(fixed, values, rcond=None)[0])
            each.append(pearsonr(*left).statistic)
        found = float(of.sel(held="token frequency held fixed", statistic="pearson"))
        assert found == pytest.approx(np.mean(each), abs=2e-3)
        pooled = pearsonr(path[:, :-1].ravel(), y.ravel()).statistic
        found = float(data["correlation_pooled"].sel(predicted=name, statistic="pearson"))
        assert found == pytest.approx(pooled, abs=2e-3)


def test_the_sentence_says_what_the_claims_say(result: Any) -> None:
    check_said(result)
