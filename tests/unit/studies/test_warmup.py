"""The warm-up study on tiny random models: texts, paired shift, masks, sentence, result."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.kernels import sequential_angles
from laminar_lens.models import load_model
from laminar_lens.results import json_safe, label_dataset, load_result
from laminar_lens.stats.sinks import sink_tokens
from laminar_lens.stats.warmup import Answer, WarmupAnswer, contrast, warmup
from laminar_lens.stats.warmup_shape import effects
from laminar_lens.studies.warmup.cost_figure import cost
from laminar_lens.studies.warmup.figures import k_by_layer, k_by_tolerance, warmup_delta
from laminar_lens.studies.warmup.result import WarmupResult
from laminar_lens.studies.warmup.study import warmup_study
from laminar_lens.studies.warmup.view import by_tolerance
from laminar_lens.studies.warmup.words import sentence
from tests.validate import warmup as simulated


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def tokens(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, int(model.cfg.d_vocab), (60, 16), generator=generator)


@pytest.fixture(scope="module")
def result(model: Any, tokens: torch.Tensor) -> WarmupResult:
    return warmup_study(model, tokens, seed=3)


def answered(verdict: str, skip: int, k_lo: int, k_hi: int, *, bos: int | None = None) -> WarmupResult:
    """A result with that answer, and nothing else; `bos` is the id of the BOS that was put in front."""
    import xarray as xr

    attrs = {"verdict": verdict, "skip": skip, "k_lo": k_lo, "k_hi": k_hi, "n_needed": -1}
    settings = {"prepend_bos": bos is not None}
    provenance = {"model": {"bos_token_id": bos}}
    dataset = xr.Dataset(attrs=attrs)
    return WarmupResult(
        label_dataset(dataset, study="warmup", sentence="", provenance=provenance, settings=settings)
    )


class TestStudy:
    def test_angles_are_those_of_the_captured_states(
        self, model: Any, tokens: torch.Tensor, result: WarmupResult
    ) -> None:
        theta = sequential_angles(capture_residuals(model, tokens).values).transpose(0, 1).numpy()
        np.testing.assert_allclose(result.dataset["angle"].values, theta, atol=2e-6)
        answer = warmup(result.dataset["angle"].values, seed=3)
        np.testing.assert_array_equal(result.dataset["delta"].values, answer.delta)
        assert (result.k_lo, result.k_hi, result.verdict) == (
            answer.overall.k_lo,
            answer.overall.k_hi,
            answer.overall.verdict,
        )

    def test_paired_shift_is_the_same_bigram_at_both_places(
        self, model: Any, tokens: torch.Tensor, result: WarmupResult
    ) -> None:
        """Text by text, from position 10 on: started anew there, and where it stood."""
        deep = sequential_angles(capture_residuals(model, tokens).values)
        start = result.dataset.attrs["reference_start"]
        fresh = sequential_angles(capture_residuals(model, tokens[:, start:]).values)
        shift = (fresh - deep[..., start:]).double().mean(1).numpy()
        reach = shift.shape[1]
        np.testing.assert_allclose(result.dataset["paired_delta"].values[:, :reach], shift, atol=1e-6)
        assert np.isnan(result.dataset["paired_delta"].values[:, reach:]).all()
        np.testing.assert_allclose(result.dataset["paired_shift"], shift[:, 0], atol=1e-6)
        assert (result.dataset["paired_shift_low"] <= result.dataset["paired_shift"]).all()

    def test_with_bos_the_first_bigram_is_the_second_pair(self, model: Any, tokens: torch.Tensor) -> None:
        study = warmup_study(model, tokens, prepend_bos=True, random_init=False)
        assert study.dataset.sizes["pair"] == tokens.shape[1]
        curve = study.dataset["paired_delta"].values
        assert np.isnan(curve[:, 0]).all()
        np.testing.assert_allclose(study.dataset["paired_shift"], curve[:, 1])
        assert study.dataset["token_id"].shape == tuple(tokens.shape)

    def test_the_default_tolerance_is_a_twentieth(self, result: WarmupResult) -> None:
        assert result.dataset.attrs["tau"] == result.settings["tau"] == 0.05

    def test_bias_is_what_is_kept_less_the_reference(
        self, model: Any, tokens: torch.Tensor, result: WarmupResult
    ) -> None:
        data = result.dataset
        theta, start = data["angle"].values.astype(float), data.attrs["reference_start"]
        length = tokens.shape[1]
        for k in data["k"].values:  # of texts of 32 tokens, the others' pairs are the reference's
            beyond = theta[..., k:].sum((0, 2)) / len(theta)
            beyond += (32 - length) * theta[..., start:].mean((0, 2))
            moved = beyond / (31 - k) - theta[..., start:].mean((0, 2))
            np.testing.assert_allclose(data["mean_bias"].sel(k=k, span=32), moved, atol=1e-6)
        states = capture_residuals(model, tokens).values.double().numpy()
        measured = states[:, len(tokens) // 3 :]
        moved = measured.sum(2) / 64 - measured[:, :, start:].mean(2) * length / 64
        typical = np.sqrt(np.square(measured[:, :, start:]).sum(-1).mean((1, 2)))
        found = data["vector_bias"].sel(k=0, span=64).values
        assert (np.abs(found) <= np.linalg.norm(moved.mean(1), axis=-1) / typical * (1 + 1e-5)).all()
        assert (data["vector_sd"].sel(k=0, span=64).values > 0).all()

    def test_two_texts_give_an_answer_and_figures_without_a_band(self, model: Any) -> None:
        study = warmup_study(model, n_texts=2, length=12, random_init=False)
        assert (study.verdict, study.k_lo, study.k_hi) == ("undetermined", 0, None)
        assert np.isnan(study.dataset["band_low"]).all()
        assert "there were 2 texts, " in study.sentence
        for draw in (warmup_delta, k_by_layer, cost):
            assert draw(study.dataset) is not None

    def test_random_twin_is_beside_it(self, result: WarmupResult) -> None:
        assert result.dataset["random_delta"].shape == result.dataset["delta"].shape
        assert not np.allclose(result.dataset["random_delta"], result.dataset["delta"])

    def test_layers_are_selected(self, model: Any, tokens: torch.Tensor, result: WarmupResult) -> None:
        study = warmup_study(model, tokens, layers=[1, 3], seed=3, random_init=False)
        assert study.dataset["layer"].values.tolist() == [1, 3]
        np.testing.assert_allclose(
            study.dataset["delta"], result.dataset["delta"].sel(layer=[1, 3]), atol=1e-6
        )

    def test_same_seed_same_numbers(self, model: Any) -> None:
        studies = [warmup_study(model, n_texts=8, length=12, seed=s, random_init=False) for s in (1, 1, 2)]
        first, again, other = (study.numbers_sha256 for study in studies)
        assert first == again != other

    def test_saved_and_loaded(self, result: WarmupResult, tmp_path: Path) -> None:
        loaded = load_result(result.save(tmp_path / "warmup.nc"))
        assert isinstance(loaded, WarmupResult)
        assert json_safe(loaded.by_layer) == json_safe(result.by_layer)
        assert (loaded.k_lo, loaded.k_hi, loaded.n_needed) == (result.k_lo, result.k_hi, result.n_needed)
        assert loaded.tokens is not None
        assert result.tokens is not None
        assert torch.equal(loaded.tokens, result.tokens)
        assert "sentence" in loaded.summary()

    def test_progress_names_every_part(self, model: Any) -> None:
        seen: dict[str, tuple[int, int]] = {}
        how = {"progress": lambda label, done, n: seen.update({label: (done, n)})}
        warmup_study(model, "sampled", n_texts=6, length=12, **how)
        assert all(done == n for done, n in seen.values())
        assert len(seen) == 5


class TestTexts:
    def test_texts_are_cut_and_short_ones_named(self, model: Any) -> None:
        long = "They admired her courage, and her sister admired her too."
        study = warmup_study(model, [long, long[5:], "A boy"], length=8, random_init=False)
        assert study.dataset.sizes["text"] == 2
        assert any("1 of 3 texts have fewer than 8 tokens" in warning for warning in study.warnings)

    def test_too_few_texts_of_the_length(self, model: Any) -> None:
        with pytest.raises(InputError, match=r"0 of 2 texts have 60 tokens.*length="):
            warmup_study(model, ["A boy gave her the book.", "The teacher praised her."], length=60)

    def test_too_few_texts_ask_for_more_of_them(self, model: Any, tmp_path: Path) -> None:
        """Not for longer ones: no length would do."""
        message = r"^there is only 1 text, at least 2 of {} tokens are needed; give more texts$"
        for text in ("They admired her courage, and her sister admired her too.", "A boy"):
            with pytest.raises(InputError, match=message.format(8)):
                warmup_study(model, [text], length=8)
        with pytest.raises(InputError, match=message.format(8)):
            warmup_study(model, torch.arange(1, 9)[None])
        file = tmp_path / "one.txt"
        file.write_text(text := "The teacher praised her for the answer.")
        whole = len(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        with pytest.raises(InputError, match=message.format(whole)):
            warmup_study(model, [file], length=whole)

    def test_a_length_that_would_be_refused_is_not_advised(self, model: Any) -> None:
        with pytest.raises(InputError, match=r"0 of 2 texts have 8 tokens, .* give longer texts$"):
            warmup_study(
                model, torch.tensor([[5, 6, 7, -1, -1, -1, -1], [5, 6, -1, -1, -1, -1, -1]]), length=8
            )

    def test_a_file_holds_one_text_a_line(self, model: Any, tmp_path: Path) -> None:
        file = tmp_path / "texts.txt"
        file.write_text(
            "They admired her courage, and her sister.\nA boy gave her the book; she thanked him.\n"
        )
        assert warmup_study(model, file, length=6, random_init=False).dataset.sizes["text"] == 2

    def test_windows_of_a_file_are_one_group(self, model: Any, tmp_path: Path) -> None:
        files = [tmp_path / f"{name}.txt" for name in "abc"]
        for k, (file, who) in enumerate(zip(files, ("They", "We", "Nobody"), strict=True)):
            file.write_text(f"{who} admired {who} courage, and {who} sister {who} too.\n\n" * (k + 2))
        study = warmup_study(model, files, length=10, random_init=False)
        assert study.dataset.attrs["n_texts"] == 3
        assert study.dataset.sizes["text"] > 3
        assert study.settings["grouped"]
        assert "there were 3 independent texts, " in study.sentence

    def test_groups_count_once(self, model: Any, tokens: torch.Tensor) -> None:
        study = warmup_study(model, tokens, groups=np.repeat(np.arange(20), 3), random_init=False)
        assert study.dataset.attrs["n_texts"] == 20

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"length": 3}, "length is 3; expected 4 … 64"),
            ({"length": 65}, "length is 65"),
            ({"length": 64, "prepend_bos": True}, "expected 4 … 63"),
            ({"n_texts": 1}, "n_texts is 1"),
            ({"tau": 0.0}, "tau is 0"),
            ({"tau": float("inf")}, "tau is inf; give a tolerance in radians between 0 and π"),
            ({"tau": 3.2}, r"tau is 3\.2"),
            ({"n_texts": 5, "length": 8, "reference": [1, 2, 3]}, r"reference \[1, 2, 3\] is no window"),
            ({"n_texts": 5, "length": 8, "reference": 3}, "reference 3 is no window"),
            ({"n_texts": 5, "length": 8, "reference": "the end"}, "reference 'the end' is unknown"),
            ({"n_texts": 5, "length": 8, "layers": [9]}, "layer 9 is out of range"),
            ({"texts": "sampled", "n_texts": 5, "length": 8, "groups": [1]}, "groups has shape"),
            ({"texts": ["A boy", " "]}, "blank"),
        ],
    )
    def test_refused(self, model: Any, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            warmup_study(model, random_init=False, **arguments)


class TestMask:
    def test_positions_of_either_padding_side(self) -> None:
        tokens = torch.tensor([[5, 6, 7, -1, -1], [-1, -1, 5, 6, 7], [1, 2, 3, 4, 5]])
        kept = answered("exact", 1, 1, 1).mask(tokens)
        assert kept.int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]

    def test_a_bos_that_a_row_lacks_counts(self) -> None:
        """With or without the BOS in front, the same tokens are kept; without a BOS in the study none
        counts."""
        skip_bos, skip_two = (answered("exact", k, k, k, bos=0) for k in (1, 2))
        bare, whole = torch.tensor([[5, 6, 7], [-1, 5, 6]]), torch.tensor([[0, 5, 6, 7], [-1, 0, 5, 6]])
        assert skip_bos.mask(bare).int().tolist() == [[1, 1, 1], [0, 1, 1]]
        assert skip_two.mask(bare).int().tolist() == [[0, 1, 1], [0, 0, 1]]
        assert skip_bos.mask(whole).int().tolist() == [[0, 1, 1, 1], [0, 0, 1, 1]]
        assert skip_two.mask(whole).int().tolist() == [[0, 0, 1, 1], [0, 0, 0, 1]]
        assert answered("exact", 1, 1, 1).mask(whole[:1]).int().tolist() == [[0, 1, 1, 1]]

    def test_its_own_tokens_agree_with_states_behind_a_bos(self, model: Any, tokens: torch.Tensor) -> None:
        study = warmup_study(model, tokens, prepend_bos=True, random_init=False)
        attrs = {"verdict": "exact", "skip": 2, "k_lo": 2, "k_hi": 2}
        study = WarmupResult(study.dataset.assign_attrs(attrs))
        states = capture_residuals(model, tokens[:3], prepend_bos=True)
        sinks = torch.from_numpy(sink_tokens(states.values.numpy(), states.mask.numpy()))
        kept = study.mask(study.tokens)
        assert torch.equal(kept[:3] & ~sinks[:, 1:], study.mask(states=states)[:, 1:])
        assert kept.int().sum(dim=1).tolist() == [tokens.shape[1] - 1] * len(tokens)

    def test_padding_is_given(self) -> None:
        tokens, padding = torch.zeros(1, 4, dtype=torch.long), torch.tensor([[False, True, True, True]])
        assert answered("exact", 2, 2, 2).mask(tokens, padding=padding).int().tolist() == [[0, 0, 0, 1]]

    def test_nothing_to_leave_out(self) -> None:
        assert answered("exact", 0, 0, 0).mask(torch.ones(2, 3, dtype=torch.long)).all()

    def test_the_upper_bound_is_what_to_leave_out(self) -> None:
        result, tokens = answered("bracketed", 2, 0, 2), torch.ones(1, 4, dtype=torch.long)
        assert result.mask(tokens).int().tolist() == [[0, 0, 1, 1]]
        with pytest.raises(InputError, match=r"not exact \(0 to 2 tokens\); measure more texts"):
            result.mask(tokens, strict=True)
        assert answered("exact", 2, 2, 2).mask(tokens, strict=True).int().tolist() == [[0, 0, 1, 1]]

    def test_a_layer_has_a_number_of_its_own(self) -> None:
        found, tokens = answered("bracketed", 3, 1, 3), torch.ones(1, 5, dtype=torch.long)
        columns = {"k_lo": [1, 0, -1], "k_hi": [3, 0, -1], "verdict": ["bracketed", "exact", "drift"]}
        layers = {name: ("layer", values) for name, values in columns.items()}
        result = WarmupResult(found.dataset.assign(layers).assign_coords(layer=[0, 4, 9]))
        assert result.mask(tokens).int().tolist() == [[0, 0, 0, 1, 1]]
        assert result.mask(tokens, layer=0).int().tolist() == [[0, 0, 0, 1, 1]]
        assert result.mask(tokens, layer=4).all()
        assert (result.mask(tokens, layer="all") == result.mask(tokens)).all()
        with pytest.raises(InputError, match="the warm-up is drift in layer 9 without"):
            result.mask(tokens, layer=9)
        with pytest.raises(InputError, match="layer 5 was not measured; choose from 0, 4, 9"):
            result.mask(tokens, layer=5)

    @pytest.mark.parametrize("verdict", ["drift", "undetermined"])
    def test_no_bound_no_rule(self, verdict: str) -> None:
        with pytest.raises(InputError, match=f"the warm-up is {verdict} without a finite upper bound"):
            answered(verdict, -1, 0, -1).mask(torch.ones(1, 4, dtype=torch.long))

    def test_states_add_sinks_by_vector(self, model: Any, tokens: torch.Tensor) -> None:
        states = capture_residuals(model, tokens[:4])
        states.values[2, 1, 7] *= 100
        result = answered("exact", 1, 1, 1)
        kept = result.mask(states=states)
        assert not kept[:, 0].any()
        assert not kept[1, 7]
        sinks = sink_tokens(states.values.numpy(), states.mask.numpy())
        assert torch.equal(kept[:, 1:], ~torch.from_numpy(sinks)[:, 1:])
        assert result.mask(states=states, layers=[0])[1, 7]
        with pytest.raises(InputError, match="layer 9 is not among"):
            result.mask(states=states, layers=9)

    def test_states_from_the_middle_keep_their_positions(self, model: Any, tokens: torch.Tensor) -> None:
        states = capture_residuals(model, tokens[:2], positions=[0, 1, 5])
        assert answered("exact", 2, 2, 2).mask(states=states)[:, :2].sum() == 0

    def test_another_bos_setting_is_refused(self, model: Any, tokens: torch.Tensor) -> None:
        states = capture_residuals(model, tokens[:2])
        with pytest.raises(InputError, match="prepend_bos=False, the warm-up measured with True"):
            answered("exact", 1, 1, 1, bos=0).mask(states=states)

    def test_one_of_the_two(self) -> None:
        with pytest.raises(InputError, match="one of the two"):
            answered("exact", 1, 1, 1).mask()
        with pytest.raises(ShapeError, match=r"shape \(4,\)"):
            answered("exact", 1, 1, 1).mask(torch.ones(4, dtype=torch.long))


class TestSentence:
    def said(self, seed: int, n: int, delta: Any, *, sd: float = 0.1, layers: int = 4, bos: int = 0) -> str:
        theta = simulated.texts(seed, n, sd=sd, layers=layers, delta=delta)
        answer = warmup(theta, seed=seed)
        d = contrast(theta, slice(16, 24))
        found = effects(d, min(answer.overall.k_lo or 0, 4), 0.05, paired=d[..., :8], seed=seed)
        return sentence(answer, found, [2, 3, 4, 7], bos)

    def test_decided(self, seed: int) -> None:
        delta = np.stack([simulated.first(1, size) for size in (0.0, 1.31, 1.31, 1.31)])
        text = self.said(seed, 400, delta)
        size = re.match(
            r"Leave out the first token: enough in every layer, and necessary \(±0\.05 rad, 95%\)\. "
            r"Pairs with position 0 are (\S+) rad wider in layers 3–4 and 7 "
            r"\(95% CI (\S+)–(\S+), on 200 of 400 texts\)\.",
            text,
        )
        assert size
        low, estimate, high = (float(size[i]) for i in (2, 1, 3))
        assert low <= 1.31 <= high
        assert low < estimate < high
        assert " The same bigrams, taken from deep in a text to its start, become 1.3" in text

    def test_both_signs(self, seed: int) -> None:
        delta = np.stack([simulated.first(2, size) for size in (0.3, 0.0, -0.2, 0.0)])
        text = self.said(seed, 400, delta, bos=1)
        assert "Pairs that start at positions 0–1 are 0.3" in text
        assert text.startswith(
            "Leave out the first 2 tokens: enough in every layer, and necessary (±0.05 rad, 95%)."
        )
        assert " rad narrower in layer 4 (95% CI " in text
        assert text.endswith("Position 0 is the BOS.")

    def test_none(self, seed: int) -> None:
        assert self.said(seed, 400, None, bos=1) == (
            "No warm-up found: from the first pair on, neighbouring tokens' angles are within ±0.05 rad "
            "of the rest of the text in all 4 layers (400 texts)."
        )

    def test_undetermined(self, seed: int) -> None:
        text = self.said(seed, 20, None)
        assert text.startswith(
            "Undetermined: at ±0.05 rad no number of first tokens was shown to be enough; "
        )
        assert "there were 20 texts, by these, about " in text

    @pytest.mark.parametrize(("k", "counted"), [(None, False), (0, False), (3, True)])
    def test_undetermined_names_the_bos_where_tokens_are_counted(self, k: int | None, counted: bool) -> None:
        open_, wide = (Answer("undetermined", 0, one, 800, "none") for one in (None, k))
        curve, at = np.zeros((1, 12)), np.array([0.05, 0.1])
        ends = [curve] * 5
        answer = WarmupAnswer(0.05, 90, (8, 12), curve, *ends, (open_,), open_, at, ((open_,), (wide,)))
        assert sentence(answer, [], [2], bos=1).endswith(" Position 0 is the BOS.") == counted

    def test_drift(self, seed: int) -> None:
        text = self.said(seed, 400, np.linspace(0.6, 0, 24), bos=1)
        assert not text.endswith("BOS.")
        assert text.startswith("Drift: next to the reference pairs (16–23) angles still differ")
        assert "from them in layers 2–4 and 7 (pair 15: 0." in text
        assert "no number of first tokens can be named" in text

    def test_of_few_texts_that_drift_it_is_not_said_that_they_lie_close(self, seed: int) -> None:
        text = self.said(seed, 30, np.linspace(2.0, 0, 24))
        assert text.startswith("Undetermined: ")
        assert "seems to lie outside ±0.05 rad (0." in text
        assert "more texts would rather show drift" in text
        assert "so close" not in text

    @pytest.mark.parametrize("layers", [(6, 0, 0), (6, 2, None)])
    def test_what_is_enough_counts_the_bos_and_names_no_layer_without_a_bound(
        self, layers: tuple[int | None, ...]
    ) -> None:
        """Where no token was shown to stand apart, too, the number counts position 0."""
        curve, each = np.zeros((3, 12)), tuple(Answer("bracketed", 0, k, None, "none") for k in layers)
        overall, ends = Answer("bracketed", 0, 6, None, "none"), [curve] * 5
        answer = WarmupAnswer(0.05, 400, (8, 12), curve, *ends, each, overall, np.array([0.05]), ())
        text = sentence(answer, [], [2, 3, 5], bos=1)
        assert text.startswith("Leave out the first 6 tokens: enough in every layer (±0.05 rad, 95%)")
        assert text.endswith(" Position 0 is the BOS.")
        assert ("layers 3 and 5" in text) == (None not in layers)
        assert not sentence(answer, [], [2, 3, 5]).endswith("BOS.")

    def shown(self, delta: Any, low: Any, high: Any, k: int, *, grouped: bool = False) -> str:
        """What is said of these curves [layer, pair] where no effect was named."""
        fine = Answer("exact", k, k, None, "mixed")
        curves = [np.array(x, dtype=float) for x in (delta, low, high)]
        answer = WarmupAnswer(
            0.05,
            400,
            (8, 12),
            curves[0],
            curves[0],
            curves[1],
            curves[2],
            curves[1],
            curves[2],
            (),
            fine,
            np.array([0.05]),
            (),
        )
        return sentence(answer, [], [2, 5], grouped=grouped)

    def test_the_largest_is_one_that_was_shown(self) -> None:
        """0.3 rad with a band across 0 is no difference; −0.2 rad outside ±τ is one."""
        text = self.shown([[0.3, 0], [-0.2, 0]], [[-0.02, -1], [-0.26, -1]], [[0.62, 1], [-0.14, 1]], 1)
        assert text == (
            "Leave out the first token: enough in every layer, and necessary (±0.05 rad, 95%). "
            "Pairs with position 0 are up to 0.20 rad narrower, in layer 5 "
            "(simultaneous 95% band 0.14–0.26) (400 texts)."
        )

    def test_what_was_shown_beyond_the_named_pairs_is_named(self) -> None:
        low, high = np.full((2, 8), -0.02), np.full((2, 8), 0.3)
        delta = np.full((2, 8), 0.14)
        delta[0, 5], low[0, 5] = 0.2, 0.1
        text = self.shown(delta, low, high, 6, grouped=True)
        assert text.startswith(
            "Leave out the first 6 tokens: enough in every layer, and necessary (±0.05 rad, 95%). "
            "Pairs that start at position 5 are up to 0.20 rad wider, in layer 2 "
            "(simultaneous 95% band 0.10–0.30) (400 independent texts)"
        )

    def test_a_long_decay_is_named_by_its_first_pair(self, seed: int) -> None:
        theta = simulated.texts(seed, 2000, sd=0.1, delta=np.where(np.arange(24) < 7, 0.3, 0.0))
        answer = warmup(theta, seed=seed)
        d = contrast(theta, slice(16, 24))
        text = sentence(answer, effects(d, 1, 0.05, seed=seed), [0])
        first = (
            "Leave out the first 7 tokens: enough in the one layer measured, and necessary (±0.05 rad, 95%). "
        )
        assert text.startswith(first)
        assert re.match(r"Pairs with position 0 are 0\.3\d rad wider in layer 0 \(", text[len(first) :])
        assert text.endswith(
            "on 1,000 of 2,000 texts); the last pair that is shown to stand apart starts at position 6."
        )


def test_the_curve_over_tolerances_is_tabulated_and_drawn() -> None:
    """Three tolerances, three layers; the layers that ask for the most are named."""
    each = np.array([[-1, 4, -1], [6, 2, 6], [0, 0, 0]])
    found = {
        "tolerance_k_hi": ("tolerance", [-1, 6, 0]),
        "tolerance_k_lo": ("tolerance", [5, 1, 0]),
        "tolerance_k_hi_by_layer": (("tolerance", "layer"), each),
    }
    data = xr.Dataset(found, {"tolerance": [0.01, 0.05, 0.1], "layer": [2, 3, 5]}, {"tau": 0.05})
    table = by_tolerance(data)
    assert table is not None
    assert [list(row.values()) for row in table.rows()] == [
        [0.01, None, 5, "layers 2 and 5"],
        [0.05, 6, 1, "layers 2 and 5"],
        [0.1, 0, 0, ""],
    ]
    figure = k_by_tolerance(data)
    assert figure is not None
    drawn = {
        one.name: np.nan_to_num(np.array(one.y, float), nan=-1) for one in figure.data if len(one.y) == 3
    }
    right = {f"layer {layer}": each[:, row] for row, layer in enumerate((2, 3, 5))}
    right |= {"enough in every layer": np.array([-1, 6, 0]), "necessary": np.array([5, 1, 0])}
    assert drawn.keys() == right.keys()
    assert all((drawn[name] == right[name]).all() for name in right)
    assert any(one.name == "τ = 0.05 rad, this study's" for one in figure.data)
