"""A trajectory study of groups with prompts of their own: distances of their means, and what is refused."""

import json
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError
from laminar_lens.stats.bootstrap import Interval, simultaneous_band
from laminar_lens.stats.permutation import sign_flip
from laminar_lens.stats.strata import FEWEST
from laminar_lens.studies.trajectories import centres
from laminar_lens.studies.trajectories.claims import hiding, parting
from laminar_lens.studies.trajectories.facts import Facts
from laminar_lens.studies.trajectories.prompts import own_groups
from laminar_lens.studies.trajectories.study import Trajectories
from tests.said import check_said
from tests.validate.trajectories import answer_again, facts_of, measurement, own_measurement

OWN = {
    " her": ["The teacher praised her for it.", "They admired her courage.", "A boy gave her the book."],
    " the": ["They gave the book to her.", "He thanked the teacher."],
    " admired": ["They admired her.", "The boy admired the house.", "He admired it too.", "We admired him."],
}
SIZES = [3, 2, 4]
PAIRS = list(combinations(range(3), 2))


@pytest.fixture(scope="module")
def model(tiny_gpt2: Any) -> Any:
    return ll.load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def result(model: Any) -> Any:
    return ll.trajectory_study(model, OWN)


@pytest.fixture(scope="module")
def states(model: Any) -> list[list[np.ndarray]]:
    """Hidden states [layer pos d_model] of each group's prompts, the word's first token last."""
    found = []
    for word, texts in OWN.items():
        (token,) = model.tokenizer(word, add_special_tokens=False)["input_ids"]
        group = []
        for text in texts:
            at = model.tokenizer(text, add_special_tokens=False)["input_ids"].index(token)
            x = ll.capture_residuals(model, text).values[:, 0].double().numpy()
            group.append(np.concatenate([x, x[:, at : at + 1]], axis=1))
        found.append(group)
    return found


@pytest.fixture(scope="module")
def axes(states: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The first two axes of all states behind position 0, and their mean."""
    rows = np.concatenate([x[:, 1:-1].reshape(-1, x.shape[-1]) for group in states for x in group])
    return np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:2], rows.mean(axis=0)


def unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """The squared distance of two means by products of different prompts alone, in a loop."""
    some = [
        (x[i] - y[j]) @ (x[k] - y[m])
        for i, k in product(range(len(x)), repeat=2)
        for j, m in product(range(len(y)), repeat=2)
        if i != k and j != m
    ]
    return float(np.mean(some))


class TestMeans:
    """Distances of means without what chance adds."""

    @pytest.mark.parametrize("paired", [False, True])
    def test_parts_are_the_products_that_a_prompt_is_in(self, paired: bool) -> None:
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(2, 4, 1, 3))
        y = y if paired else y[:3]
        rows = [np.arange(4), np.arange(4) if paired else np.arange(4, 7)]
        found = centres.every_part([x, y], rows, 4 if paired else 7, paired=paired)[:, 0, 0]
        if paired:
            d = (x - y)[:, 0]
            right = [np.mean([d[i] @ d[k] for k in range(4) if k != i]) for i in range(4)]
            assert found == pytest.approx(right)
        else:
            right = unbiased(x[:, 0], y[:, 0])
            assert found[:4].mean() == pytest.approx(right)
            assert found[4:].mean() == pytest.approx(right)
            first = [
                (x[0, 0] - y[j, 0]) @ (x[k, 0] - y[m, 0])
                for k in range(1, 4)
                for j, m in product(range(3), repeat=2)
                if j != m
            ]
            assert found[0] == pytest.approx(np.mean(first))

    def test_pseudo_values_are_the_jackknife_s(self) -> None:
        """n times the whole, less n − 1 times what is left without a prompt."""
        x = np.random.default_rng(1).normal(size=(6, 1, 3))
        zero, rows = np.zeros_like(x), [np.arange(6)] * 2

        def whole(of: np.ndarray) -> float:
            at = [np.arange(len(of))] * 2
            return float(centres.every_part([of, zero[: len(of)]], at, len(of), paired=True).mean())

        parts = centres.every_part([x, zero], rows, 6, paired=True)[:, 0]
        found = centres.squared(parts, [np.ones(6, bool)])[:, 0]
        right = [6 * whole(x) - 5 * whole(np.delete(x, i, axis=0)) for i in range(6)]
        assert found == pytest.approx(right)

    def test_deviations_of_a_group_make_up_for_its_size(self) -> None:
        rng = np.random.default_rng(2)
        side = np.arange(90) < 30
        x = np.where(side, 3.0, 1.0) * rng.normal(size=90) + 10 * side
        of = centres.deviations(x, [side, ~side])
        assert of.mean() == pytest.approx(0, abs=1e-12)
        for one, n in ((side, 30), (~side, 60)):
            assert of[one] * n / 90 == pytest.approx(x[one] - x[one].mean())

    @pytest.mark.parametrize("groups", [1, 2])
    def test_what_scatters_as_the_norms_do_has_a_ratio_that_does_not(self, groups: int) -> None:
        norms = np.random.default_rng(3).gamma(9, size=(30, 2))
        sides = [np.ones(30, bool)] if groups == 1 else [np.arange(30) < 10, np.arange(30) >= 10]
        mean = centres.mean_of(norms, sides) + centres.deviations(norms, sides) / groups
        assert centres.relative(0.7 * mean, norms, sides) == pytest.approx(0.7)

    def test_the_share_scatters_as_a_ratio_of_squares_does(self) -> None:
        """Also where chance adds three times the squared distance, almost all of it outside the plane."""
        rng = np.random.default_rng(4)
        full, plane = np.stack([1 + rng.normal(size=60), 0.7 + 0.2 * rng.normal(size=60)])
        full, plane = full - full.mean() + 1, plane - plane.mean() + 0.7
        published, chance = np.sqrt([4.0, 0.9]), np.array([3.0, 0.2])
        angles = centres.angles(full, plane, published)

        def share(angle: float) -> float:
            one = np.array(angle)
            found = Interval(one, one, one, 0.95, 60, np.array(60), "")
            return float(centres.left_out(found, published, chance).estimate)

        slope = (share(angles.mean() + 1e-6) - share(angles.mean() - 1e-6)) / 2e-6
        away = slope * (angles - angles.mean())
        assert share(angles.mean()) == pytest.approx(0.3)
        assert away == pytest.approx((1 - 0.3) * (full - 1) - (plane - 0.7), abs=1e-6)

    def test_a_distance_of_nothing_scatters_as_the_published_one_does(self) -> None:
        square = np.random.default_rng(5).normal(size=(40, 1))
        square += -0.1 - square.mean()
        found = centres.distances(square, np.array([0.6]))
        assert found.mean() == pytest.approx(0, abs=1e-12)
        assert found == pytest.approx((square + 0.1) / (2 * 0.6))

    def test_chance_is_taken_off(self) -> None:
        """Means of groups that do not differ are apart as published, and not here."""
        found = [facts_of(own_measurement((20, 20, 20), seed=k, size=0.0), 0) for k in range(40)]
        published = np.mean([one.published[0] ** 2 for one in found])
        corrected = np.mean([one.squares.mean(axis=0)[0] for one in found])
        assert published == pytest.approx(8 * 2 * 0.25 / 20, rel=0.1)
        assert abs(corrected) < 0.05 * published
        assert all((one.distance.low == 0).mean() > 0.9 for one in found)

    def test_without_scatter_there_is_no_interval_to_speak_of(self) -> None:
        data = own_measurement((40, 40, 40), seed=0)
        facts = facts_of(data.assign(part=data["part"] * 0 + 0.49, published=data["published"] * 0 + 0.7), 0)
        for end in (facts.distance.estimate, facts.distance.low, facts.distance.high):
            assert end[0] == pytest.approx(0.7)


def test_it_is_what_a_loop_over_captured_states_gives(
    result: Any, states: list[list[np.ndarray]], axes: Any
) -> None:
    data, (flat, _) = result.dataset, axes
    target = [np.stack([x[:, -1] for x in group]) for group in states]  # [prompt layer d_model]
    norm = [np.linalg.norm(one, axis=-1).mean(axis=0) for one in target]
    for row, (a, b) in enumerate(PAIRS):
        relative = []
        for layer in range(4):
            x, y = target[a][:, layer], target[b][:, layer]
            full, plane = unbiased(x, y), unbiased(x @ flat.T, y @ flat.T)
            right = np.sqrt(np.maximum([full, plane], 0))
            for name in ("distance", "mean_distance"):
                assert data[name].values[:, row, layer] == pytest.approx(right, abs=1e-4)
            share = np.clip(1 - plane / full, 0, 1)
            assert data["hidden"].values[row, layer] == pytest.approx(share, abs=1e-4)
            relative.append(right[0] / ((norm[a][layer] + norm[b][layer]) / 2))
            assert data["relative"].values[row, layer] == pytest.approx(relative[-1], abs=1e-4)
            gap = x.mean(axis=0) - y.mean(axis=0)
            assert data["published_full"].values[row, layer] == pytest.approx(np.linalg.norm(gap), abs=1e-4)
            seen = data["published_distance"].values[row, layer]
            assert seen == pytest.approx(np.linalg.norm(flat @ gap), abs=1e-4)
        assert data["parting"].values[row] == pytest.approx(relative[-1] - relative[0], abs=1e-4)


def test_what_is_of_one_group_is_the_mean_over_its_prompts(
    result: Any, states: list[list[np.ndarray]], axes: Any
) -> None:
    data, (flat, centre) = result.dataset, axes
    for which, group in enumerate(states):
        target = np.stack([x[:, -1] for x in group])
        seen = np.abs(((target - centre) @ flat.T).mean(axis=0))
        assert np.abs(data["trajectory"].values[which, :, :2]) == pytest.approx(seen, abs=1e-4)
        steps = np.diff(target, axis=1)
        unit = steps / np.linalg.norm(steps, axis=-1, keepdims=True)
        turn = np.arccos((unit[:, :-1] * unit[:, 1:]).sum(axis=-1)).mean(axis=0)
        found = data["turning"].sel(along="depth", space="full").values[which, 1:-1]
        assert found == pytest.approx(turn, abs=1e-4)
    assert data["word"].values.tolist() == list(OWN)
    assert result.settings["prompts_a_group"] == SIZES
    assert (result.settings["target"], result.settings["instead"]) == (" her", [" the", " admired"])
    assert result.sentence.startswith(
        "The means of 'her', 'the' and 'admired' in 3, 2 and 4 prompts of their"
    )
    assert "no turn along positions" not in "".join(result.warnings)


def test_the_share_of_an_axis_is_a_ratio_of_sums_over_prompts(
    model: Any, states: list[list[np.ndarray]], result: Any
) -> None:
    """Its interval is that of each prompt's pseudo-value, from a loop; in the same prompts too, where the
    states of all words are one prompt's."""
    prompts = [text.replace("him", "her") for text in OWN[" her"]]
    paired = ll.trajectory_study(model, prompts, instead=(" the", " admired"))
    swapped = [[text.replace(" her", word) for word in OWN] for text in prompts]
    of_pair = [[ll.capture_residuals(model, one).values[:, 0].numpy() for one in some] for some in swapped]
    own = [[x[:, :-1]] for group in states for x in group]
    for found, observations in ((result, own), (paired, of_pair)):
        rows = [np.concatenate([x[:, 1:].reshape(-1, 32) for x in some]) for some in observations]
        every = np.concatenate(rows).astype(np.float64)
        axes = np.linalg.svd(every - every.mean(axis=0), full_matrices=False)[2][:3]
        away = [one - every.mean(axis=0) for one in rows]
        along = np.array([((one @ axes.T) ** 2).sum(axis=0) for one in away])
        total = np.array([(one**2).sum() for one in away])
        n = len(rows)
        assert found.measured["along"].values == pytest.approx(along * n / total.sum(), abs=1e-5)
        assert found.measured["spread"].values == pytest.approx(total * n / total.sum(), abs=1e-5)
        assert found.dataset["explained"].values == pytest.approx(along.sum(axis=0) / total.sum(), abs=1e-5)
        assert found.dataset["explained_low"].attrs["withheld"]


def test_its_interval_is_a_band_of_pseudo_values() -> None:
    data = measurement(54, seed=3, hidden=0.3, parting=0.2, first=0.4)
    facts = facts_of(data, 0)
    along, spread = data["along"].values, data["spread"].values
    ratio = along.sum(axis=0) / spread.sum()
    right = simultaneous_band(ratio + (along - ratio * spread[:, None]), seed=0)
    assert facts.explained.estimate == pytest.approx(ratio)
    assert facts.explained.low == pytest.approx(right.low)
    assert facts.explained_so_far.high[2] > facts.explained.high.max()
    assert "[" in answer_again(data).claims["T1"].evidence


class TestUnknown:
    """Distances that are not shown to be any."""

    def test_the_share_of_one_that_may_be_nothing_is_not_known(self) -> None:
        facts = facts_of(own_measurement((54, 54, 54), seed=2, size=0.55), 0)
        nothing = facts.distance.low[0] == 0
        known = np.isfinite(facts.hidden.estimate)
        assert 0 < (nothing & known).sum() < known.sum()
        assert (facts.hidden.low[nothing & known] == 0).all()
        assert (facts.hidden.high[nothing & known] == 1).all()
        assert (facts.hidden.high - facts.hidden.low < 1)[~nothing & known].any()

    def test_what_has_no_share_in_a_layer_is_not_shown_in_every_layer(self) -> None:
        data = own_measurement((54, 54, 54), seed=1, size=3.0, hidden=0.01)
        assert answer_again(data).claims["T1"].verdict == "holds"
        part = data["part"].copy()
        part[:, 0, 2] -= 1.5 * float(np.nanmean(part[:, 0, 2]))
        claim = answer_again(data.assign(part=part)).claims["T1"]
        assert claim.verdict == "undetermined"
        assert claim.reason.endswith("not farther apart than by chance in layer 2.")

    def test_where_nothing_is_apart_it_is_said(self) -> None:
        data = own_measurement((54, 54, 54), seed=1, size=0.0)
        found = answer_again(data.assign(part=data["part"] * 0 - 1))
        assert found.claims["T1"].reason == "No two groups are farther apart than by chance."


class TestTest:
    """p of the change with depth."""

    def test_sentence_and_claim_go_by_the_interval_and_by_p(self) -> None:
        data = measurement(54, seed=1, hidden=0.2, parting=0.3, first=0.8)
        found = answer_again(data)
        assert found.claims["T2"].verdict == "holds"
        assert "p = 0.005 of sign flips" in found.claims["T2"].evidence
        assert (found.data["parting_p"] == 0.005).all()
        few = Facts(facts_of(data, 0).measured, 9, 0)  # p is 0.1 at least
        assert (few.parting.low > 0).all()
        assert parting(few).verdict == "undetermined"
        assert parting(few).reason.endswith("or p is over 0.05.")

    def test_every_pair_must_part_and_one_that_nears_is_enough(self) -> None:
        data = measurement(54, seed=1, hidden=0.2, parting=0.0, first=0.8)
        for move, verdict in ((0.3, "undetermined"), (-0.3, "fails")):
            distance = data["distance"].copy()
            distance[:, 0, -2:] += move
            facts = facts_of(data.assign(distance=distance), 0)
            assert facts.p[0] == 0.005
            assert parting(facts).verdict == verdict

    def test_p_is_adjusted_for_all_pairs(self) -> None:
        facts = facts_of(own_measurement((20, 54, 30), seed=3, parting=0.0), 0)
        each = sign_flip(facts.scores, n_perm=199, seed=0)
        assert (facts.p == each.p).all()
        assert (facts.p > each.p_alone).any()

    def test_there_is_none_where_the_interval_is_withheld(self) -> None:
        found = answer_again(measurement(12, seed=1, hidden=0.2, parting=0.3, first=0.8))
        assert np.isnan(found.data["parting_p"]).all()
        assert "p =" not in found.claims["T2"].evidence


def test_layers_where_the_plane_hides_are_those_of_the_band() -> None:
    facts = facts_of(measurement(54, seed=1, hidden=0.54, parting=0.2, first=0.8), 0)
    shown = np.flatnonzero((facts.hidden.low > 0.5).any(axis=0)).tolist()
    assert 0 < len(shown) < (facts.hidden.estimate > 0.5).any(axis=0).sum()
    assert hiding(facts) == shown


class TestFew:
    """Intervals of groups with few prompts."""

    def test_they_are_withheld_by_the_smallest_group(self) -> None:
        few = answer_again(own_measurement((60, FEWEST - 1, 60), seed=0))
        for name in ("distance", "hidden", "relative", "parting", "mean_distance", "mean_hidden"):
            assert np.isnan(few.data[f"{name}_low"]).all()
            assert "group ' him' has 19 prompts" in few.data[f"{name}_low"].attrs["withheld"]
        assert "group ' him' has 19 prompts" in few.claims["T1"].reason
        enough = answer_again(own_measurement((FEWEST, FEWEST, FEWEST), seed=0))
        assert np.isfinite(enough.data["distance_low"]).all()


@pytest.mark.parametrize(
    ("prompts", "how", "said"),
    [
        ({**OWN, " the": OWN[" the"][:1]}, {}, "group ' the' has one prompt, 'They gave the book to her.'"),
        ({**OWN, " the": OWN[" the"][:1] * 2}, {}, "group ' the' has one prompt that repeats no other"),
        ({**OWN, " the": "They gave the book."}, {}, "group ' the' has one prompt"),
        ({**OWN, " the": []}, {}, "group ' the': prompts is empty"),
        ({**OWN, " the": 3}, {}, "group ' the': prompts is an int"),
        ({**OWN, " the": ["He ran.", "We ran."]}, {}, "target ' the' occurs in none of the 2 prompts"),
        ({" her": OWN[" her"]}, {}, "prompts has 1 group; expected two or more"),
        ({}, {}, "prompts has 0 groups"),
        ({**OWN, " ": OWN[" her"]}, {}, "prompts in group ' ': a word has letters"),
        ({**OWN, 3: OWN[" her"]}, {}, "prompts in group 3: a word has letters"),
        (OWN, {"target": " us"}, "target=' us' does not go with prompts in groups"),
        (OWN, {"instead": [" him"]}, "instead=' him' does not go with prompts in groups"),
        (OWN, {"regex": True}, "regex=True does not go with prompts in groups"),
        (OWN, {"n_components": 40}, "n_components=40 for vectors of 32 numbers"),
    ],
)
def test_what_does_not_fit_is_one_line(model: Any, prompts: Any, how: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        ll.trajectory_study(model, prompts, **how)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_group_may_have_its_word_several_times(model: Any) -> None:
    groups = {**OWN, " the": [*OWN[" the"], "They told the boy the truth."]}
    with pytest.raises(InputError, match="target ' the' occurs 2 times"):
        ll.trajectory_study(model, groups)
    last, first = (
        own_groups(model.tokenizer, groups, Trajectories(occurrence=one), bos=0).target[5, 0, 1]
        for one in ("last", "first")
    )
    assert last > first


def test_prompts_that_groups_share_are_told(model: Any) -> None:
    """They are not independent: chance is taken off that is not there."""

    def notes(groups: Any) -> list[str]:
        return own_groups(model.tokenizer, groups, Trajectories(), bos=0).notes

    swapped = [text.replace(" her", " us") for text in OWN[" her"]]
    assert notes({" her": OWN[" her"], " us": swapped})[0].startswith(
        "3 of 6 prompts are another group's, but for the word"
    )
    some = notes({**OWN, " us": ["They saw us there.", swapped[0]]})
    assert some[0].startswith("1 of 11 prompts is another group's, but for the word")
    assert not any("but for the word" in note for note in notes(OWN))


def test_conditions_saving_and_figures(model: Any, tmp_path: Any) -> None:
    made = ll.trajectory_study(model, OWN, interventions={"less": ll.remove_write("mlp", 1)}, n_components=2)
    found = ll.load_result(made.save(tmp_path / "own.nc"))
    assert np.isfinite(found.contrast("less", "plain", "target_distance")["difference"]).all()
    again = found.answer(n_perm=99)
    assert (again.sentence, again.settings["instead"]) == (made.sentence, [" the", " admired"])
    figures = found.figures()
    assert "means" not in figures
    assert "means of two groups" in figures["distances"].layout.meta["caption"]
    step = figures["plane"].layout.sliders[0].steps[2].args[0]
    assert [len(one) for one in step["x"]] == [3, 1, 2, 1, 4, 1]
    assert all(value is not None for one in step["x"] for value in one)
    check_said(made)
    page = found.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "without what chance adds" in page


class TestCommand:
    """A file of prompts in groups."""

    @pytest.fixture
    def line(self, tiny_gpt2: Any, tmp_path: Any) -> Any:
        def written(groups: Any, command: str = "trajectories", *more: str) -> list[str]:
            path = tmp_path / "groups.json"
            path.write_text(json.dumps(groups), encoding="utf-8")
            out = str(tmp_path / "out")
            return [
                command,
                "--model",
                str(tiny_gpt2),
                "--prompts",
                str(path),
                "--out",
                out,
                "--quiet",
                *more,
            ]

        return written

    def test_it_is_read(self, line: Any, monkeypatch: Any) -> None:
        asked: list[Any] = []
        monkeypatch.setattr("laminar_lens.cli.run.execute", asked.append)
        assert main(line(OWN)) == 0
        assert asked[0].texts == OWN

    @pytest.mark.parametrize(
        ("groups", "more", "said"),
        [
            ({**OWN, " the": OWN[" the"][:1]}, ("trajectories",), "group ' the' has one prompt"),
            ({**OWN, " the": [1, 2]}, ("trajectories",), "group ' the': prompt 0 is an int"),
            ({**OWN, " him": OWN[" her"]}, ("trajectories",), "target ' him' occurs in none"),
            (OWN, ("trajectories", "--target", " us"), "does not go with prompts in groups"),
            (OWN, ("rotation",), "has prompts in groups, which rotation does not take"),
            ({"text": "We saw her."}, ("trajectories",), "has one prompt"),
        ],
    )
    def test_it_is_refused_before_the_model_is_loaded(
        self, line: Any, capsys: Any, monkeypatch: Any, groups: Any, more: Any, said: str
    ) -> None:
        monkeypatch.setattr("laminar_lens.cli.run._load", None)
        assert main(line(groups, *more)) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
