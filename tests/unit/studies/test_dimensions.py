from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.interventions import remove_dimensions
from laminar_lens.results import StudyResult, claim_rows
from laminar_lens.studies.dimensions.cosines import PAIRS, contributions, without
from laminar_lens.studies.dimensions.measure import _random_orders, split
from laminar_lens.studies.dimensions.study import dimension_study
from tests.said import check_said

KINDS = ["tiny_gpt2", "tiny_llama", "tiny_neox"]
LENGTH, N, SKIP = 24, 90, 12
DIMENSION = 7


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def tokens_of(n: int = N, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(1, 300, (n, length), generator=torch.Generator().manual_seed(2))


def plant(model: Any, block: int, size: float) -> None:
    """One dimension, large and of one sign at every position."""

    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[..., DIMENSION] += size
        return value

    model.add_hook(f"blocks.{block}.hook_mlp_out", add)


def verdicts(result: StudyResult) -> dict[str, str]:
    return {row["claim"]: row["verdict"] for row in claim_rows(result.dataset)}


def cosine(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


@pytest.mark.parametrize("bridge", [None, True])
def test_contributions_sum_to_the_cosine_and_are_their_definition(folder: Any, bridge: bool | None) -> None:
    """u_k·v_k/(‖u‖‖v‖), arXiv 2109.04404, in loops over texts, pairs and dimensions."""
    model = ll.load_model(folder, bridge=bridge)
    tokens = tokens_of(8)
    data = dimension_study(model, tokens).dataset
    states = ll.capture_residuals(model, tokens).values.double().numpy()
    for layer in range(4):
        for kind, name in enumerate(PAIRS):
            mean, whole = np.zeros(32), 0.0
            for x in states[layer]:
                pairs = {
                    "first": [(0, 1)],
                    "first_body": [(0, j) for j in range(SKIP, LENGTH)],
                    "body": [(j, j + 1) for j in range(SKIP, LENGTH - 1)],
                }[name]
                for i, j in pairs:
                    u, v = x[i], x[j]
                    parts = [u[k] * v[k] / (np.linalg.norm(u) * np.linalg.norm(v)) for k in range(32)]
                    assert sum(parts) == pytest.approx(cosine(u, v), abs=1e-12)
                    mean += np.array(parts) / len(pairs) / len(states[layer])
                    whole += cosine(u, v) / len(pairs) / len(states[layer])
            np.testing.assert_allclose(data["contribution"].values[0, kind, layer], mean, atol=1e-6)
            assert data["cosine"].values[0, kind, layer] == pytest.approx(whole, abs=1e-6)
    np.testing.assert_allclose(data["contribution"].sum("dimension"), data["cosine"], atol=1e-12)


def test_angles_without_dimensions_are_those_of_shorter_vectors(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    tokens = tokens_of(30)
    result = dimension_study(model, tokens, removed=4)
    data = result.dataset
    chosen = split(30, None, 0)[1]
    assert data["text"].values.tolist() == chosen.tolist()
    states = ll.capture_residuals(model, tokens[chosen]).values.double().numpy()
    for layer in range(4):
        order = data["top_dimension"].values[0, :, layer]
        for m in range(5):
            for row, x in enumerate(states[layer]):
                for kind, pairs in enumerate([[(0, 1)], None, [(j, j + 1) for j in range(SKIP, LENGTH - 1)]]):
                    y = np.delete(x, order[kind, :m], axis=1)
                    pairs = pairs or [(0, j) for j in range(SKIP, LENGTH)]
                    expected = np.mean([np.arccos(cosine(y[i], y[j])) for i, j in pairs])
                    found = data["angle"].values[row, 0, kind, layer, m]
                    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_angles_without_dimensions_at_any_length(seed: int, size: float) -> None:
    """Shorter vectors in float64, by a loop; parallel ones are 0 or π apart and no NaN; those that the
    removed dimensions made up have no direction."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(5, 7, 11))
    x[..., 2] *= 30
    x[:, 0, [1, 3, 4, 6, 7, 8, 9, 10]] = 0  # nothing but what the first order removes
    x[1, 1] = 3 * x[1, 0]
    x[2, 1] = -7 * x[2, 0]
    orders = np.stack([[2, 0, 5], rng.permutation(11)[:3]])
    found = without(torch.from_numpy(x * size), 2, torch.from_numpy(orders)).numpy()
    pairs = ([(0, 1)], [(0, j) for j in range(2, 7)], [(j, j + 1) for j in range(2, 6)])
    for kind, order, text, m in np.ndindex(3, 2, 5, 4):
        y = np.delete(x[text], orders[order, :m], axis=1)
        with np.errstate(invalid="ignore"):
            whole = [np.arccos(np.clip(cosine(y[i], y[j]), -1, 1)) for i, j in pairs[kind]]
        # a cosine loses what the removed were larger than the rest, 1e3 times; an angle at π its root
        np.testing.assert_allclose(found[kind, order, text, m], np.mean(whole), atol=1e-6)
    assert np.isnan(found[:2, 0, :, 3]).all()
    assert np.isfinite(found[..., 1:3, 0]).all()


def test_no_text_depends_on_those_beside_it(seed: int) -> None:
    x = torch.randn(9, 13, 31, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    orders = torch.tensor([[4, 1, 30, 7], [0, 2, 3, 5]])
    whole = without(x, 5, orders)
    for text in range(9):
        assert torch.equal(without(x[text : text + 1], 5, orders), whole[:, :, text : text + 1])


def test_the_null_is_the_mean_over_texts_without_random_dimensions(tiny_gpt2: Any) -> None:
    """None of the chosen ones, unless a draw has them: each draw has its own, of which the first m go."""
    model, tokens = ll.load_model(tiny_gpt2), tokens_of(30)
    result = dimension_study(model, tokens, removed=3, seed=4)
    assert result.measured is not None
    draws = _random_orders(32, 3, 4)
    states = ll.capture_residuals(model, tokens[split(30, None, 4)[1]]).values.double()
    for layer in range(4):
        expected = without(states[layer], SKIP, torch.from_numpy(draws)).mean(2).numpy()
        found = result.measured["null"].values[0, :, layer]
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert (np.ptp(found[..., 1:], axis=1) > 0).all()


@pytest.mark.parametrize("bridge", [None, True])
def test_a_planted_dimension_is_found_and_centring_removes_it(folder: Any, bridge: bool | None) -> None:
    model = ll.load_model(folder, bridge=bridge)
    clean = dimension_study(model, tokens_of()).dataset
    plant(model, 1, 60.0)
    plant(model, 2, -60.0)
    result = dimension_study(model, tokens_of())
    check_said(result)
    data = result.dataset
    found = verdicts(result)
    assert found["D1"] == found["D2"] == found["D3"] == "holds"
    assert (data["top_dimension"].values[0, :, 2, 0] == DIMENSION).all()
    assert (data["top_contribution_low"].values[0, :, 2, 0] > 0.5).all()
    assert (data["n_half"].values[0, :, 2] == 1).all()
    # without it the angle is far wider than without a random one (one draw in 32 is that dimension)
    wider = data["angle_without_low"].values[0, :, 2, 1] - data["angle_random"].values[0, :, 2, 1]
    assert (wider > 0.3).all()
    # a constant is part of the mean, so it is gone after centring
    assert data["top_dimension"].values[1, 2, 2, 0] != DIMENSION or (
        abs(data["top_contribution"].values[1, 2, 2, 0]) < 0.1
    )
    centred = [part["cosine"].values[1, 2, 2] for part in (data, clean)]
    assert centred[0] == pytest.approx(centred[1], abs=0.1)
    assert "7" in claim_rows(data)[0]["evidence"]


def test_dimensions_that_are_all_alike_are_silent() -> None:
    """The null itself: vectors whose dimensions are exchangeable, with a direction common to them."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((400, 20, 64)) + 1.0)
    halves = contributions(x[:200], 8).mean(1), contributions(x[200:], 8).mean(1)
    for kind in range(3):
        order = halves[0][kind].abs().argsort(descending=True)[:3]
        share = float(halves[1][kind][order].sum() / halves[1][kind].sum())
        assert share == pytest.approx(3 / 64, abs=0.03)


def test_random_weights_are_silent(folder: Any) -> None:
    """Where the cosine of neighbours is spread over all dimensions, no three make half of it."""
    result = dimension_study(ll.load_model(folder), tokens_of(), layers=[2, 3])
    assert verdicts(result)["D3"] != "holds"
    share = result.dataset["few_share"].values[0, 2]
    assert (share < 0.5).all()


def test_novella_as_measured(novella: Any) -> None:
    """One dimension makes most of the cosine between position 0 and the body in the middle layers."""
    result = dimension_study(novella, n_texts=80, layers=[3, 4])
    data = result.dataset
    assert verdicts(result)["D1"] == verdicts(result)["D2"] == "holds"
    assert (data["top_dimension"].values[0, 1, :, 0] == 113).all()
    assert (data["n_half"].values[0, 1] == 1).all()


def test_conditions_and_saving(tiny_gpt2: Any, tmp_path: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    plant(model, 1, 60.0)
    result = dimension_study(model, tokens_of(60), interventions=remove_dimensions([DIMENSION], layers=[2]))
    assert len(result.conditions) == 2
    without = result.condition(result.conditions[1])
    assert without.dataset["top_dimension"].values[0, 0, 2, 0] != DIMENSION
    change = result.contrast(result.conditions[1], "plain", "angle")
    assert change["low"].sel(geometry="raw", pairs="body", layer=2, removed=0) > 0.3
    loaded = ll.load_result(result.save(tmp_path / "d.nc"))
    assert loaded.numbers_sha256 == result.numbers_sha256
    assert "D1" in str(loaded.summary())


def test_layers_halves_groups_and_seeds(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    groups = np.repeat(np.arange(12), 5)
    runs = [dimension_study(model, tokens_of(60), groups=groups, layers=[3, -2], seed=4) for _ in range(2)]
    assert runs[0].numbers_sha256 == runs[1].numbers_sha256
    assert runs[0].dataset["layer"].values.tolist() == [2, 3]
    measured = runs[0].dataset["text"].values
    assert len(measured) == 30
    assert len(np.unique(groups[measured])) == 6
    assert runs[0].settings["geometry"] == "raw"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"removed": 32}, "removed is 32; expected 3 … 31 of the 32 dimensions"),
        ({"removed": 2}, "removed is 2; expected 3"),
        ({"layers": [7]}, "layer 7 is out of range"),
        ({"texts": tokens_of(3)}, "3 independent texts: half of them choose, so at least 4 are needed"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_input(tiny_gpt2: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dimension_study(ll.load_model(tiny_gpt2), **{"texts": tokens_of(10), **options})
