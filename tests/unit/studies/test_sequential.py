"""The sequential study on a tiny random model: what it measures, what it writes down, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError, ModelError
from laminar_lens.models import load_model
from laminar_lens.pairs import BASELINES, adjacent_pairs, published_pairs, target_mask
from laminar_lens.prompts import find_targets, her_prompts
from laminar_lens.results import StudyResult, load_result
from laminar_lens.studies import run
from laminar_lens.studies.measurement import measured_angles
from laminar_lens.studies.options import Options
from laminar_lens.studies.run import Run
from laminar_lens.studies.sequential.comparison import pairs_of_sinks
from laminar_lens.studies.sequential.plan import Settings, make_plan
from laminar_lens.studies.sequential.study import sequential_study
from laminar_lens.studies.sequential.view import angles_by_layer
from laminar_lens.studies.warmup.study import warmup_study
from tests.synthetic import sequential_dataset

VERBS = ("saw", "met", "liked", "heard", "asked", "called", "thanked", "knew")
PROMPTS = tuple(
    f"{who} {verb} her{rest}."
    for who, rest in (("He", " in the house"), ("They all", ""), ("A boy", " by the river"))
    for verb in VERBS
)
FEW_ROWS = [0, 1, 2, 8, 9, 10, 16, 17]
FEW = tuple(PROMPTS[row] for row in FEW_ROWS)
DONORS = tuple(
    f"The {word} company gave him {what} in the morning."
    for what in ("the old book", "a house", "the river", "an answer", "some courage", "the manager")
    for word in VERBS
)

Study = Callable[..., StudyResult]


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return load_model(tiny_gpt2)


@pytest.fixture(scope="module")
def study(model: Any) -> Study:
    """A quick study: no warm-up, no twin, few draws."""

    def run(prompts: Any = PROMPTS, **given: Any) -> StudyResult:
        quick = {"warmup": False, "random_init": False, "n_draws": 6, "n_perm": 99, "donors": DONORS}
        return sequential_study(model, prompts, **(quick | given))

    return run


@pytest.fixture(scope="module")
def result(study: Study) -> StudyResult:
    return study()


def turned(u: np.ndarray, v: np.ndarray) -> float:
    """Independent of the kernels: arccos in float64, good to 1e-7 away from 0 and π."""
    return float(np.arccos(np.dot(u, v) / np.sqrt(np.dot(u, u) * np.dot(v, v))))


@pytest.fixture(scope="module")
def vectors(model: Any) -> np.ndarray:
    return np.asarray(capture_residuals(model, PROMPTS).values.double().numpy())


class TestAngles:
    def test_target_is_the_pair_that_ends_in_it(self, result: StudyResult, vectors: np.ndarray) -> None:
        data = result.dataset
        for prompt in range(len(PROMPTS)):
            i, j = data["target_pair"].values[prompt]
            assert data["token"].values[prompt, j] == " her"
            assert j == i + 1
            for layer in data["layer"].values:
                here = vectors[layer, prompt]
                assert abs(data["target_angle"].values[layer, prompt] - turned(here[i], here[j])) < 1e-5
                if layer > 0:
                    rotation = turned(vectors[layer - 1, prompt, j], here[j])
                    assert abs(data["target_rotation"].values[layer, prompt] - rotation) < 1e-5
        assert np.isnan(data["target_rotation"].values[0]).all()

    def test_lengths_are_of_the_same_vectors(self, result: StudyResult, vectors: np.ndarray) -> None:
        measured = result.measured
        assert measured is not None
        norm = np.linalg.norm(vectors, axis=-1)
        np.testing.assert_allclose(measured["length"].values, norm[..., : measured.sizes["pos"]], rtol=1e-5)

    def test_a_pair_of_two_sinks_is_found_and_no_other(self, result: StudyResult) -> None:
        rng = np.random.default_rng(0)
        length, adjacent = 1 + rng.random((2, 4, 8)), np.full((2, 4, 7), 1.2)
        length[:, 3, 6:] = np.nan
        pairs, angle = np.array([[0, 3], [0, 3], [2, 5], [-1, -1]]), np.full((2, 4), 0.12)
        assert not pairs_of_sinks(length, pairs, angle, adjacent).any()
        length[1, 1, [0, 3]] = 30.0, 4.0
        assert np.argwhere(pairs_of_sinks(length, pairs, angle, adjacent)).tolist() == [[1, 1]]
        assert result.dataset["two_sinks"].dims == ("layer", "prompt")
        assert not result.dataset["two_sinks"].values.any(), "random weights have none"

    def test_baselines_are_the_angles_of_their_pairs(self, result: StudyResult, vectors: np.ndarray) -> None:
        data = result.dataset
        for name in ("published", "adjacent", "by_position"):
            row = data.sel(baseline=name)
            for prompt, (i, j) in enumerate(row["pair_by_baseline"].values):
                assert data["target_pair"].values[prompt, 1] not in (i, j)
                assert 0 <= i < j < data["n_tokens"].values[prompt]
                assert j == i + 1 or name == "published"
                for layer in data["layer"].values:
                    expected = turned(vectors[layer, prompt, i], vectors[layer, prompt, j])
                    assert abs(row["angle_by_baseline"].values[layer, prompt] - expected) < 1e-5
        assert np.array_equal(data["baseline_angle"], data["angle_by_baseline"].sel(baseline="published"))
        assert np.array_equal(data["baseline_pair"], data["pair_by_baseline"].sel(baseline="published"))

    def test_mean_over_draws(self, result: StudyResult, model: Any, vectors: np.ndarray) -> None:
        data = result.dataset
        targets = find_targets(model.tokenizer, PROMPTS, " her")
        n_tokens = data["n_tokens"].values
        for name, pairs in (("published", published_pairs), ("adjacent", adjacent_pairs)):
            drawn = pairs(n_tokens, target_mask(targets, n_tokens), n_draws=6, seed=0)
            mean = [
                np.mean([turned(*vectors[2, prompt, drawn[k, prompt]]) for k in range(6)])
                for prompt in range(len(PROMPTS))
            ]
            assert np.allclose(data["mean_by_baseline"].sel(baseline=name)[2], mean, atol=1e-5)

    def test_matched_takes_the_same_positions_from_donors(self, result: StudyResult, model: Any) -> None:
        data = result.dataset
        donors = capture_residuals(model, DONORS).values.double().numpy()
        row = data.sel(baseline="matched")
        assert np.array_equal(row["pair_by_baseline"], data["target_pair"])
        for prompt, (i, j) in enumerate(data["target_pair"].values):
            own = range(prompt, len(DONORS), len(PROMPTS))
            candidates = [turned(donors[1, text, i], donors[1, text, j]) for text in own]
            assert np.min(np.abs(candidates - row["angle_by_baseline"].values[1, prompt])) < 1e-5

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_padding_of_donors_is_not_measured(
        self, result: StudyResult, study: Study, model: Any, side: str
    ) -> None:
        """Given as ids that TransformerLens pads, they are the donors that they are as texts."""
        ids = model.to_tokens(list(DONORS), prepend_bos=False, padding_side=side)
        assert (ids == model.tokenizer.pad_token_id).any(), "a ragged batch"
        found = study(donors=ids)
        for name in ("angle_by_baseline", "mean_by_baseline"):
            assert found.dataset[name].values.tobytes() == result.dataset[name].values.tobytes()
        assert any("is taken as padding" in note for note in found.warnings)

    def test_every_adjacent_pair_and_the_permuted_null(
        self, result: StudyResult, vectors: np.ndarray
    ) -> None:
        data = result.dataset
        for prompt in (0, 9, 23):
            n = int(data["n_tokens"][prompt])
            expected = [turned(vectors[3, prompt, i], vectors[3, prompt, i + 1]) for i in range(n - 1)]
            assert np.allclose(data["position_angle"].values[3, prompt, : n - 1], expected, atol=1e-5)
            assert np.isnan(data["position_angle"].values[3, prompt, n - 1 :]).all()
        null, real = data["null_position_angle"].values, np.nanmean(data["position_angle"].values, axis=1)
        assert null.shape == real.shape
        assert not np.allclose(null, real, atol=1e-3)

    def test_repeated_pairs_are_measured_once(
        self, model: Any, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(0)
        pairs = {
            "a": rng.integers(0, 8, (len(PROMPTS), 90, 2)),
            "b": rng.integers(0, 8, (len(PROMPTS), 2, 2)),
        }
        pairs["a"][3, 2], pairs["b"][0, 1, 0] = -1, -1
        tokens = np.full((len(PROMPTS), 1), 2)
        run = Run(model, Options())
        once = measured_angles(run, PROMPTS, pairs, tokens)
        monkeypatch.setattr("laminar_lens.studies.stream._distinct", lambda pairs: (pairs, None))
        each = measured_angles(run, PROMPTS, pairs, tokens)
        for name in pairs:
            assert np.allclose(once.pair_angle[name], each.pair_angle[name], atol=2e-6, equal_nan=True)
            i, j = pairs[name][5, 1]
            expected = 0.0 if i == j else turned(vectors[2, 5, i], vectors[2, 5, j])
            assert abs(once.pair_angle[name][2, 5, 1] - expected) < 1e-5
        assert np.isnan(once.pair_angle["a"][:, 3, 2]).all()
        assert np.isnan(once.pair_angle["b"][:, 0, 1]).all()


def test_without_prompts_the_shipped_sentences_are_measured(novella: Any) -> None:
    how: dict[str, Any] = {"warmup": False, "random_init": False, "n_draws": 4, "n_perm": 99, "layers": [1]}
    found = sequential_study(novella, **how)
    assert found.dataset["text"].values.tolist() == list(her_prompts())
    assert found.settings["texts"] == "her", "the built-in prompts by their name"
    assert found.numbers_sha256 == sequential_study(novella, her_prompts(), **how).numbers_sha256


class TestDataset:
    def test_names_and_axes(self, result: StudyResult) -> None:
        by, layer = ("baseline", "layer"), ("layer",)
        expected = {
            "target_angle": ("layer", "prompt"),
            "target_rotation": ("layer", "prompt"),
            "target_pair": ("prompt", "end"),
            "baseline_angle": ("layer", "prompt"),
            "baseline_pair": ("prompt", "end"),
            "angle_by_baseline": ("baseline", "layer", "prompt"),
            "pair_by_baseline": ("baseline", "prompt", "end"),
            "mean_by_baseline": ("baseline", "layer", "prompt"),
            "position_angle": ("layer", "prompt", "pair"),
            "null_position_angle": ("layer", "pair"),
            **{
                f"target_{name}": layer
                for name in ("mean", "low", "high", "median", "iqr", "iqr_low", "iqr_high")
            },
            **{f"rotation_{name}": layer for name in ("mean", "low", "high")},
            **{f"baseline_{name}": by for name in ("mean", "low", "high", "median", "iqr")},
            **{f"difference{name}": by for name in ("", "_low", "_high", "_p")},
            "difference_p_overall": ("baseline",),
            "difference_note": ("baseline",),
            **{
                f"mode_{name}": layer
                for name in ("low_mean", "high_mean", "low_sd", "high_sd", "high_weight")
            },
            **{f"mode_{name}": layer for name in ("delta_bic", "ashman_d", "valley", "p")},
            **{f"attribution_{name}": layer for name in ("precision", "recall", "ami", "p")},
            "two_modes": layer,
            "attributed_position": layer,
            **{f"first_shift_{name}": layer for name in ("mean", "median", "mean_low", "mean_high")},
            **{
                f"claim_{name}": ("claim",) for name in ("text", "verdict", "estimate", "low", "high", "unit")
            },
            "claim_evidence": ("claim",),
        }
        data = result.dataset
        for name, dims in expected.items():
            assert data[name].dims == dims, name
        assert list(data["baseline"].values) == list(BASELINES)
        assert list(data["claim"].values) == [f"C{k}" for k in range(1, 8)]
        assert data["text"].values.tolist() == list(PROMPTS)
        for name in ("target_angle", "position_angle", "difference", "target_iqr", "first_shift_mean"):
            assert data[name].attrs["units"] == "rad"
            assert data[name].attrs["long_name"]
        assert "units" not in data["difference_p"].attrs
        assert data.attrs["random_direction_sd"] == pytest.approx(32**-0.5)
        assert set(data["claim_verdict"].values) <= {"holds", "fails", "undetermined"}
        assert all(data["claim_evidence"].values)

    def test_statistics_lie_inside_their_intervals(self, result: StudyResult) -> None:
        data = result.dataset
        for name, bounds in (
            ("target_mean", "target"),
            ("difference", "difference"),
            ("target_iqr", "target_iqr"),
        ):
            low, high = data[f"{bounds}_low"].values, data[f"{bounds}_high"].values
            inside = (low <= data[name].values + 1e-9) & (data[name].values <= high + 1e-9)
            assert (inside | np.isnan(low)).all(), name
        single = data["mean_by_baseline"].sel(baseline="adjacent")
        gap = (data["target_angle"] - single).mean("prompt")
        assert np.allclose(data["difference"].sel(baseline="adjacent"), gap)

    def test_saves_loads_and_presents_itself(self, result: StudyResult, tmp_path: Path) -> None:
        loaded = load_result(result.save(tmp_path / "study.nc"))
        assert loaded.numbers_sha256 == result.numbers_sha256
        assert loaded.dataset.identical(loaded.dataset)
        summary = result.summary()
        assert len(summary["claims"]) == 7
        assert json.loads(json.dumps(summary))["settings"]["target"] == " her"
        assert summary["provenance"]["backend"] == "eager"
        assert summary["provenance"]["model"]["prepend_bos"] is False


class TestSettings:
    def test_a_seed_gives_the_same_bytes(self, study: Study, result: StudyResult) -> None:
        again, other = study(), study(FEW, seed=1)
        assert again.numbers_sha256 == result.numbers_sha256
        same = result.dataset.isel(prompt=FEW_ROWS)
        assert np.allclose(other.dataset["target_angle"], same["target_angle"], atol=1e-6)
        assert not np.array_equal(other.dataset["baseline_pair"], same["baseline_pair"])

    def test_chosen_layers_are_those_of_the_whole(self, study: Study, result: StudyResult) -> None:
        part = study(FEW, layers=(-1, 2)).dataset
        assert part["layer"].values.tolist() == [2, 3]
        for name in ("target_angle", "target_rotation", "position_angle"):
            whole = result.dataset[name].sel(layer=[2, 3], prompt=FEW_ROWS)
            whole = whole.values[..., : part[name].shape[-1]]
            assert np.allclose(part[name], whole, atol=1e-6, equal_nan=True)

    def test_the_chosen_baseline(self, study: Study) -> None:
        for name in ("adjacent", "matched"):
            data = study(FEW, baseline=name).dataset
            assert np.array_equal(data["baseline_pair"], data["pair_by_baseline"].sel(baseline=name))
            assert name in str(data.attrs["sentence"])

    def test_skip_moves_every_baseline_past_the_first_positions(self, study: Study) -> None:
        skipped = study(FEW, skip=2)
        pairs = skipped.dataset["pair_by_baseline"].values
        assert (pairs[pairs >= 0] >= 2).all()
        assert np.isnan(skipped.dataset["first_shift_mean"]).all()
        every = study(FEW, skip=6)
        assert any("have no target pair behind the first 6 positions" in note for note in every.warnings)
        gone = every.dataset["target_pair"].values[:, 0] < 0
        assert 0 < gone.sum() < len(gone)
        assert np.isnan(every.dataset["target_angle"].values[:, gone]).all()

    def test_bos_shifts_positions_by_one_and_gives_a_first_target_a_partner(self, study: Study) -> None:
        prompts = ["She saw him.", *(f"{verb.capitalize()}ly she went." for verb in VERBS[:5]), "She left."]
        with pytest.raises(InputError, match="prompt 0 is its first token"):
            study(prompts, target="She|[A-Z].*ly", regex=True)
        data = study(prompts, target="She|[A-Z].*ly", regex=True, prepend_bos=True).dataset
        assert data["target_pair"].values[0].tolist() == [0, 1]
        assert data["token"].values[0, 0] == "<|endoftext|>"

    def test_no_baseline_holds_the_target_or_an_occurrence_that_was_not_chosen(self, model: Any) -> None:
        prompts = [f"He {verb} her and then she {verb} her too." for verb in VERBS]
        for bos in (False, True):
            settings = Settings(occurrence="first", prepend_bos=bos, n_draws=200)
            plan = make_plan(model.tokenizer, prompts, settings)
            for pairs in plan.draws.values():
                for prompt, ids in enumerate(plan.ids):
                    tokens = [*[None] * bos, *(model.tokenizer.decode([token]) for token in ids)]
                    assert " her" not in {tokens[place] for place in pairs[:, prompt].ravel() if place >= 0}

    def test_several_occurrences(self, study: Study) -> None:
        prompts = [f"He {verb} her and then she {verb} her too." for verb in VERBS]
        with pytest.raises(InputError, match="occurs 2 times"):
            study(prompts)
        parts = [study(prompts, occurrence=choice).dataset for choice in ("first", "last", "all")]
        first, last, both = (part["target_angle"].values for part in parts)
        assert np.allclose(both, (first + last) / 2)
        assert parts[2]["target_pairs"].shape == (len(VERBS), 2, 2)
        for part in parts:  # the occurrence that was not chosen is no baseline either
            for prompt, pair in enumerate(part["pair_by_baseline"].sel(baseline="published").values):
                assert " her" not in part["token"].values[prompt, pair]

    def test_few_prompts_withhold_intervals_and_decide_nothing_by_them(self, study: Study) -> None:
        data = study(FEW).dataset
        assert np.isfinite(data["target_mean"]).all()
        assert np.isnan(data["target_low"]).all()
        verdicts = dict(zip(data["claim"].values, data["claim_verdict"].values, strict=True))
        assert verdicts["C1"] == verdicts["C4"] == verdicts["C7"] == "undetermined"
        assert "there were 8 prompts, 20 are needed" in data.attrs["sentence"]

    def test_short_prompts_may_lack_a_baseline(self, study: Study) -> None:
        prompts = ["ab.", "cb.", "db."]
        result = study(prompts, target="b", regex=True)
        assert any("No adjacent baseline" in note for note in result.warnings)
        data = result.dataset.sel(baseline="adjacent")
        assert np.isnan(data["angle_by_baseline"]).all()
        assert "no such baseline" in str(data["difference_note"].values)
        with pytest.raises(InputError, match="leaves no adjacent pair"):
            study(prompts, target="b", regex=True, baseline="adjacent")


class TestParts:
    def test_random_weights_lie_beside_the_measured_ones(self, study: Study) -> None:
        data = study(FEW, random_init=True).dataset
        assert data["random_position_angle"].shape == data["null_position_angle"].shape
        assert not np.allclose(
            data["random_position_angle"], data["position_angle"].mean("prompt"), atol=1e-2
        )

    def test_a_model_without_a_twin_says_so(self, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(model: Any, *, seed: int) -> Any:
            raise ModelError("its class takes no configuration")

        monkeypatch.setattr(run, "random_twin", refuse)
        result = study(FEW, random_init=True)
        assert "random_position_angle" not in result.dataset
        assert any("its class takes no configuration" in note for note in result.warnings)

    def test_warm_up_shares_its_texts_and_answers_c7(self, model: Any, study: Study) -> None:
        warm = warmup_study(model, n_texts=40, length=32, random_init=False)
        result = study(FEW, warmup=warm, donors=None)
        data = result.dataset
        part = result.part("warmup")
        assert isinstance(part, type(warm))
        assert (part.skip, part.sentence, part.settings) == (warm.skip, warm.sentence, warm.settings)
        xr.testing.assert_identical(part.tree.to_dataset(), warm.tree.to_dataset())
        xr.testing.assert_identical(part.dataset, warm.dataset)
        xr.testing.assert_identical(part.measured, warm.measured)
        assert result.settings["n_donors"] == 40
        assert result.sentence.startswith(warm.sentence.rstrip())
        matched = data["angle_by_baseline"].sel(baseline="matched").values
        shared = warm.dataset["angle"].transpose("layer", "text", "pair").values
        place = data["target_pair"].values[0, 0]
        assert np.isin(matched[1, 0].astype(np.float32), shared[1, :, place])
        assert data["claim_verdict"].values[-1] in ("holds", "fails", "undetermined")
        with pytest.raises(InputError, match="prepend_bos=False"):
            study(warmup=warm, prepend_bos=True)
        with pytest.raises(InputError, match="give a result of warmup_study"):
            study(warmup=3)

    def test_reports_progress(self, study: Study) -> None:
        seen: list[tuple[str, int, int]] = []
        study(FEW, progress=lambda *step: seen.append(step))
        assert {label for label, _, _ in seen} == {
            "capturing prompts",
            "capturing donors",
            "statistics",
        }
        assert all(0 <= done <= total for _, done, total in seen)


def test_the_table_says_why_it_has_no_p() -> None:
    dataset = sequential_dataset(n_layers=3, n_prompts=8)
    table = angles_by_layer(dataset)
    assert table is not None
    assert "p of this baseline: two modes: stratify or skip first." in table.note
    dataset["difference_note"].values[0] = ""
    table = angles_by_layer(dataset)
    assert table is not None
    assert "p of this baseline" not in table.note


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"prompts": []}, "prompts is empty"),
            ({"prompts": ["I saw her.", "  "]}, "prompt 1 is blank"),
            ({"prompts": ["I saw her.", "I"]}, r"prompt 1 \('I'\) has one token"),
            ({"prompts": ["I saw her.", "He left."]}, "absent in 1 of 2 prompts"),
            ({"target": " queen"}, "in none of the 24 prompts"),
            ({"target": "They", "prompts": ["They met."] * 2}, "prompt 0 is its first token"),
            ({"prompts": ["I saw her " + "again " * n for n in (200, 210)]}, "more than the model's context"),
            ({"baseline": "random"}, "use one of published, adjacent, matched, by_position"),
            ({"skip": -1}, "skip -1 is negative"),
            ({"skip": 60}, "skip=60 leaves no target pair"),
            ({"occurrence": "second"}, "error, first, last, all"),
            ({"target": "(", "regex": True}, "not a regular expression"),
            ({"layers": (9,)}, "layer 9 is out of range"),
            ({"layers": ()}, "layers is empty"),
            ({"donors": [PROMPTS[0]]}, "also a prompt"),
            ({"donors": ["A b"] * 24, "baseline": "matched"}, "give longer donors"),
            ({"donors": DONORS[:20], "baseline": "matched"}, "20 donor texts for 24 prompts"),
            ({"donors": np.array([[5, 6, 7, 8]] * 24), "baseline": "matched", "seed": -1}, "seed is -1"),
            ({"n_draws": 0}, "n_draws=0"),
            ({"n_perm": 0}, "n_perm=0"),
            ({"prompts": PROMPTS[:1]}, "at least 2"),
        ],
    )
    def test_one_line_that_names_the_value(self, study: Study, given: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message) as error:
            study(**given)
        assert "\n" not in str(error.value)

    def test_tokens_of_the_prompts_are_no_donors(self, model: Any, study: Study) -> None:
        prompts = PROMPTS[:8]
        ids = capture_residuals(model, prompts).tokens
        with pytest.raises(InputError, match="donor 0 begins like prompt 0"):
            study(prompts, donors=ids)
        shortest = int((ids >= 0).sum(dim=1).min())
        warm = warmup_study(model, ids[:, :shortest], random_init=False)
        with pytest.raises(InputError, match="donor 0 begins like prompt 0"):
            study(prompts, warmup=warm, donors=None)

    def test_repeated_prompts_are_one_observation(self, study: Study) -> None:
        found = study([*PROMPTS[:3], PROMPTS[0]])
        assert found.warnings[0].startswith("4 prompts, 1 of them repeats: 3 observations.")
        assert found.numbers_sha256 == study(PROMPTS[:3]).numbers_sha256

    def test_no_tokenizer(self, model: Any, monkeypatch: pytest.MonkeyPatch, study: Study) -> None:
        monkeypatch.setattr(model, "tokenizer", None)
        with pytest.raises(InputError, match="has no tokenizer"):
            study()
