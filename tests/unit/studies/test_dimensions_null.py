"""The null of like size: silent where dimensions are alike, exceeded by a planted one; none for a giant."""

from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.results import claim_rows
from laminar_lens.studies.dimensions.cosines import contributions
from laminar_lens.studies.dimensions.measure import Contributions
from laminar_lens.studies.dimensions.null import FEWEST, LEVEL, LIKE, LikeSize, like_size, random_reach
from laminar_lens.studies.dimensions.study import dimension_study

WIDTH, SKIP = 64, 8
LARGE = range(20, 56)


def part_of(x: np.ndarray) -> Contributions:
    """Axes [1 pairs 1 d_model] of a study of one geometry and one layer."""
    states = torch.from_numpy(x)
    parts = contributions(states, SKIP).numpy()
    mean, size = (p.mean(1)[None, :, None] for p in (parts, contributions(states.abs(), SKIP).numpy()))
    return Contributions(mean, mean, size, mean.sum(-1), len(x))


def null_of(x: np.ndarray, seed: int = 0) -> tuple[LikeSize, np.ndarray]:
    before, after = part_of(x[::2]), part_of(x[1::2])
    order = np.argsort(-np.abs(before.mean), axis=-1)
    return like_size(before, after, order, 3, seed), order


def exceeded(world: Any, seeds: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """In how many worlds the chosen are said to exceed the null, and in how many there is one, by kind of
    pair."""
    found = [null_of(world(np.random.default_rng([7, seed])), seed)[0] for seed in range(seeds)]
    p = np.stack([like.p[0, :, 0] for like in found])
    return (p <= LEVEL).sum(0), np.isfinite(p).sum(0)


def isotropic(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((80, 20, WIDTH))


def common(rng: np.random.Generator) -> np.ndarray:
    """A direction common to all, to which every dimension adds alike."""
    return isotropic(rng) + 0.5


def unequal(rng: np.random.Generator) -> np.ndarray:
    """The same with dimensions of every size: nothing but size tells them apart."""
    return common(rng) * np.exp(0.15 * rng.standard_normal(WIDTH))


def few_large(rng: np.random.Generator) -> np.ndarray:
    """The same with some four times as large: matched in number alone, these would exceed most draws."""
    x = common(rng)
    x[..., LARGE] *= 4
    return x


@pytest.mark.parametrize("world", [isotropic, common, unequal, few_large])
def test_dimensions_that_are_alike_rarely_exceed_it(world: Any) -> None:
    """A true 5% exceeds 18 of 200 six times in a thousand."""
    said, there = exceeded(world)
    assert (there >= 100).all()
    assert (said <= 18).all()


def test_what_is_large_beats_draws_of_any_size() -> None:
    """So the null of like size is needed."""
    x = few_large(np.random.default_rng(0))
    _, order = null_of(x)
    chosen = order[0, 0, 0, :3]
    assert set(chosen.tolist()) <= set(LARGE)
    part = part_of(x[1::2]).mean[0, 0, 0]
    draws = [np.random.default_rng([9, k]).permutation(WIDTH)[:3] for k in range(400)]
    assert np.mean([part[chosen].sum() > part[draw].sum() for draw in draws]) > 0.7


def test_a_planted_dimension_exceeds_it() -> None:
    """As large as 35 others, whose signs are anything; its own never changes."""
    for seed in range(10):
        rng = np.random.default_rng([8, seed])
        x = rng.standard_normal((600, 20, WIDTH))
        x[..., LARGE] *= 6
        x[..., 30] = 6 + rng.standard_normal(x.shape[:2])
        like, order = null_of(x, seed)
        assert (order[0, :, 0, 0] == 30).all()
        assert (like.others >= FEWEST).all()
        assert (like.p <= LEVEL).all()


def test_a_dimension_without_an_equal_has_no_such_null() -> None:
    x = isotropic(np.random.default_rng(0))
    x[..., 30] += 40
    like, _ = null_of(x)
    assert (like.others == 0).all()
    assert (like.rare == 30).all()
    assert np.isnan([like.low, like.high, like.p]).all()


def test_it_is_its_definition() -> None:
    """Each draw in a loop: one like dimension for each chosen, all different, scaled to the chosen's size."""
    x = unequal(np.random.default_rng(3))
    before, after = part_of(x[::2]), part_of(x[1::2])
    order = np.argsort(-np.abs(before.mean), axis=-1)
    like = like_size(before, after, order, 3, 0)
    rng = np.random.default_rng(1)
    checked = 0
    for kind in range(3):
        chosen = order[0, kind, 0, :3]
        size, part = before.size[0, kind, 0], after.mean[0, kind, 0]
        pools = [
            [k for k in range(WIDTH) if k == c or (k not in chosen and 1 / LIKE <= size[k] / size[c] <= LIKE)]
            for c in chosen
        ]
        assert like.others[0, kind, 0] == min(map(len, pools)) - 1
        if min(map(len, pools)) <= FEWEST:
            continue
        makes = []
        while len(makes) < 4000:
            draw = [int(rng.choice(pool)) for pool in pools]
            if len(set(draw)) == 3:
                makes.append(sum(part[k] * size[c] / size[k] for k, c in zip(draw, chosen, strict=True)))
        share = np.array(makes) / part.sum()
        assert like.p[0, kind, 0] == pytest.approx(
            np.mean(share >= part[chosen].sum() / part.sum()), abs=0.05
        )
        reach = np.ptp(share)
        assert like.low[0, kind, 0] == pytest.approx(np.quantile(share, 0.025), abs=0.1 * reach)
        assert like.high[0, kind, 0] == pytest.approx(np.quantile(share, 0.975), abs=0.1 * reach)
        checked += 1
    assert checked


def plant(model: Any, coherent: list[int], large: list[int], size: float = 100.0) -> None:
    """Large dimensions whose signs change from text to text and place to place, and some whose never do."""

    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        n, length, _ = value.shape
        rng = torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, (n, length, len(large)), generator=rng) * 2.0 - 1
        value[..., large] += size * signs
        value[..., coherent] += 1.25 * size
        return value

    model.add_hook("blocks.1.hook_mlp_out", add)


def tokens_of(n: int = 90) -> torch.Tensor:
    return torch.randint(1, 300, (n, 24), generator=torch.Generator().manual_seed(2))


def test_a_study_says_which_null(make_model_folder: Any) -> None:
    folder = make_model_folder("gpt2", n_embd=128)
    model = ll.load_model(folder)
    plant(model, [3, 7, 11], list(range(40, 66)))
    data = dimension_study(model, tokens_of(), layers=[2]).dataset
    at = {"geometry": "raw", "pairs": "first", "layer": 2}
    assert sorted(data["top_dimension"].sel(at).values[:3].tolist()) == [3, 7, 11]
    assert float(data["few_like_p"].sel(at)) <= 0.01
    assert float(data["few_like_high"].sel(at)) < float(data["few_share"].sel(at))
    said = {row["claim"]: row["evidence"] for row in claim_rows(data)}
    assert "3 of like size would make" in said["D1"]
    assert "these are shown to make more than their size accounts for." in said["D1"]
    lone = ll.load_model(folder)
    plant(lone, [7], [])
    said = {
        row["claim"]: row["evidence"]
        for row in claim_rows(dimension_study(lone, tokens_of(), layers=[2]).dataset)
    }
    assert "without 3 at random" in said["D1"]
    assert f"(of two random directions: up to ±{random_reach(128, 3):.2f})" in said["D1"]
    assert "No null of like size: beside these, no dimension is half to twice as large as 7." in said["D1"]


@pytest.mark.parametrize("width", [16, 128])
def test_random_directions_reach_as_far_as_they_do(width: int) -> None:
    """In loops, with other draws: one pair of 100 goes further."""
    rng, found = np.random.default_rng(5), []
    for _ in range(2000):
        u, v = rng.standard_normal((2, width))
        parts = u * v / (np.linalg.norm(u) * np.linalg.norm(v))
        largest = sorted(parts, key=abs, reverse=True)[:3]
        found.append(sum(largest) * np.sign(parts.sum()))
    assert np.mean(np.array(found) > random_reach(width, 3)) == pytest.approx(0.01, abs=0.01)


def test_random_weights_make_no_claim(novella: Any) -> None:
    """Where the cosine is nearly 0, three of its parts are over half of it: it once was said of these."""
    tokens = torch.randint(1, 4000, (80, 24), generator=torch.Generator().manual_seed(0))
    for seed in (3, 5):
        data = dimension_study(ll.random_twin(novella, seed=seed), tokens, layers=[0], seed=seed).dataset
        assert {row["verdict"] for row in claim_rows(data)} == {"fails"}
        assert "those of two random directions add up to ±0.1" in claim_rows(data)[0]["evidence"]
