"""Which texts are observations: equal rows, all but equal rows, and rows that only look alike."""

from typing import Any

import numpy as np
import pytest

from laminar_lens.stats.observations import mostly, repeats


def marked(texts: Any, groups: Any = None, apart: Any = None) -> np.ndarray:
    return np.asarray(repeats(np.asarray(texts).tolist() if apart is None else texts, groups, apart))


def rows(seed: int, n: int = 30, length: int = 64, vocabulary: int = 3000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocabulary, (n, length))


@pytest.mark.parametrize("length", [2, 4, 15, 16, 64])
def test_texts_that_differ_stay(seed: int, length: int) -> None:
    assert not marked(rows(seed, 400, length)).any()


def test_equal_texts_count_once(seed: int) -> None:
    x = rows(seed)
    assert marked(np.concatenate([x, x, x[:5]])).tolist() == [False] * 30 + [True] * 35


@pytest.mark.parametrize("by", [-4, -1, 1, 4])
def test_a_text_moved_a_little_either_way_is_the_same(seed: int, by: int) -> None:
    """As many places on as may differ, here 4 of 64."""
    longer = rows(seed, length=80)
    x, moved = longer[:, 8:72], longer[:, 8 + by : 72 + by]
    assert marked(np.concatenate([x, moved])).tolist() == [False] * 30 + [True] * 30


@pytest.mark.parametrize(("length", "allowed"), [(4, 0), (15, 0), (16, 1), (31, 1), (64, 4), (128, 8)])
def test_one_place_in_sixteen_may_differ(seed: int, length: int, allowed: int) -> None:
    """Whichever places they are: the parts that are compared first must miss none."""
    rng = np.random.default_rng(seed)
    for _ in range(40):
        x = rng.integers(0, 3000, length)
        within, beyond = x.copy(), x.copy()
        places = rng.permutation(length)
        within[places[:allowed]] += 1
        beyond[places[: allowed + 1]] += 1
        assert marked([x, within])[1]
        assert not marked([x, beyond])[1]


def test_a_text_that_is_moved_by_a_few_places_is_the_same(seed: int) -> None:
    """A collapsed model writes one text, cut anywhere; a window half a text on is another text."""
    text = rows(seed, 1, 200)[0]
    assert marked([text[:64], text[4:68], text[5:69]]).tolist() == [False, True, False]
    assert not marked([text[:64], text[32:96]])[1]
    cycle = np.tile(rows(seed, 1, 3)[0], 100)
    starts = np.random.default_rng(seed).integers(0, 100, 50)
    assert (~marked([cycle[start : start + 64] for start in starts])).sum() == 1


def test_a_repeat_of_a_repeat_is_compared_with_what_stays(seed: int) -> None:
    x = rows(seed, 1)[0]
    chain = [x.copy() for _ in range(3)]
    chain[1][:4] += 1
    chain[2][:8] += 1
    assert marked(chain).tolist() == [False, True, False]


def test_a_shared_beginning_is_no_repeat(seed: int) -> None:
    x = rows(seed, 50)
    x[:, :48] = x[0, :48]
    assert not marked(x).any()


def test_groups_may_repeat_themselves(seed: int) -> None:
    a, b, c = rows(seed, 3)
    texts = [a, a, b, a, c, a]
    assert marked(texts, np.array([0, 0, 1, 1, 1, 0])).tolist() == [False, False, False, True, False, False]
    assert marked(texts).sum() == 3


def test_labels_and_lengths_keep_texts_apart(seed: int) -> None:
    x = rows(seed, 1, 20)[0].tolist()
    assert not repeats([x, x[:-1]]).any()
    assert marked([x, x, x], apart=["a", "b", "a"]).tolist() == [False, False, True]


def test_a_template_with_slots_is_compared_in_seconds(seed: int) -> None:
    """The slow case: all texts share all but a few places of one part."""
    x = np.tile(rows(seed, 1)[0], (2000, 1))
    x[:, 0:32:5] = rows(seed, 2000, 7)
    assert not marked(x).any()


def test_of_texts_that_say_nothing_one_stays() -> None:
    assert mostly(np.array([0.5, 0.51, 0.0, 1.0, 0.9])).tolist() == [False, False, False, True, True]
    assert not mostly(np.zeros(3)).any()
    assert mostly(np.zeros(0)).shape == (0,)
