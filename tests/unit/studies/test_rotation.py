"""The rotation study: turns that were planted are found, and its intervals and tests keep their promises."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import laminar_lens as ll
from laminar_lens.errors import InputError, LaminarLensError
from laminar_lens.figures.style import TARGET
from laminar_lens.models import random_twin
from laminar_lens.results import claim_rows
from laminar_lens.stats.bootstrap import Interval
from laminar_lens.studies.rotation import answer as answers
from laminar_lens.studies.rotation import figures
from laminar_lens.studies.rotation.measure import shuffled_places
from laminar_lens.studies.rotation.runs import least_turning
from laminar_lens.studies.target_prompts import target_prompts
from tests.conftest import SENTENCES
from tests.said import reading
from tests.validate import rotation as validation
from tests.validate.rotation import measurement

answer = reading("rotation", answers.answer)

PROMPTS = [text for text in SENTENCES if text.count(" her ") == 1]
"""Four, of different lengths."""
QUICK: dict[str, Any] = {"random_init": False, "n_perm": 99}
NEAR = 1e-6

Trajectory = Callable[[int, int], np.ndarray]
"""Called as (layer, position): the vector, [d_model]."""


@pytest.fixture(params=["tiny_gpt2", "tiny_llama"])
def model(request: pytest.FixtureRequest) -> Any:
    return ll.load_model(str(request.getfixturevalue(request.param)))


def planted(trajectory: Trajectory, n_layers: int = 3) -> list[ll.Study]:
    """Interventions that put every vector where a trajectory has it."""

    def put(layer: int) -> Any:
        def there(value: torch.Tensor, hook: Any) -> torch.Tensor:
            rows = np.stack([trajectory(layer, pos) for pos in range(value.shape[1])])
            return torch.from_numpy(rows).to(value).expand_as(value).clone()

        return there

    points = ["blocks.0.hook_resid_pre", *(f"blocks.{k}.hook_resid_post" for k in range(n_layers))]
    return [ll.custom(f"layer {layer}", point, put(layer)) for layer, point in enumerate(points)]


def measured(model: Any, trajectory: Trajectory, **how: Any) -> xr.Dataset:
    """What the study says of prompts whose vectors follow a trajectory."""
    changes = {"planted": planted(trajectory)}
    result = ll.rotation_study(model, PROMPTS, interventions=changes, **QUICK, **how)
    return result.condition("planted").dataset


def turned(angle: float, size: float = 1.0, width: int = 32) -> np.ndarray:
    """A vector of a plane."""
    vector = np.zeros(width)
    vector[3], vector[7] = size * math.cos(angle), size * math.sin(angle)
    return vector


def places(model: Any, index: int) -> tuple[int, int]:
    """Position of the target of a prompt, and of its last token."""
    found = target_prompts(model.tokenizer, PROMPTS, " her", "error", False)
    return int(found.target[index, 0, 1]), int(found.n_tokens[index]) - 1


TURNS = (0.9, 0.15, 0.02)
"""Radians that every token turns in each block."""


class TestPlanted:
    """Vectors that were put where they are."""

    def test_a_known_rotation_in_each_layer(self, model: Any) -> None:
        at = np.cumsum([0.0, *TURNS])
        data = measured(model, lambda layer, pos: turned(at[layer] + 0.3 * pos, 2.0 + layer + pos))
        for name in ("target", "before"):
            found = data[f"{name}_rotation"].transpose("prompt", "layer").values
            assert np.abs(found - np.array(TURNS)).max() <= NEAR
        assert np.abs(data["difference"].values).max() <= NEAR
        assert np.abs(data["influence"].values - (1 - np.cos(TURNS))).max() <= NEAR
        right = np.abs(at[:, None] - at[None, :])
        for token in ("target", "last"):
            assert np.abs(data["between"].sel(which=token).values - right).max() <= NEAR
        assert data["run_first"].values.tolist() == [2, 1, 0]
        assert data["run_blocks"].values.tolist() == [1, 2, 3]
        sums = [TURNS[2], TURNS[1] + TURNS[2], sum(TURNS)]
        assert np.abs(data["run_estimate"].values - np.array(sums) / np.pi).max() <= NEAR

    def test_shuffled_tokens_are_other_tokens_one_layer_on(self, model: Any) -> None:
        """Of a circle on which tokens stand 0.3 rad apart: |0.3·(other − target) + the turn|, averaged."""
        at = np.cumsum([0.0, *TURNS])
        changes = {"planted": planted(lambda layer, pos: turned(at[layer] + 0.3 * pos))}
        result = ll.rotation_study(model, PROMPTS, interventions=changes, n_shuffled=7, **QUICK)
        data = result.condition("planted")
        assert data.measured is not None
        drawn = data.measured["shuffled_at"].values
        for index in range(len(PROMPTS)):
            target, last = places(model, index)
            others = drawn[index, 0]
            assert ((others >= 0) & (others <= last) & (others != target)).all()
            for layer, turn in enumerate(TURNS):
                angles = [0.3 * (other - target) + turn for other in others]
                right = np.mean([abs(math.remainder(one, 2 * math.pi)) for one in angles])
                found = data.dataset["shuffled_rotation"].values[index, layer]
                assert found == pytest.approx(right, abs=NEAR)

    def test_a_straight_line_does_not_turn(self, model: Any) -> None:
        data = measured(model, lambda layer, pos: turned(0.4, 1.0 + layer))
        for name in ("target_rotation", "before_rotation", "influence", "between", "run_estimate"):
            assert np.abs(data[name].values).max() <= NEAR

    def test_a_circle_in_equal_steps(self, model: Any) -> None:
        """Three steps of 2π/3 come back to where they began."""
        data = measured(model, lambda layer, pos: turned(layer * 2 * math.pi / 3))
        assert np.abs(data["target_rotation"].values - 2 * math.pi / 3).max() <= NEAR
        assert data["run_estimate"].values[-1] == pytest.approx(0, abs=NEAR)
        assert data["run_estimate"].values[0] == pytest.approx(2 / 3, abs=NEAR)

    def test_what_has_no_direction_has_no_turn(self, model: Any) -> None:
        """The target's vector is zero in layer 1: NaN there and in what is compared with it, not 0."""
        target, _ = places(model, 0)
        data = measured(
            model, lambda layer, pos: turned(0.1 * layer, 0.0 if layer == 1 and pos == target else 1.0)
        )
        found = data["target_rotation"].values[0]
        assert np.isnan(found[:2]).all()
        assert found[2] == pytest.approx(0.1, abs=NEAR)
        assert np.isfinite(data["influence"].values).all()


@pytest.mark.parametrize("bridge", [None, True])
def test_it_is_what_a_loop_over_captured_states_gives(tiny_gpt2: Path, bridge: bool | None) -> None:
    """Targets that occur twice, a BOS, some layers: in float64."""
    model = ll.load_model(tiny_gpt2, bridge=bridge)
    how: dict[str, Any] = {"prepend_bos": True, "final_norm": True}
    result = ll.rotation_study(model, list(SENTENCES), occurrence="all", layers=[2, 3], **how, **QUICK)
    data, plan = result.dataset, target_prompts(model.tokenizer, SENTENCES, " her", "all", False, bos=1)
    assert data["layer"].values.tolist() == [2, 3]
    assert data["state"].values.tolist() == [1, 2, 3]
    for index, text in enumerate(SENTENCES):
        x = ll.capture_residuals(model, text, layers=[1, 2, 3], **how).values[:, 0].double().numpy()
        at = [int(place) for place in plan.target[index, :, 1] if place >= 0]
        for row in range(2):
            right = np.mean([between(x[row, place], x[row + 1, place]) for place in at])
            before = np.mean([between(x[row, place - 1], x[row + 1, place - 1]) for place in at])
            assert data["target_rotation"].values[index, row] == pytest.approx(right, abs=5e-6)
            assert data["before_rotation"].values[index, row] == pytest.approx(before, abs=5e-6)
        assert result.measured is not None
        last = result.measured["between"].sel(which="last").values[index]
        for a in range(3):
            for b in range(3):
                assert last[a, b] == pytest.approx(between(x[a, -1], x[b, -1]), abs=5e-6)


def test_layers_with_gaps_and_prompts_with_several_targets(tiny_gpt2: Path) -> None:
    """Every number in loops; the random curve is the mean rotation of the target in the twin."""
    model = ll.load_model(tiny_gpt2)
    how: dict[str, Any] = {"occurrence": "all", "layers": [1, 3], "n_shuffled": 3, "n_perm": 99}
    result = ll.rotation_study(model, list(SENTENCES), **how)
    data, measured = result.dataset, result.measured
    assert measured is not None
    plan = target_prompts(model.tokenizer, SENTENCES, " her", "all", False)
    assert (plan.target < 0).any()
    for index, text in enumerate(SENTENCES):
        x = ll.capture_residuals(model, text).values[:, 0].double().numpy()
        at = [int(place) for place in plan.target[index, :, 1] if place >= 0]
        drawn = measured["shuffled_at"].values[index]
        for row, layer in enumerate((1, 3)):
            old, new = x[layer - 1], x[layer]
            right = {
                "target": [between(old[i], new[i]) for i in at],
                "before": [between(old[i - 1], new[i - 1]) for i in at],
                "shuffled": [between(old[i], new[j]) for slot, i in enumerate(at) for j in drawn[slot]],
                "influence": [1 - math.cos(between(u, v)) for u, v in zip(old, new, strict=True)],
            }
            for name, each in right.items():
                assert measured[name].values[index, row] == pytest.approx(np.mean(each), abs=5e-6), name
        for a in range(4):
            for b in range(4):
                target = np.mean([between(x[a, i], x[b, i]) for i in at])
                found = measured["between"].sel(which="target").values[index, a, b]
                assert found == pytest.approx(target, abs=5e-6)
    twin = ll.rotation_study(random_twin(model), list(SENTENCES), random_init=False, **how)
    mean = twin.dataset["target_rotation"].mean("prompt")
    np.testing.assert_allclose(data["random_rotation"], mean, atol=1e-6)


def test_parts_are_means_over_their_blocks() -> None:
    data = answer(measurement(54, seed=9, target=np.linspace(0.1, 0.8, 8)), target=" her", tau=0.05, n_perm=9)
    for place in ("target", "before", "shuffled"):
        own = data.data["rotation"].sel(place=place).values
        right = [own[0], own[1:-1].mean(), own[-1], own.mean()]
        np.testing.assert_allclose(data.data["part_rotation"].sel(place=place), right, rtol=1e-9)


def between(u: np.ndarray, v: np.ndarray) -> float:
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v)))


def test_the_least_turning_run_by_hand() -> None:
    """Three blocks that turn by 0.3, 0.1 and 0.2 of π; layer 2 was not measured in the second case."""
    distance = np.full((4, 4), np.nan)
    for (a, b), value in zip(
        [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)], (3, 1, 2, 4, 3, 6), strict=True
    ):
        distance[a, b] = value / 10
    known = Interval(distance, distance - 0.06, distance + 0.06, 0.95, 50, np.full((4, 4), 50), "")
    found = least_turning(known, np.arange(4), 3)
    assert found is not None
    assert found.blocks.tolist() == [1, 2, 3]
    assert found.first.tolist() == [1, 1, 0]
    assert found.estimate.tolist() == [0.1, 0.3, 0.6]
    assert found.rivals.tolist() == [1, 1, 0]
    assert found.quarter == 0
    sure = Interval(distance, distance, distance, 0.95, 50, known.n_valid, "")  # a band without width
    assert (found := least_turning(sure, np.arange(4), 3)) is not None
    assert found.rivals.tolist() == [0, 0, 0]
    some = np.ix_([0, 1, 3], [0, 1, 3])
    part = Interval(
        *(end[some] for end in (known.estimate, known.low, known.high)), 0.95, 50, known.n_valid[some], ""
    )
    found = least_turning(part, np.array([0, 1, 3]), 3)
    assert found is not None
    assert (found.blocks.tolist(), found.first.tolist()) == ([1, 2, 3], [0, 1, 0])
    nothing = np.full((2, 2), np.nan)
    assert (
        least_turning(Interval(*[nothing] * 3, 0.95, 0, np.zeros((2, 2), int), ""), np.arange(2), 1) is None
    )


def test_shuffled_tokens_are_drawn_once_and_evenly(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    plan = target_prompts(model.tokenizer, SENTENCES, " her", "all", False)
    drawn = shuffled_places(plan, 4000, seed=3)
    assert np.array_equal(drawn, shuffled_places(plan, 4000, seed=3))
    assert not np.array_equal(drawn, shuffled_places(plan, 4000, seed=4))
    for index, n in enumerate(plan.n_tokens):
        for slot, own in enumerate(plan.target[index, :, 1]):
            counts = np.bincount(drawn[index, slot] + 1, minlength=n + 1)
            if own < 0:
                assert counts[0] == 4000
                continue
            assert counts[0] == counts[own + 1] == 0
            rest = np.delete(counts[1:], own)
            assert np.abs(rest - 4000 / (n - 1)).max() < 5 * math.sqrt(4000 / (n - 1))


def verdicts(dataset: xr.Dataset, **how: Any) -> dict[str, str]:
    given: dict[str, Any] = {"target": " her", "tau": 0.05, "n_perm": 999} | how
    found = answer(dataset, **given)
    return {name: claim.verdict for name, claim in found.claims.items()}


class TestClaims:
    """Each verdict of each claim, on rotations that were made up."""

    def test_what_was_published_holds(self) -> None:
        data = measurement(54, seed=1, target=(0.8, *[0.15] * 6, 0.5))
        assert verdicts(data) == dict.fromkeys(("R1a", "R1b", "R2", "R3"), "holds")

    def test_what_is_not_so_fails(self) -> None:
        data = measurement(54, seed=1, target=(0.1, *[0.3] * 6, 0.5), before=(0.1, *[0.2] * 6, 0.5))
        assert verdicts(data) == dict.fromkeys(("R1a", "R1b", "R2", "R3"), "fails")

    def test_on_the_edge_it_is_open(self) -> None:
        """0.2 rad is the end of what was published; 0.05 the tolerance; a middle block turns as the last."""
        data = measurement(54, seed=1, target=(0.8, *[0.2] * 6, 0.2), before=(0.75, *[0.15] * 6, 0.15))
        assert verdicts(data) == dict.fromkeys(("R1a", "R1b", "R2", "R3"), "undetermined")

    def test_some_layers_out_of_range_fail_each_but_not_the_mean(self) -> None:
        data = measurement(54, seed=2, target=(0.8, 0.08, *[0.15] * 5, 0.5))
        found = verdicts(data)
        assert (found["R1a"], found["R1b"]) == ("holds", "fails")

    def test_another_tolerance_needs_no_model(self) -> None:
        data = measurement(54, seed=3, target=[0.15] * 8, before=[0.25] * 8)
        assert verdicts(data)["R3"] == "fails"
        assert verdicts(data, tau=0.2)["R3"] == "holds"

    def test_few_prompts_withhold_and_say_so(self) -> None:
        found = answer(measurement(12, seed=4), target=" her", tau=0.05, n_perm=99)
        for name, claim in found.claims.items():
            assert claim.verdict == "undetermined", name
            assert "12 texts" in claim.reason
        assert "95%" not in found.sentence

    def test_the_layer_that_was_planted_is_named_and_no_other(self) -> None:
        target = [0.15] * 8
        target[4] += 0.02
        found = answer(
            measurement(54, seed=5, target=target, before=[0.15] * 8), target=" her", tau=0.05, n_perm=999
        )
        assert "the target is shown to turn more in layer 5 (" in found.sentence
        assert found.data["difference_p"].values[4] <= 0.01
        less = answer(
            measurement(54, seed=5, target=[0.15] * 8, before=target), target=" her", tau=0.05, n_perm=999
        )
        assert "the target is shown to turn less in layer 5 (" in less.sentence
        alike = answer(measurement(54, seed=6), target=" her", tau=0.05, n_perm=999)
        assert "no layer is shown to turn one more than the other" in alike.sentence

    def test_chosen_layers_answer_what_they_can(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        found = {
            row["claim"]: row
            for row in claim_rows(ll.rotation_study(model, PROMPTS, layers=[3], **QUICK).dataset)
        }
        assert found["R1a"]["verdict"] == found["R2"]["verdict"] == "not applicable"
        assert found["R3"]["verdict"] == "undetermined"

    def test_figures_of_layers_name_the_token_that_they_are_of(self) -> None:
        """It is the prompt's last, and not the target that the other figures are of."""
        found = answer(measurement(54, seed=1), target=" her", tau=0.05, n_perm=99).dataset
        figure, least = figures.between(found), figures.runs(found)
        assert figure is not None
        assert least is not None
        assert figure.data[0].hovertemplate.startswith("the prompt's last token, layers")
        assert "of each prompt's last token" in figure.layout.meta["caption"]
        buttons = figure.layout.updatemenus[0].buttons
        named = {one.label: one.args[0]["hovertemplate"].partition(",")[0] for one in buttons}
        assert [*named] == [*named.values()] == ["the prompt's last token", "the target"]
        assert "the prompt's last token" in least.layout.title.text
        assert least.data[-1].line.color != TARGET

    def test_some_layers_are_not_told_as_all(self) -> None:
        whole = measurement(54, seed=1)
        some = whole.isel(layer=slice(2, 6), state=slice(2, 7), to_state=slice(2, 7))
        for data, every, of in (
            (whole, "Over every block, as published, the mean", "Of all runs of 2 blocks, "),
            (some, "Over every block measured, the mean", "Of all runs of 2 blocks that were measured, "),
        ):
            found = answer(data, target=" her", tau=0.05, n_perm=99)
            assert found.claims["R1a"].evidence.startswith(every)
            assert of in found.sentence


def test_error_rates_and_coverage_at_reduced_size() -> None:
    failed = [row for row in validation.run(20) if not row.ok]
    assert not failed, failed


class TestRefused:
    """Bad input: one line before anything runs."""

    @pytest.mark.parametrize(
        ("prompts", "how", "said"),
        [
            (PROMPTS, {"layers": [0]}, "layers is 0 alone"),
            (PROMPTS, {"layers": [9]}, "layer 9 is out of range"),
            (PROMPTS[:1], {}, "prompts holds one prompt"),
            ([], {}, "prompts is empty"),
            (["She left.", "He went."], {}, "target ' her' occurs in none of the 2 prompts"),
            ([*PROMPTS, "He went home."], {}, "is absent in 1 of 5 prompts"),
            (list(SENTENCES), {}, "occurs 3 times"),
            ([" her book is here.", " her hat is there."], {}, "is its first token"),
            (PROMPTS, {"target": ""}, "target '' is blank"),
            (PROMPTS, {"target": "(", "regex": True}, "is not a regular expression"),
            (PROMPTS, {"tau": 0.0}, "tau is 0.0; give a tolerance"),
            (PROMPTS, {"tau": float("nan")}, "tau is nan; give a tolerance"),
            (PROMPTS, {"n_shuffled": 0}, "n_shuffled=0; expected 1"),
            (PROMPTS, {"n_shuffled": 10**6}, "expected 1 … 1000 tokens a prompt"),
            (PROMPTS, {"n_perm": 0}, "n_perm=0 draws no sign flip"),
            (PROMPTS, {"geometry": "flat"}, "flat"),
            (PROMPTS, {"backend": "abacus"}, "abacus"),
            ([PROMPTS[0]] * 3, {}, "repeats"),
        ],
    )
    def test_in_one_line(
        self, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch, prompts: Any, how: Any, said: str
    ) -> None:
        model = ll.load_model(tiny_gpt2)
        monkeypatch.setattr(type(model), "forward", None)
        with pytest.raises(LaminarLensError) as raised:
            ll.rotation_study(model, prompts, **how)
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_an_option_that_it_does_not_take_is_told_why(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        with pytest.raises(InputError, match="takes no length=: prompts are measured as long as they are"):
            ll.rotation_study(model, PROMPTS, length=8)  # type: ignore[call-arg]
        with pytest.raises(InputError, match=r"n_shuffled= decides what is measured"):
            ll.rotation_study(model, PROMPTS, **QUICK).answer(n_shuffled=3)


def test_a_neighbour_that_is_position_0_is_said(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    prompts = ["Tell her the truth.", "Gave her the book.", *PROMPTS]
    first = [
        tuple(row) for row in target_prompts(model.tokenizer, prompts, " her", "error", False).target[:, 0]
    ]
    n = sum(before == 0 for before, _ in first)
    said = " ".join(ll.rotation_study(model, prompts, **QUICK).warnings)
    assert (f"In {n} of 6 prompts the word before the target is position 0" in said) == (n > 0)
