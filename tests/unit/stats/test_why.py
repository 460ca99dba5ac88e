"""The verdict from four cells: its rules, its thresholds, its units, and when it keeps quiet."""

import numpy as np
import pytest

from laminar_lens.errors import InputError
from laminar_lens.stats.why import why
from laminar_lens.stats.why_effects import EFFECTS, cause, effects

TAU = 0.05


def cells(
    n: int, e11: list[float], e10: list[float], e01: list[float], *, sd: float = 0.05, seed: int = 0
) -> dict[str, np.ndarray]:
    """Effects of texts whose cells have these differences [layer], with scatter of their own."""
    rng = np.random.default_rng(seed)
    shift = np.array([np.zeros(len(e11)), e10, e01, e11])

    def scatter() -> np.ndarray:
        return 1.2 + sd * rng.standard_normal((4, n, len(e11)))

    return effects(shift[:, None] + scatter(), scatter(), scatter()[0])


@pytest.mark.parametrize(
    ("e10", "e01", "verdict"),
    [
        (0.0, 0.3, "position"),
        (0.3, 0.0, "context"),
        (0.3, 0.3, "either"),
        (0.0, 0.0, "jointly"),
        (0.1, 0.1, "jointly"),
        (0.2, 0.2, "either"),
        (-0.3, 0.5, "position"),
        (0.15, 0.0, "undetermined"),
        (0.3, 0.15, "undetermined"),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_verdict_follows_the_rules_in_either_direction(
    e10: float, e01: float, verdict: str, sign: int
) -> None:
    x = cells(200, [0.0, sign * 0.3, sign * 0.3], [0.0, sign * e10, sign * e10], [0, sign * e01, sign * e01])
    answer = why(x, tau=TAU)
    assert answer.verdict == verdict
    word = "wider" if sign > 0 else "narrower"
    assert answer.signs == ("none", word, word)
    assert answer.verdicts[0] == "none"
    assert set(answer.verdicts[1:]) == {verdict}
    assert [(one.layers, one.sign) for one in answer.found] == [((1, 2), word)]
    size = answer.found[0].effects["E11"]
    assert size.low <= sign * 0.3 <= size.high


def test_the_first_pair_s_excess_is_t_plus_e11_in_every_text() -> None:
    rng = np.random.default_rng(1)
    first, body, reference = rng.random((4, 30, 2)), rng.random((4, 30, 2)), rng.random((30, 2))
    x = effects(first, body, reference)
    assert set(x) == set(EFFECTS)
    np.testing.assert_allclose(x["excess"], x["T"] + x["E11"])
    np.testing.assert_allclose(x["excess"], first[3] - reference)
    np.testing.assert_allclose(x["E11"], x["E10"] + x["E01"] + x["interaction"], atol=1e-12)
    np.testing.assert_allclose(x["token_x_place"], x["E11"] - (body[3] - body[0]))


def test_none_needs_every_layer_inside_and_texts_enough() -> None:
    assert why(cells(160, [0.0, 0.02], [0, 0], [0, 0]), tau=TAU).verdict == "none"
    assert why(cells(160, [0.0, 0.05], [0, 0], [0, 0]), tau=TAU).verdict == "undetermined"
    few = why(cells(149, [0.0, 0.02], [0, 0], [0, 0]), tau=TAU)
    assert few.verdict == "undetermined"
    assert few.verdicts == ("undetermined", "undetermined")
    assert "149 independent texts" in few.reason


def test_a_token_s_own_part_is_no_cause() -> None:
    x = cells(200, [0.0, 0.0], [0.0, 0.0], [0.0, 0.0])
    x["T"] += 0.4
    x["excess"] += 0.4
    answer = why(x, tau=TAU)
    assert answer.verdict == "none"
    assert (answer.bands["T"].low > TAU).all()


def test_layer_0_decides_only_where_nothing_else_stands_apart() -> None:
    x = cells(200, [-0.4, -0.2, -0.2], [0, -0.2, -0.2], [-0.4, 0, 0])
    answer = why(x, tau=TAU, control=0)
    assert (answer.verdict, answer.found[0].layers) == ("context", (1, 2))
    assert answer.verdicts == ("position", "context", "context")
    alone = why(cells(200, [-0.4, 0.0], [0, 0], [-0.4, 0]), tau=TAU, control=0)
    assert (alone.verdict, alone.found[0].layers) == ("position", (0,))
    other_way = why(cells(200, [0.4, -0.2, 0], [0, -0.2, 0], [0.4, 0, 0]), tau=TAU, control=0)
    assert (other_way.verdict, other_way.found[0].layers) == ("context", (1,))


def test_two_directions_with_one_cause_and_with_two() -> None:
    same = why(cells(200, [0.3, -0.3], [0.3, -0.3], [0, 0]), tau=TAU)
    assert (same.verdict, same.sign, len(same.found)) == ("context", "mixed", 2)
    other = why(cells(200, [0.4, -0.3], [0.4, 0], [0, -0.3]), tau=TAU)
    assert other.verdict == "undetermined"
    assert [one.verdict for one in other.found] == ["context", "position"]
    assert "other causes" in other.reason


def test_without_positions_context_is_the_only_cause() -> None:
    x = cells(200, [0.3, 0.0], [0.3, 0.0], [np.nan, np.nan])
    answer = why(x, tau=TAU, has_positions=False)
    assert answer.verdict == "context"
    assert answer.verdicts == ("context", "none")
    assert np.isnan(answer.intervals["E01"].estimate).all()
    assert np.isnan(answer.bands["interaction"].estimate).all()
    assert set(answer.found[0].effects) == {"E11", "E10", "E01"}


def test_intervals_and_verdicts_are_withheld_where_there_are_few() -> None:
    answer = why(cells(30, [0.3], [0.3], [0.0]), tau=TAU)
    assert np.isnan(answer.bands["E11"].low).all()
    assert np.isfinite(answer.intervals["E11"].low).all()
    assert (answer.verdict, answer.verdicts) == ("undetermined", ("undetermined",))
    assert "30 observations" in answer.reason
    assert np.isnan(why(cells(10, [0.3], [0.3], [0.0]), tau=TAU).intervals["E11"].low).all()


def test_groups_and_units_are_observations() -> None:
    x = cells(200, [0.3], [0.3], [0.0])
    doubled = {name: np.repeat(values, 4, axis=0) for name, values in x.items()}
    groups = np.repeat(np.arange(200), 4)
    once, again = why(x, tau=TAU), why(doubled, tau=TAU, groups=groups)
    np.testing.assert_allclose(once.bands["E11"].low, again.bands["E11"].low)
    assert (again.n, again.n_independent) == (200, 200)
    paired = why(x, tau=TAU, units=np.arange(200) // 2)
    assert (paired.n, paired.n_independent) == (100, 200)
    with pytest.raises(InputError, match="different units"):
        why(x, tau=TAU, groups=np.zeros(200), units=np.arange(200) // 2)
    with pytest.raises(InputError, match="one label for each of the 200 texts"):
        why(x, tau=TAU, groups=np.zeros(3))


def test_cause_is_undetermined_at_every_crossing() -> None:
    yes, no, across, missing = (0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (np.nan, np.nan)
    big = (0.1, 0.2)
    assert cause([big, yes, no], TAU) == "position"
    assert cause([big, no, yes], TAU) == "context"
    for bounds in ([across, yes, no], [missing, yes, no], [big, across, no], [big, yes, across]):
        assert cause(bounds, TAU) == "undetermined"
    assert cause([big, missing, missing], TAU, has_positions=False) == "context"
    assert cause([across, missing, missing], TAU, has_positions=False) == "undetermined"
