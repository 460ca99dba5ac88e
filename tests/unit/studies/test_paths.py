"""The path study: planted trajectories are measured as they are, and its correlations keep their promises."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import laminar_lens as ll
from laminar_lens.errors import InputError, LaminarLensError, ModelError
from laminar_lens.studies.paths import answer as answers
from laminar_lens.studies.paths.correlations import by_text, ranks
from laminar_lens.studies.paths.logits import check_unembeds, next_token
from tests.said import reading
from tests.validate import paths as validation
from tests.validate.paths import expected, measurement

answer = reading("paths", answers.answer)

N, LENGTH, WIDTH = 6, 10, 32
NEAR = 1e-6

Trajectory = Callable[[int, int], np.ndarray]
"""Called as (layer, position): the vector, [d_model]."""


@pytest.fixture(params=["tiny_gpt2", "tiny_llama"])
def model(request: pytest.FixtureRequest) -> Any:
    return ll.load_model(str(request.getfixturevalue(request.param)))


def tokens_of(n: int = N, length: int = LENGTH) -> torch.Tensor:
    return torch.randint(1, 300, (n, length), generator=torch.Generator().manual_seed(3))


def planted(trajectory: Trajectory, n_layers: int = 3) -> list[Any]:
    """Interventions that put every vector where a trajectory has it."""

    def put(layer: int) -> Any:
        def there(value: torch.Tensor, hook: Any) -> torch.Tensor:
            rows = np.stack([trajectory(layer, pos) for pos in range(value.shape[1])])
            return torch.from_numpy(rows).to(value).expand_as(value).clone()

        return there

    points = ["blocks.0.hook_resid_pre", *(f"blocks.{k}.hook_resid_post" for k in range(n_layers))]
    return [ll.custom(f"layer {layer}", point, put(layer)) for layer, point in enumerate(points)]


def measured(model: Any, trajectory: Trajectory) -> xr.Dataset:
    changes = {"planted": planted(trajectory)}
    result = ll.path_study(model, tokens_of(), interventions=changes, n_perm=99)
    return result.condition("planted").dataset


def at(x: float, y: float) -> np.ndarray:
    vector = np.zeros(WIDTH)
    vector[3], vector[7] = x, y
    return vector


class TestPlanted:
    """Vectors that were put where they are."""

    def test_a_straight_line(self, model: Any) -> None:
        """Steps of 1, 2 and 3 away from where it began, at norms 4, 5, 7 and 10."""
        where = (4.0, 5.0, 7.0, 10.0)
        data = measured(model, lambda layer, pos: at(where[layer], 0.0))
        for which in ("every position", "without position 0"):
            part = data.sel(which=which)
            assert np.abs(part["step"].values - [1, 2, 3]).max() <= NEAR
            assert np.abs(part["path"].values - [1, 3, 6]).max() <= NEAR
            assert np.abs(part["displacement"].values - [1, 3, 6]).max() <= NEAR
            assert np.abs(part["tortuosity"].values - 1).max() <= NEAR
            assert np.abs(part["relative_step"].values - [1 / 4, 2 / 5, 3 / 7]).max() <= NEAR
            assert np.abs(part["growth"].values - [5 / 4, 7 / 5, 10 / 7]).max() <= NEAR
        middle = data["part_growth"].sel(part="middle blocks").values
        assert np.abs(middle - 7 / 5).max() <= NEAR
        every = data["part_growth"].sel(part="every block").values
        assert np.abs(every - (10 / 4) ** (1 / 3)).max() <= NEAR

    def test_a_quarter_of_a_circle(self, model: Any) -> None:
        """In three chords of 30°, for radius 2: 3·2·2·sin 15° long, √2·2 from where it began."""
        data = measured(
            model, lambda layer, pos: 2 * at(math.cos(layer * math.pi / 6), math.sin(layer * math.pi / 6))
        )
        part = data.sel(which="every position")
        chord = 4 * math.sin(math.pi / 12)
        assert np.abs(part["step"].values - chord).max() <= NEAR
        assert float(part["path"][-1]) == pytest.approx(3 * chord, abs=NEAR)
        assert float(part["displacement"][-1]) == pytest.approx(2 * math.sqrt(2), abs=NEAR)
        assert float(part["tortuosity"][-1]) == pytest.approx(3 * chord / (2 * math.sqrt(2)), abs=NEAR)
        assert np.abs(part["growth"].values - 1).max() <= NEAR

    def test_a_path_that_comes_back_is_no_number_of_times_as_long(self, model: Any) -> None:
        data = measured(
            model, lambda layer, pos: at(math.cos(layer * 2 * math.pi / 3), math.sin(layer * 2 * math.pi / 3))
        )
        part = data.sel(which="every position")
        assert np.isnan(part["tortuosity"].values[-1])
        assert np.isfinite(part["tortuosity"].values[:-1]).all()
        assert float(part["path"][-1]) == pytest.approx(3 * math.sqrt(3), abs=NEAR)

    def test_position_0_is_in_or_out(self, model: Any) -> None:
        data = measured(model, lambda layer, pos: at(1.0 + layer * (100.0 if pos == 0 else 1.0), 0.0))
        steps = data["step"].sel(layer=1)
        assert float(steps.sel(which="without position 0")) == pytest.approx(1, abs=NEAR)
        assert float(steps.sel(which="every position")) == pytest.approx(
            (100 + LENGTH - 1) / LENGTH, rel=1e-6
        )

    def test_what_begins_at_nothing_has_no_relative_step(self, model: Any) -> None:
        data = measured(model, lambda layer, pos: at(float(layer), 0.0))
        part = data.sel(which="every position")
        assert np.isnan(part["relative_step"].values[0])
        assert np.abs(part["relative_step"].values[1:] - [1, 1 / 2]).max() <= NEAR
        assert np.isnan(part["growth"].values[0])


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("final_norm", [False, True])
def test_it_is_what_a_loop_gives(tiny_gpt2: Path, bridge: bool | None, final_norm: bool) -> None:
    """Lengths from captured states in float64, predictions from the model's own logits; with a BOS."""
    model = ll.load_model(tiny_gpt2, bridge=bridge)
    tokens = tokens_of()
    result = ll.path_study(model, tokens, prepend_bos=True, final_norm=final_norm, n_perm=99)
    found = result.measured
    assert found is not None
    states = ll.capture_residuals(model, tokens, prepend_bos=True, final_norm=final_norm)
    x, ids = states.values.double().numpy(), states.tokens
    with torch.no_grad():
        logits = model(ids, return_type="logits").double()
    assert found["token_id"].values.tolist() == ids.tolist()
    for text in range(N):
        for pos in range(LENGTH + 1):
            way = 0.0
            for layer in range(1, 4):
                step = np.linalg.norm(x[layer, text, pos] - x[layer - 1, text, pos])
                away = np.linalg.norm(x[layer, text, pos] - x[0, text, pos])
                way += step
                assert found["step"].values[text, layer - 1, pos] == pytest.approx(step, rel=1e-5)
                assert found["displacement"].values[text, layer - 1, pos] == pytest.approx(away, rel=1e-5)
            if pos == LENGTH:
                assert np.isnan(found["logit"].values[text, pos])
                assert np.isnan(found["log_prob"].values[text, pos])
                continue
            following = int(ids[text, pos + 1])
            right = logits[text, pos]
            assert found["logit"].values[text, pos] == pytest.approx(float(right[following]), abs=1e-4)
            log_prob = float(right[following] - right.logsumexp(0))
            assert found["log_prob"].values[text, pos] == pytest.approx(log_prob, abs=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_no_distance(tiny_llama: Path, dtype: str) -> None:
    """Of the states as they are; a step and the first distance are one number."""
    model, tokens = ll.load_model(tiny_llama, dtype=dtype), tokens_of()
    found = ll.path_study(model, tokens, n_perm=9).measured
    assert found is not None
    x = ll.capture_residuals(model, tokens).values.double()
    away = (x[1:] - x[0]).norm(dim=-1).transpose(0, 1).numpy()
    np.testing.assert_allclose(found["displacement"].values, away, rtol=1e-5)
    np.testing.assert_allclose(found["step"].values[:, 0], found["displacement"].values[:, 0], rtol=1e-5)


class TestCorrelations:
    """Against scipy, and by hand."""

    def test_pearson_and_spearman_are_scipy_s(self) -> None:
        from scipy.stats import pearsonr, spearmanr

        rng = np.random.default_rng(0)
        x = rng.normal(size=(7, 13))
        y = np.round(0.5 * x + rng.normal(size=x.shape), 1)  # with ties
        for text in range(7):
            assert by_text(x, y)[text] == pytest.approx(pearsonr(x[text], y[text]).statistic, abs=1e-12)
            right = spearmanr(x[text], y[text]).statistic
            assert by_text(ranks(x), ranks(y))[text] == pytest.approx(right, abs=1e-12)

    def test_what_is_held_fixed_is_the_formula_of_one_and_of_two(self) -> None:
        rng = np.random.default_rng(1)
        x, y, u, v = rng.normal(size=(4, 5, 20))
        x, y = x + u, y + u - v
        for text in range(5):
            r = np.corrcoef([x[text], y[text], u[text], v[text]])
            one = (r[0, 1] - r[0, 2] * r[1, 2]) / math.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
            assert by_text(x, y, u[..., None])[text] == pytest.approx(one, abs=1e-12)
            p = np.linalg.inv(r)
            two = -p[0, 1] / math.sqrt(p[0, 0] * p[1, 1])
            assert by_text(x, y, np.stack([u, v], -1))[text] == pytest.approx(two, abs=1e-12)

    def test_what_is_not_defined_is_nan(self) -> None:
        x = np.arange(10.0)[None]
        assert np.isnan(by_text(x, np.full_like(x, 3.7))[0])
        assert np.isnan(by_text(x[:, :3], x[:, :3])[0])
        assert np.isnan(by_text(x, 2 * x + 1, x[..., None])[0]), "nothing is left of either"
        assert np.isnan(by_text(np.where(x == 4, np.nan, x), x)[0])
        assert by_text(x, -x)[0] == -1
        twice = np.stack([np.sin(x), np.sin(x)], -1)  # the same number twice is held fixed once
        assert by_text(x, x**2, twice)[0] == pytest.approx(by_text(x, x**2, np.sin(x)[..., None])[0])

    def test_a_frequency_that_does_not_vary_changes_nothing(self) -> None:
        rng = np.random.default_rng(2)
        x, y = rng.normal(size=(2, 4, 12))
        assert np.allclose(by_text(x, y, np.full((4, 12, 1), -7.3)), by_text(x, y))

    def test_frequencies_are_counted_without_the_bos(self) -> None:
        data = measurement(3, seed=0)
        tokens = np.array([[0, 5, 5, 7], [0, 5, 6, 6], [0, 7, 7, 7]])
        small = data.isel(pos=slice(0, 4)).assign(token_id=(("text", "pos"), tokens)).assign_attrs(bos=True)
        from laminar_lens.studies.measured import of_dataset
        from laminar_lens.studies.paths.facts import Facts
        from laminar_lens.studies.paths.measure import Measurement

        own, following = Facts(of_dataset(Measurement, small), 9, 0).frequencies
        assert own[0].tolist()[1:] == pytest.approx([math.log(3 / 9), math.log(3 / 9), math.log(4 / 9)])
        assert np.isnan(own[:, 0]).all()
        assert following[1].tolist()[:3] == pytest.approx([math.log(3 / 9), math.log(2 / 9), math.log(2 / 9)])
        assert np.isnan(following[:, -1]).all()

    def test_the_mean_of_r_in_short_texts(self) -> None:
        """The truth that coverage is checked against, by simulation."""
        rng = np.random.default_rng(3)
        x, y = rng.normal(size=(2, 40_000, 12))
        found = by_text(x, 0.4 * x + math.sqrt(0.84) * y).mean()
        assert expected(0.4, 12) == pytest.approx(found, abs=0.004)
        assert expected(0.0, 12) == 0


def test_every_correlation_is_scipy_s_of_its_numbers() -> None:
    """Both lengths, both predictions, both statistics, all that is held fixed; and pooled."""
    from scipy.stats import pearsonr, rankdata

    data = measurement(5, seed=11, rho=0.3, by_frequency=0.5)
    data["norm"] = data["norm"] * np.random.default_rng(0).uniform(0.5, 2, (5, 1, data.sizes["pos"]))
    data["log_prob"] = data["log_prob"] - np.random.default_rng(1).exponential(3, data["logit"].shape)
    found = answer(data, n_perm=9).data
    step, tokens = data["step"].values, data["token_id"].values
    lengths = {
        "path": step.sum(1),
        "relative path": (step / data["norm"].values[:, :-1]).sum(1),
    }
    frequency = np.log(np.bincount(tokens.ravel())[tokens] / tokens.size)

    def left(values: np.ndarray, fixed: list[np.ndarray]) -> np.ndarray:
        terms = np.stack([np.ones(len(values)), *fixed], axis=1)
        return np.asarray(values - terms @ np.linalg.lstsq(terms, values, rcond=None)[0])

    for length, x in lengths.items():
        for predicted in ("logit", "log_prob"):
            y = data[predicted].values
            for statistic, shape in (("pearson", np.asarray), ("spearman", rankdata)):
                of = {"length": length, "predicted": predicted, "statistic": statistic}
                right: dict[str, list[float]] = {}
                for text in range(5):
                    for held, part in (
                        ("every position", slice(0, -1)),
                        ("without position 0", slice(1, -1)),
                    ):
                        each = pearsonr(shape(x[text, part]), shape(y[text, part])).statistic
                        right.setdefault(held, []).append(each)
                    fixed = [shape(frequency[text, 1:-1]), shape(frequency[text, 2:])]
                    two = (left(shape(values[text, 1:-1]), fixed) for values in (x, y))
                    right.setdefault("token frequency held fixed", []).append(pearsonr(*two).statistic)
                for held, values in right.items():
                    one = found["correlation_by_text"].sel(**of, held=held).values
                    np.testing.assert_allclose(one, values, atol=1e-9, err_msg=f"{of} {held}")
                pooled = pearsonr(shape(x[:, :-1].ravel()), shape(y[:, :-1].ravel())).statistic
                assert float(found["correlation_pooled"].sel(**of)) == pytest.approx(pooled, abs=1e-9)
    relative = step / data["norm"].values[:, :-1]
    np.testing.assert_allclose(found["relative_step_by_text"], relative[:, :, 1:].mean(2), rtol=1e-9)


def test_growth_is_told_of_each_part() -> None:
    data = measurement(5, seed=12)
    norms = np.cumprod([1.0, 2.0, 1.1, 1.2, 5.0])[None, :, None] * np.ones((5, 1, data.sizes["pos"]))
    data["norm"] = (("text", "state", "pos"), norms)
    found = answer(data, n_perm=9).data["part_growth"].sel(which="without position 0")
    right = [2.0, math.sqrt(1.1 * 1.2), 5.0, (2 * 1.1 * 1.2 * 5) ** 0.25]
    np.testing.assert_allclose(found.values, right, rtol=1e-9)


def test_texts_of_a_group_are_one_observation(tiny_gpt2: Path) -> None:
    groups = [4, 4, 7, 7, 7, 9]
    found = ll.path_study(ll.load_model(tiny_gpt2), tokens_of(), groups=groups, n_perm=9)
    assert found.measured is not None
    assert found.measured["group"].values.tolist() == [0, 0, 1, 1, 1, 2]
    by_text = found.dataset["tortuosity_by_text"].values
    right = np.mean([by_text[:2].mean(0), by_text[2:5].mean(0), by_text[5]], axis=0)
    one = found.dataset["tortuosity"].sel(which="without position 0")
    np.testing.assert_allclose(one, right, rtol=1e-6)


def test_error_rates_and_coverage_at_reduced_size() -> None:
    failed = [row for row in validation.run(10) if not row.ok]
    assert not failed, failed


class TestClaims:
    """What is said."""

    def said(self, n: int = 120, **how: Any) -> Any:
        return answer(measurement(n, seed=7, **how), n_perm=999)

    def test_a_correlation_is_told_with_its_interval(self) -> None:
        found = self.said(rho=0.4)
        assert "Path length and the logit of the true next token correlate: r = 0.4" in found.sentence
        assert "with token frequency held fixed they do, " in found.sentence
        claim = found.claims["P1a"]
        assert claim.low < 0.4 < claim.high
        assert found.data["correlation_p"].values.min() <= 0.001

    def test_a_correlation_that_position_0_turns_round_is_told_so(self) -> None:
        data = measurement(120, seed=7, rho=0.4)
        data["step"][:, :, 0] += 100
        data["logit"][:, 0] -= 200
        found = answer(data, n_perm=99)
        assert (found.claims["P1a"].verdict, found.claims["P1b"].verdict) == ("holds", "holds")
        assert found.claims["P1a"].estimate < -0.9 < 0.3 < found.claims["P1b"].estimate
        assert "; without position 0 they do, the other way round, 0." in found.sentence
        assert "and with token frequency held fixed they do, the other way round, 0." in found.sentence

    def test_a_negative_correlation_is_one_too(self) -> None:
        found = self.said(rho=-0.4)
        assert {found.claims[f"P{k}{letter}"].verdict for k in "12" for letter in "abc"} == {"holds"}
        assert "correlate: r = −0." in found.sentence

    def test_none_is_told_as_none(self) -> None:
        found = self.said(rho=0.0)
        assert "do not correlate to speak of (within ±0.1)" in found.sentence
        assert found.data["correlation_p"].values.min() > 0.01

    def test_what_frequency_makes_is_gone_when_it_is_held_fixed(self) -> None:
        found = self.said(by_frequency=1.0)
        assert found.claims["P1a"].verdict == "holds"
        assert found.claims["P1c"].verdict == "fails"
        assert "with token frequency held fixed they do not to speak of" in found.sentence

    def test_what_differs_between_texts_alone_is_seen_by_the_published_number_alone(self) -> None:
        data = measurement(120, seed=8)
        level = np.random.default_rng(0).normal(size=(120, 1)) * 5
        data["step"] = data["step"] + level[..., None] / data.sizes["layer"]
        data["logit"] = data["logit"] + level
        found = answer(data, n_perm=99)
        assert found.claims["P1a"].verdict == "fails"
        assert (
            float(found.data["correlation_pooled"].sel(length="path", predicted="logit", statistic="pearson"))
            > 0.9
        )
        assert "as published, it is 0.9" in found.claims["P1a"].evidence

    def test_few_texts_withhold_and_say_so(self) -> None:
        found = self.said(n=12)
        for name, claim in found.claims.items():
            assert claim.verdict == "undetermined", name
            assert claim.reason
        assert "95%" not in found.sentence

    def test_short_texts_have_no_correlation(self, tiny_gpt2: Path) -> None:
        """Of 4 tokens 3 have a next one: paths are measured all the same."""
        result = ll.path_study(ll.load_model(tiny_gpt2), tokens_of(length=4), n_perm=9)
        assert "no correlation is defined" in result.sentence
        assert np.isnan(result.dataset["correlation"].values).all()
        assert np.isfinite(result.dataset["path"].values).all()


class TestLogits:
    """Where the next token's numbers come from."""

    def test_in_parts_as_in_one(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        state, tokens = torch.randn(3, 7, WIDTH), tokens_of(3, 7)
        with torch.no_grad():
            whole = next_token(model, state, tokens)
            monkeypatch.setattr("laminar_lens.studies.paths.logits.AT_ONCE", 5 * int(model.cfg.d_vocab))
            parts = next_token(model, state, tokens)
        for a, b in zip(whole, parts, strict=True):
            assert torch.allclose(a, b, equal_nan=True, atol=1e-5)
            assert a[:, -1].isnan().all()
        assert (whole[1][:, :-1] < 0).all()

    def test_a_cap_on_the_logits_is_applied(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        state, tokens = 5 * torch.randn(2, 6, WIDTH), tokens_of(2, 6)
        with torch.no_grad():
            plain, _ = next_token(model, state, tokens)
            model.cfg.output_logits_soft_cap = 2.0
            capped, log_prob = next_token(model, state, tokens)
        assert torch.allclose(capped, 2 * torch.tanh(plain / 2), equal_nan=True, atol=1e-5)
        assert (log_prob[:, :-1] < 0).all()

    def test_the_study_refuses_logits_that_are_made_otherwise(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        forward = model.forward
        model.forward = lambda *given, **how: None if (made := forward(*given, **how)) is None else 2 * made
        with pytest.raises(ModelError, match=r"they differ by .* of the largest"):
            ll.path_study(model, tokens_of(), n_perm=9)

    def test_logits_that_are_made_otherwise_are_refused(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2, bridge=None)
        check_unembeds(model)
        forward = model.forward

        def louder(*given: Any, **how: Any) -> Any:
            made = forward(*given, **how)
            return made if made is None else 2 * made

        model.forward = louder
        with pytest.raises(ModelError, match=r"they differ by .* of the largest"):
            check_unembeds(model)


class TestRefused:
    """Bad input: one line before anything runs."""

    @pytest.mark.parametrize(
        ("texts", "how", "said"),
        [
            (tokens_of(), {"length": 3}, "length is 3"),
            (tokens_of(), {"n_perm": 0}, "n_perm=0 draws no sign flip"),
            (tokens_of(1), {}, "only 1 text"),
            (["One."], {}, "only 1 text"),
            (["a", "b"], {}, "tokens"),
            (tokens_of().clamp(max=7) * 0 + 7, {}, "repeats"),
            (tokens_of(), {"geometry": "flat"}, "flat"),
            (tokens_of(), {"backend": "abacus"}, "abacus"),
            (torch.full((4, 6), 10**6), {}, "1000000"),
        ],
    )
    def test_in_one_line(
        self, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch, texts: Any, how: Any, said: str
    ) -> None:
        model = ll.load_model(tiny_gpt2)
        monkeypatch.setattr(type(model), "forward", None)
        with pytest.raises(LaminarLensError) as raised:
            ll.path_study(model, texts, **how)
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_an_option_that_it_does_not_take_is_told_why(self, tiny_gpt2: Path) -> None:
        with pytest.raises(InputError, match="takes no layers=: a path runs through every layer"):
            ll.path_study(ll.load_model(tiny_gpt2), tokens_of(), layers=[1])  # type: ignore[call-arg]
