"""Pairs of positions: what is drawn, from where, and that a seed fixes it."""

from collections.abc import Callable

import numpy as np
import pytest

from laminar_lens.errors import InputError
from laminar_lens.pairs import (
    BASELINES,
    adjacent_pairs,
    by_position_pairs,
    check_baseline,
    matched_pairs,
    published_pairs,
    target_mask,
    target_pairs,
)

N_TOKENS = np.array([5, 9, 12])
TARGETS = [[(2, 3)], [(4, 6)], [(3, 4), (8, 9)]]
MASK = target_mask(TARGETS, N_TOKENS)
RANDOM = [published_pairs, adjacent_pairs, by_position_pairs]


class TestTargets:
    def test_mask_covers_every_token_of_every_target(self) -> None:
        assert [np.flatnonzero(row).tolist() for row in MASK] == [[2], [4, 5], [3, 8]]
        assert [np.flatnonzero(row).tolist() for row in target_mask(TARGETS, N_TOKENS + 1, bos=1)] == [
            [3],
            [5, 6],
            [4, 9],
        ]

    def test_pair_is_the_token_before_and_the_first_token(self) -> None:
        assert target_pairs(TARGETS).tolist() == [[[1, 2], [-1, -1]], [[3, 4], [-1, -1]], [[2, 3], [7, 8]]]
        assert target_pairs(TARGETS, bos=1)[0, 0].tolist() == [2, 3]

    def test_skip_leaves_out_pairs_that_begin_before_it(self) -> None:
        assert target_pairs(TARGETS, skip=3)[:, 0].tolist() == [[-1, -1], [3, 4], [-1, -1]]
        with pytest.raises(InputError, match="skip=8 leaves no target pair"):
            target_pairs(TARGETS, skip=8)

    def test_a_target_needs_a_token_before_it(self) -> None:
        with pytest.raises(InputError, match="prompt 1 is its first token"):
            target_pairs([[(2, 3)], [(0, 1)]])
        assert target_pairs([[(0, 1)]], bos=1).tolist() == [[[0, 1]]]


@pytest.mark.parametrize("pairs", RANDOM)
class TestDraws:
    def test_inside_the_text_in_order_never_the_target(self, pairs: Callable[..., np.ndarray]) -> None:
        drawn = pairs(N_TOKENS, MASK, n_draws=300, seed=3)
        assert drawn.shape == (300, 3, 2)
        assert (drawn[..., 0] < drawn[..., 1]).all()
        assert (drawn[..., 1] < N_TOKENS).all()
        assert (drawn >= 0).all()
        for index, row in enumerate(MASK):
            assert not row[drawn[:, index]].any()

    def test_skip(self, pairs: Callable[..., np.ndarray]) -> None:
        drawn = pairs(N_TOKENS, MASK, n_draws=50, skip=3)
        assert drawn[:, 0].tolist() == ([[3, 4]] * 50)
        assert (drawn >= 3).all()
        with pytest.raises(InputError, match=r"skip=11 leaves no .* longest prompt has 12 tokens"):
            pairs(N_TOKENS, MASK, skip=11)
        with pytest.raises(InputError, match="skip -1 is negative"):
            pairs(N_TOKENS, MASK, skip=-1)
        with pytest.raises(InputError, match="not a whole number"):
            pairs(N_TOKENS, MASK, skip=1.5)

    def test_prompts_without_a_pair_are_marked(self, pairs: Callable[..., np.ndarray]) -> None:
        drawn = pairs(N_TOKENS, MASK, n_draws=4, skip=4)
        assert (drawn[:, 0] == -1).all()
        assert (drawn[:, 1:] >= 4).all()

    def test_a_seed_fixes_each_prompt_s_draws(self, pairs: Callable[..., np.ndarray]) -> None:
        drawn = pairs(N_TOKENS, MASK, n_draws=20, seed=5)
        assert np.array_equal(drawn, pairs(N_TOKENS, MASK, n_draws=20, seed=5))
        assert np.array_equal(drawn[:1], pairs(N_TOKENS, MASK, n_draws=1, seed=5))
        assert np.array_equal(drawn[:, :2], pairs(N_TOKENS[:2], MASK[:2], n_draws=20, seed=5))
        assert not np.array_equal(drawn, pairs(N_TOKENS, MASK, n_draws=20, seed=6))


def test_published_draws_every_pair_equally_often() -> None:
    drawn = published_pairs(N_TOKENS[:1], MASK[:1], n_draws=6000)[:, 0]
    pairs, counts = np.unique(drawn, axis=0, return_counts=True)
    assert pairs.tolist() == [[0, 1], [0, 3], [0, 4], [1, 3], [1, 4], [3, 4]]
    assert (abs(counts - 1000) < 5 * np.sqrt(1000 * 5 / 6)).all()


def test_adjacent_pairs_are_neighbours() -> None:
    drawn = adjacent_pairs(N_TOKENS, MASK, n_draws=200)
    assert (np.diff(drawn, axis=-1) == 1).all()
    assert set(map(tuple, drawn[:, 0])) == {(0, 1), (3, 4)}


def test_by_position_takes_the_four_fixed_pairs_shifted() -> None:
    free = np.zeros((1, 12), dtype=bool)
    assert set(map(tuple, by_position_pairs(N_TOKENS[2:], free, n_draws=200)[:, 0])) == {
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
    }
    shifted = by_position_pairs(N_TOKENS[2:], free, n_draws=200, skip=2)[:, 0]
    assert set(map(tuple, shifted)) == {(2, 3), (3, 4), (4, 5), (5, 6)}


class TestMatched:
    texts = np.array([[7, 7, 3, 7, 7, -1], [7, 7, 7, 3, 7, 7], [7, 3, 7, 7, -1, -1]])
    donors = np.repeat(texts, 3, axis=0)  # each prompt's own three are one of each

    def test_same_positions_in_donors_without_the_target(self) -> None:
        target = target_pairs(TARGETS)
        drawn = matched_pairs(target, self.donors, [3], n_draws=400, seed=1)
        assert drawn.shape == (400, 3, 3)
        assert {tuple(row) for row in drawn[:, 0]} == {(3, 1, 2), (6, 1, 2)}
        assert {tuple(row) for row in drawn[:, 1]} == {(1, 3, 4), (4, 3, 4)}
        assert {tuple(row) for row in drawn[:, 2]} == {(2, 2, 3), (8, 2, 3)}

    def test_no_donor_serves_two_prompts(self) -> None:
        drawn = matched_pairs(target_pairs(TARGETS), self.donors, [3], n_draws=400)
        assert (drawn[..., 0] % 3 == np.arange(3)).all()
        with pytest.raises(InputError, match=r"2 donor texts for 3 prompts: .*give at least 3"):
            matched_pairs(target_pairs(TARGETS), self.donors[:2], [3])

    def test_left_out_and_impossible(self) -> None:
        target = target_pairs(TARGETS, skip=3)
        drawn = matched_pairs(target, self.donors, [3], n_draws=2)
        assert (drawn[:, 0] == -1).all()
        assert (drawn[:, 2] == -1).all()
        with pytest.raises(InputError, match="give longer donors"):
            matched_pairs(target, self.donors[:, :4], [3])


def test_unknown_baseline_names_the_known() -> None:
    assert [check_baseline(name) for name in BASELINES] == list(BASELINES)
    with pytest.raises(
        InputError, match="'random' is unknown: use one of published, adjacent, matched, by_position"
    ):
        check_baseline("random")
