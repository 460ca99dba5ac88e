"""Claims answered on invented angles whose truth is known: each rule in each direction."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from laminar_lens.results import label_dataset
from laminar_lens.stats.mixture import TwoModes
from laminar_lens.studies.claim import Claim, worded
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.sequential import mode_claims
from laminar_lens.studies.sequential.answer import _baseline_statistics, _mode_statistics, _target_statistics
from laminar_lens.studies.sequential.beside import said_by
from laminar_lens.studies.sequential.claims import (
    TEXTS,
    alike_claim,
    fan_out_claim,
    rotation_claim,
    sentence,
    steadiness_claim,
)
from laminar_lens.studies.sequential.comparison import Baseline, compare, quantile
from laminar_lens.studies.sequential.mode_claims import attribution_claim, mean_claim, modes_claim
from laminar_lens.studies.warmup.result import WarmupResult

LAYERS = list(range(9))
N = 54


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def angles(rng: np.random.Generator, mean: float = 1.2, sd: Any = 0.1, n: int = N) -> np.ndarray:
    return mean + np.asarray(sd) * rng.normal(size=(len(LAYERS), n))


def baseline(
    rng: np.random.Generator,
    name: str = "published",
    *,
    n: int = N,
    n_draws: int = 20,
    upper: float = 2.75,
    sd: float = 0.1,
    n_first: int = 18,
    target: np.ndarray | None = None,
) -> Baseline:
    """Angles around 1.25 rad, `upper` where the pair contains position 0: in `n_first` texts of draw 0."""
    pairs = np.stack(
        [np.sort(rng.permuted(np.tile(np.arange(1, 9), (n, 1)), axis=1)[:, :2]) for _ in range(n_draws)]
    )
    pairs[0, :n_first, 0] = 0
    first = (pairs == 0).any(axis=-1).T
    angle = np.where(first, upper, 1.25) + sd * rng.normal(size=(len(LAYERS), n, n_draws))
    aimed = angles(rng, n=n) if target is None else target
    places = np.tile([3, 4], (n, 1))
    return compare(aimed, places, name, angle, pairs, LAYERS, n_perm=499, seed=0)


def described(found: Baseline, single: np.ndarray) -> Baseline:
    """The same, with these single draws and modes 1.25 ± 0.1 and 2.75 ± 0.1 rad in every layer."""
    modes = TwoModes(
        has_two=True,
        means=(1.25, 2.75),
        sds=(0.1, 0.1),
        weights=(0.5, 0.5),
        delta_bic=50.0,
        ashman_d=15.0,
        valley_ratio=0.0,
        p_one_mode=0.003,
        reason="",
        upper=single[0] > 2,
        n=single.shape[1],
    )
    angle = found.angle.copy()
    angle[:, :, 0] = single
    return replace(found, angle=angle, modes=[modes] * len(LAYERS))


def kept_warmup(answer: xr.Dataset, sentence: str = "Synthetic.") -> WarmupResult:
    how: dict[str, Any] = {"provenance": {}, "settings": {}}
    return WarmupResult(label_dataset(answer, study="warmup", sentence=sentence, **how))


def said_of(found: Baseline, warmup: Any = None, **claims: Claim) -> str:
    open_ones = {name: Claim("undetermined", unit="times") for name in ("C1", "C3")}
    of_baseline = {"C4": modes_claim(LAYERS, found), "C5": attribution_claim(LAYERS, found)}
    return sentence(LAYERS, found, warmup, open_ones | of_baseline | claims)


TARGET = (
    "Whether the angle at the target is much wider than the target's rotation between layers is "
    "undetermined; whether it varies less over prompts than that of unrelated pairs is undetermined."
)


class TestRotation:
    def test_holds_fails_undetermined(self, rng: np.random.Generator) -> None:
        target = angles(rng)
        holds = rotation_claim(LAYERS, target, target / 8 * np.exp(0.1 * rng.normal(size=target.shape)), 0)
        assert holds.verdict == "holds"
        assert holds.low < holds.estimate < holds.high
        assert abs(holds.estimate - 8) < 0.2
        assert rotation_claim(LAYERS, target, target / 1.2, 0).verdict == "fails"
        at_threshold = target / 2 * np.exp(0.3 * rng.normal(size=target.shape))
        assert rotation_claim(LAYERS, target, at_threshold, 0).verdict == "undetermined"

    def test_layer_0_has_no_rotation_and_few_texts_decide_nothing(self, rng: np.random.Generator) -> None:
        target = angles(rng)
        rotation = target / 8
        rotation[0] = np.nan
        claim = rotation_claim(LAYERS, target, rotation, 0)
        assert claim.verdict == "holds"
        assert "layers 1–8" in claim.evidence
        few = rotation_claim(LAYERS, target[:, :6], rotation[:, :6], 0)
        assert few.verdict == "undetermined"
        assert "withheld" in few.evidence
        assert rotation_claim([0], target[:1], rotation[:1], 0).verdict == "undetermined"

    @pytest.mark.parametrize(("ratio", "verdict"), [(2.0, "undetermined"), (1.2, "fails")])
    def test_four_layers_of_nine_do_not_decide_however_wide_they_are(
        self, rng: np.random.Generator, ratio: float, verdict: str
    ) -> None:
        target = angles(rng)
        turned = np.where(np.arange(len(LAYERS)) < 4, 100.0, ratio)[:, None]
        noise = 0.2 * rng.normal(size=target.shape)
        rotation = target / turned * np.exp(noise - noise.mean(axis=1, keepdims=True))
        claim = rotation_claim(LAYERS, target, rotation, 0)
        assert claim.low > 2
        assert claim.verdict == verdict


class TestFanOut:
    def test_holds_fails_undetermined(self, rng: np.random.Generator) -> None:
        wider = np.linspace(0.05, 0.6, len(LAYERS))[:, None]
        assert fan_out_claim(LAYERS, angles(rng, sd=wider), 0).verdict == "holds"
        same = angles(rng, sd=0.01)
        assert fan_out_claim(LAYERS, same, 0).verdict == "fails"
        narrower = fan_out_claim(LAYERS, angles(rng, sd=wider[::-1]), 0)
        assert narrower.verdict == "fails"
        assert narrower.high < 0
        assert fan_out_claim(LAYERS, angles(rng, sd=0.4), 0).verdict == "undetermined"
        assert fan_out_claim([0, 1], same[:2], 0).verdict == "undetermined"

    def test_a_change_that_may_be_below_the_threshold_does_not_hold(self, rng: np.random.Generator) -> None:
        text = rng.normal(size=60)
        change = np.linspace(0.05, 0.05 + 0.054 / 1.349, 5)[:, None]  # the IQR grows by about 0.06 rad
        steady = 1.2 + np.concatenate([np.full((4, 1), 0.05), change]) * text
        claim = fan_out_claim(LAYERS, steady, 0)
        assert 0 < claim.low < 0.05 < claim.high
        assert claim.verdict == "undetermined"


class TestSteadiness:
    def answer(self, rng: np.random.Generator, sd: float) -> Any:
        text = rng.normal(size=N)  # a text's own angle, the same in all layers
        target = 1.2 + sd * text + 0.01 * rng.normal(size=(len(LAYERS), N))
        found = {}
        for name in ("published", "adjacent", "matched"):
            made = baseline(rng, name, n_first=0, target=target)
            other = 1.25 + 0.2 * rng.normal(size=(1, N, 20)) + 0.01 * rng.normal(size=(len(LAYERS), N, 20))
            found[name] = compare(
                target, np.tile([3, 4], (N, 1)), name, other, made.pairs, LAYERS, n_perm=99, seed=0
            )
        return steadiness_claim(target, found, 0)

    def test_holds_fails_undetermined(self, rng: np.random.Generator) -> None:
        holds = self.answer(rng, 0.05)
        assert (holds.verdict, holds.high < 1) == ("holds", True)
        fails = self.answer(rng, 0.6)
        assert (fails.verdict, fails.low > 1) == ("fails", True)
        assert self.answer(rng, 0.2).verdict == "undetermined"

    def test_one_baseline_is_not_three(self, rng: np.random.Generator) -> None:
        target = angles(rng, sd=0.02)
        claim = steadiness_claim(target, {"matched": baseline(rng, "matched", n_first=0, sd=0.5)}, 0)
        assert claim.high < 1
        assert claim.verdict == "undetermined"

    def test_a_split_baseline_is_taken_without_the_position_that_splits_it(
        self, rng: np.random.Generator
    ) -> None:
        claim = steadiness_claim(angles(rng), {"published": baseline(rng)}, 0)
        assert "published (without position 0)" in claim.evidence
        assert claim.estimate > 0.5
        assert claim.verdict != "holds"  # adjacent and matched are not there


class TestModes:
    def test_the_published_picture(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        modes = modes_claim(LAYERS, found)
        assert modes.verdict == "holds"
        assert modes.estimate == pytest.approx(1.5, abs=0.05)
        assert np.isnan([modes.low, modes.high]).all()
        assert "interval is withheld" in modes.evidence
        exact = attribution_claim(LAYERS, found)
        assert exact.verdict == "holds"
        assert exact.estimate == 1
        mixed = mean_claim(LAYERS, found, 0)
        assert mixed.verdict == "undetermined"  # the median of so small an upper mode lies in the lower one
        assert mixed.low < 0.5 < mixed.high
        assert "the mean is more than 2 sd from both modes in layers 0–8" in mixed.evidence
        assert "the median is more than 2 sd from both modes in no layer" in mixed.evidence
        assert "move the mean by +0.5" in mixed.evidence
        assert "the median by +0." in mixed.evidence

    def test_modes_elsewhere(self, rng: np.random.Generator) -> None:
        assert modes_claim(LAYERS, baseline(rng, upper=2.0)).verdict == "fails"

    def test_one_mode(self, rng: np.random.Generator) -> None:
        found = baseline(rng, upper=1.25)
        modes = modes_claim(LAYERS, found)
        assert (modes.verdict, modes.estimate, modes.unit) == ("fails", 0, "share")
        assert 0 < modes.high < 18 / 54
        assert attribution_claim(LAYERS, found).verdict == "undetermined"
        mixed = mean_claim(LAYERS, found, 0)
        assert mixed.verdict == "fails"
        assert "one group in every layer" in mixed.evidence

    def test_two_modes_that_could_not_be_seen_are_not_denied(self, rng: np.random.Generator) -> None:
        found = baseline(rng, n=20, n_first=2)
        assert not any(modes.has_two for modes in found.modes)
        mixed = mean_claim(LAYERS, found, 0)
        assert modes_claim(LAYERS, found).verdict == mixed.verdict == "undetermined"
        assert "an upper one could hide" in mixed.evidence
        said = said_of(found)
        assert "a small upper group could hide; 50 prompts would show one." in said
        assert "one group" not in said
        for part in (mixed.evidence, modes_claim(LAYERS, found).evidence):
            assert "one group" not in part

    @pytest.mark.parametrize(
        ("n", "n_first", "upper", "said", "needed"),
        [
            (54, 18, 2.75, "two", 20),
            (54, 18, 1.25, "one", 20),
            (12, 4, 1.25, "undetermined", 20),
            (40, 4, 1.25, "undetermined", 50),  # of 40 with such a share, too few would be in the upper group
            (54, 0, 1.25, "one", 20),
        ],
    )
    def test_one_group_is_said_only_where_another_would_have_shown(
        self, rng: np.random.Generator, n: int, n_first: int, upper: float, said: str, needed: int
    ) -> None:
        found = baseline(rng, n=n, n_first=n_first, upper=upper)
        verdict = _mode_statistics(found, 0)["mode_verdict"]
        assert verdict.attrs["prompts_needed"] == needed
        assert (verdict.values == said).all()

    def test_two_modes_in_fewer_than_a_third_of_the_layers(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        one = baseline(rng, upper=1.25).modes[0]
        for count, verdict in ((2, "undetermined"), (3, "holds")):
            modes = [*found.modes[:count], *[one] * (len(LAYERS) - count)]
            assert modes_claim(LAYERS, replace(found, modes=modes)).verdict == verdict

    def test_no_pair_with_position_0_settles_nothing_about_the_upper_mode(
        self, rng: np.random.Generator
    ) -> None:
        found = baseline(rng, n_first=0)
        assert modes_claim(LAYERS, found).verdict == "undetermined"
        assert "no pair of this draw contains position 0" in mean_claim(LAYERS, found, 0).evidence

    def test_few_texts(self, rng: np.random.Generator) -> None:
        found = baseline(rng, n=12, n_first=4)
        claims = (modes_claim(LAYERS, found), attribution_claim(LAYERS, found), mean_claim(LAYERS, found, 0))
        assert {claim.verdict for claim in claims} == {"undetermined"}
        assert "below 20" in claims[0].evidence

    def test_an_upper_mode_that_is_another_position_s(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        moved = np.where(found.pairs == 0, 9, found.pairs)[..., ::-1]
        other = compare(angles(rng), moved[0], "published", found.angle, moved, LAYERS, n_perm=99, seed=0)
        assert attribution_claim(LAYERS, other).verdict == "fails"

    def test_an_upper_mode_that_no_position_explains_settles_nothing(self, rng: np.random.Generator) -> None:
        found = baseline(rng, n=20, n_first=4)
        unexplained = [replace(a, position=None) for a in found.attribution if a is not None]
        assert len(unexplained) == len(LAYERS)
        assert attribution_claim(LAYERS, replace(found, attribution=unexplained)).verdict == "undetermined"

    def test_the_worse_of_precision_and_recall_counts(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        more = [replace(m, upper=m.upper | (np.arange(N) < 36)) for m in found.modes]
        claim = attribution_claim(LAYERS, replace(found, modes=more))
        assert claim.verdict == "fails"
        assert claim.estimate == pytest.approx(0.5)  # recall; precision is 1

    @pytest.mark.parametrize(
        ("low", "middle", "verdict"),
        [
            (160, 80, "holds"),  # mean and median at 2.0
            (390, 0, "fails"),  # both at the lower mode
            (260, 0, "undetermined"),  # the median in the lower mode, the mean in none
        ],
    )
    def test_mean_and_median_are_both_asked(
        self, rng: np.random.Generator, low: int, middle: int, verdict: str
    ) -> None:
        centres = np.repeat([1.25, 2.0, 2.75], [low, middle, 400 - low - middle])
        single = centres + 0.02 * rng.normal(size=(len(LAYERS), 400))
        found = described(baseline(rng, n=400, n_draws=2), single)
        claim = mean_claim(LAYERS, found, 0)
        assert claim.verdict == verdict
        assert "; the median is" in claim.evidence

    def test_layers_are_counted_by_simultaneous_intervals(self, rng: np.random.Generator) -> None:
        noise = rng.normal(size=N)
        noise = (noise - noise.mean()) / noise.std(ddof=1)
        # 2.3 standard errors beyond the reach of the lower mode: outside by a pointwise interval only
        single = 1.45 + 2.3 * 0.3 / N**0.5 + 0.3 * np.stack([np.roll(noise, 6 * k) for k in LAYERS])
        claim = mean_claim(LAYERS, described(baseline(rng), single), 0)
        assert "the mean is more than 2 sd from both modes in no layer" in claim.evidence

    def test_below_the_texts_of_a_band_the_reason_is_given(self, rng: np.random.Generator) -> None:
        claim = mean_claim(LAYERS, baseline(rng, n=24, n_first=9), 0)
        assert claim.verdict == "undetermined"
        assert "24 texts" in claim.evidence

    def test_thresholds_are_in_the_documentation(self) -> None:
        from laminar_lens.studies.sequential import claims

        for name in ("WIDER", "FAN_OUT", "FROM"):
            assert f"`{name}`" in str(claims.__doc__)
            assert isinstance(getattr(claims, name), int | float)
        for name in ("SHARE", "MODES", "EXACT", "LOOSE", "APART"):
            assert f"`{name}`" in str(claims.__doc__)
            assert hasattr(mode_claims, name)


class TestAlike:
    @pytest.mark.parametrize(
        ("verdict", "k_lo", "k_hi", "answer"),
        [
            ("exact", 1, 1, "holds"),
            ("bracketed", 0, 2, "holds"),
            ("bracketed", 1, 3, "undetermined"),
            ("undetermined", 1, None, "undetermined"),
            ("bracketed", 3, 5, "fails"),
            ("exact", 4, 4, "fails"),
            ("drift", None, None, "fails"),
        ],
    )
    def test_reads_the_warm_up(self, verdict: str, k_lo: int | None, k_hi: int | None, answer: str) -> None:
        delta = np.zeros((2, 10))
        delta[1, 1], delta[0, 8] = -0.06, 0.3  # pair 8 belongs to the reference window
        numbers = {"k_lo": k_lo, "k_hi": k_hi, "skip": k_hi, "n_needed": None}
        found = {name: -1 if k is None else k for name, k in numbers.items()}
        attrs = {"tau": 0.05, "reference_start": 7, "verdict": verdict, **found}
        claim = alike_claim(
            said_by(kept_warmup(xr.Dataset({"delta": (("layer", "pair"), delta)}, attrs=attrs)))
        )
        assert (claim.verdict, claim.estimate, claim.unit) == (answer, 2, "tokens")
        assert (
            np.array_equal([claim.low, claim.high], [k_lo or np.nan, k_hi or np.nan], equal_nan=True)
            or k_lo == 0
        )

    def test_left_out(self) -> None:
        claim = alike_claim(None)
        assert claim.verdict == "undetermined"
        assert claim.evidence == "The warm-up part was left out."


class TestComparison:
    def test_the_mean_is_over_draws(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        assert np.allclose(found.mean.estimate, found.angle.mean(axis=(1, 2)))
        assert not np.allclose(found.mean.estimate, found.angle[:, :, 0].mean(axis=1), atol=0.1)

    @pytest.mark.parametrize("n", [19, 20])
    def test_where_two_modes_are_not_sought_no_difference_is_tested(
        self, rng: np.random.Generator, n: int
    ) -> None:
        found = baseline(rng, n=n, n_first=0)
        assert (found.difference.flip is None) == (found.difference.band is None) == (n < 20)
        assert ("not run: 19 texts, too few to look for two modes" in found.difference.note) == (n < 20)

    def test_nor_is_what_is_left_without_the_position(self, rng: np.random.Generator) -> None:
        found = baseline(rng, n=24, n_first=8, n_draws=1)
        assert found.stratified.flip is None
        assert "not run: 16 texts" in found.stratified.note

    def test_target_pairs_at_the_position_are_left_out_too(self, rng: np.random.Generator) -> None:
        found, places = baseline(rng), np.tile([3, 4], (N, 1))
        places[:7] = (0, 1)
        again = compare(angles(rng), places, "published", found.angle, found.pairs, LAYERS, n_perm=99, seed=0)
        assert again.stratified.band is not None
        assert again.stratified.band.n == N - 7

    def test_two_modes_that_remain_without_the_position_stop_the_test(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        angle = found.angle.copy()
        angle[5:] = 1.25 + 0.1 * rng.normal(size=angle[5:].shape)
        angle[5:, rng.permutation(N)[:20]] += 1.5  # whole texts, whatever their pairs
        both = compare(
            angles(rng), np.tile([3, 4], (N, 1)), "published", angle, found.pairs, LAYERS, n_perm=99, seed=0
        )
        assert both.stratified.band is None
        assert both.stratified.note == "two modes remain without position 0"

    def test_two_modes_stop_the_test_and_the_rest_is_tested_without_the_position(
        self, rng: np.random.Generator
    ) -> None:
        found = baseline(rng)
        assert found.difference.band is None
        assert "two modes in layers 0–8" in found.difference.note
        assert found.stratified.band is not None
        assert np.allclose(found.stratified.band.estimate, -0.05, atol=0.06)
        assert found.stratified.flip is not None

    def test_one_mode_is_tested_as_it_is(self, rng: np.random.Generator) -> None:
        found = baseline(rng, n_first=0, target=angles(rng, mean=1.0))
        assert found.difference.note == ""
        assert found.difference.flip is not None
        assert found.difference.flip.p_overall == 1 / 500
        assert found.difference.band is not None
        assert (found.difference.band.high < 0).all()
        assert found.stratified.band is None

    def test_texts_without_a_pair_are_left_out(self, rng: np.random.Generator) -> None:
        full = baseline(rng, n_first=0)
        angle, pairs = full.angle.copy(), full.pairs.copy()
        angle[:, :5], pairs[:, :5] = np.nan, -1
        part = compare(angles(rng), pairs[0], "published", angle, pairs, LAYERS, n_perm=99, seed=0)
        assert part.mean.n == N - 5
        kept = compare(
            angles(rng)[:, 5:],
            pairs[0, 5:],
            "published",
            angle[:, 5:],
            pairs[:, 5:],
            LAYERS,
            n_perm=99,
            seed=0,
        )
        assert np.allclose(part.median, kept.median)
        assert np.allclose(part.iqr, kept.iqr)

    def test_quantile_with_holes(self) -> None:
        x = np.array([[1.0, 2.0, 3.0, np.nan], [np.nan, 5.0, 7.0, np.nan], [np.nan] * 4])
        assert np.allclose(quantile(x, 0.5), [2, 6, np.nan], equal_nan=True)


class TestDataset:
    def test_the_reason_for_a_missing_interval_reaches_the_result(self, rng: np.random.Generator) -> None:
        found = baseline(rng, n=24, n_first=0)
        made = _baseline_statistics(LAYERS, {"published": found})
        assert np.isfinite(made["difference"].values[0]).all()
        assert np.isnan(made["difference_low"].values).all()
        for end in ("low", "high"):
            assert "24 texts" in made[f"difference_{end}"].attrs["withheld"]
            assert "withheld" not in made[f"baseline_{end}"].attrs
        assert "24 texts" in made["difference_note"].values[0]
        assert "no such baseline" in made["difference_note"].values[1]
        few = baseline(rng, n=12, n_first=0)
        two = _baseline_statistics(LAYERS, {"published": found, "adjacent": few})
        assert two["baseline_low"].attrs["withheld"].startswith("adjacent: interval withheld: 12 texts")
        shift = _mode_statistics(few, 0)["first_shift_mean_low"]
        assert shift.attrs["withheld"] == "no pair contains position 0"
        angle = xr.Variable(("layer", "prompt"), angles(rng, n=12))
        target = _target_statistics({"target_angle": angle, "target_rotation": angle}, 0)
        for name in ("target_low", "target_iqr_low", "rotation_low"):
            assert "12 texts" in target[name].attrs["withheld"]
        assert "withheld" not in target["target_mean"].attrs

    def test_the_stratified_comparison_keeps_its_note(self, rng: np.random.Generator) -> None:
        found = baseline(rng, n=24, n_first=8, n_draws=1)
        made = _baseline_statistics(LAYERS, {"published": found})
        assert made["stratified_difference_note"].values[0] == found.stratified.note != ""
        assert made["stratified_difference_low"].attrs["withheld"] == found.stratified.note

    def test_an_upper_group_moves_the_median_up(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        moved = _mode_statistics(found, 0)["first_shift_median"].values
        single = found.angle[:, :, 0]
        assert np.allclose(moved, np.median(single, axis=1) - np.median(single[:, 18:], axis=1))
        assert (moved > 0).all()


def test_layers_are_named() -> None:
    assert named_layers([]) == "no layer"
    assert named_layers([3, 1, 2, 7]) == "layers 1–3 and 7"
    assert named_layers([1, 3, 5]) == "layers 1, 3 and 5"


class TestSentence:
    def make(self, found: Baseline, warmup: Any = None) -> str:
        return said_of(found, warmup)

    def test_says_what_to_leave_out_and_how_the_baseline_splits(self, rng: np.random.Generator) -> None:
        said = self.make(baseline(rng), kept_warmup(xr.Dataset(), "Leave out 1 token."))
        assert said.startswith(
            f"Leave out 1 token. {TARGET} The published baseline splits in two in layers 0–8"
        )
        assert "; the upper group is the pairs with position 0 (agreement 1.00 [" in said
        assert "does not split" in self.make(baseline(rng, upper=1.25))
        few = self.make(baseline(rng, n=12, n_first=4))
        assert few.startswith(
            f"{TARGET} Undetermined whether the published baseline splits in two: there were 12 prompts, 20"
        )
        assert self.make(baseline(rng)).endswith("How many tokens to leave out was not measured.")

    @pytest.mark.parametrize(
        ("verdict", "wide", "steady"),
        [
            ("holds", "The angle at the target is much wider than", "it varies less over"),
            ("fails", "The angle at the target is not much wider than", "it does not vary less over"),
            ("undetermined", "Whether the angle at the target is much wider than", "whether it varies less"),
        ],
    )
    def test_the_target_is_what_c1_and_c3_say(
        self, verdict: Any, wide: str, steady: str, rng: np.random.Generator
    ) -> None:
        found = baseline(rng)
        said = said_of(found, C1=Claim(verdict, 2.5, 2.25, 2.75, "times"))
        assert said.startswith(wide)
        assert " (2.50 [2.25, 2.75] times); whether it varies less" in said
        said = said_of(found, C3=Claim(verdict, 0.5, np.nan, np.nan, "times"))
        assert f" is undetermined; {steady}" in said
        assert said.startswith("Whether the angle at the target is much wider")

    def test_the_upper_group_is_what_c5_says(self, rng: np.random.Generator) -> None:
        found = baseline(rng)
        for verdict, words in (
            ("holds", "; the upper group is the pairs with position 0 (agreement"),
            ("fails", "; the upper group is not exactly the pairs with position 0 (agreement"),
            ("undetermined", "; whether the upper group is the pairs with position 0 is undetermined ("),
        ):
            upper = replace(attribution_claim(LAYERS, found), verdict=verdict)
            assert words in said_of(found, C5=upper)
        moved = np.where(found.pairs == 0, 9, found.pairs)[..., ::-1]
        other = compare(angles(rng), moved[0], "published", found.angle, moved, LAYERS, n_perm=99, seed=0)
        assert "not exactly the pairs with position 0 (agreement 0.000 [0.000, " in said_of(other)
        assert said_of(other).split(" How")[0].endswith("; position 9 explains it.")


def test_an_undetermined_claim_says_why(rng: np.random.Generator) -> None:
    few, target = baseline(rng, n=12, n_first=4), angles(rng)
    three = {name: baseline(rng, name, n_first=0) for name in ("published", "adjacent", "matched")}
    claims = {
        "C1": rotation_claim(LAYERS, target, target / 2 * np.exp(0.3 * rng.normal(size=target.shape)), 0),
        "C2": fan_out_claim(LAYERS, target[:, :12], 0),
        "C3": steadiness_claim(target, three, 0),
        "C4": modes_claim(LAYERS, few),
        "C5": attribution_claim(LAYERS, few),
        "C6": mean_claim(LAYERS, few, 0),
    }
    claims |= {"C7": alike_claim(None)}
    for name, claim in worded(claims, TEXTS).items():
        assert (claim.reason != "") == (claim.verdict == "undetermined"), name
        assert claim.verdict == "undetermined", name
        assert claim.reason.endswith("."), name


def test_every_claim_has_its_published_text() -> None:
    assert list(TEXTS) == [f"C{k}" for k in range(1, 8)]
