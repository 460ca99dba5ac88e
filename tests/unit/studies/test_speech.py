"""The speech study: words find their tokens, planted trajectories are recovered, wrong input is said."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import laminar_lens as ll
from laminar_lens.errors import InputError, LaminarLensError
from laminar_lens.prompts import token_spans
from laminar_lens.results.contrasts import parts_of
from laminar_lens.studies.measured import of_dataset
from laminar_lens.studies.speech import answer as answers
from laminar_lens.studies.speech.alignment import NO_TOKEN, SHARED, pieces
from laminar_lens.studies.speech.classes import CLASSES
from laminar_lens.studies.speech.effects import by_text, pairs
from laminar_lens.studies.speech.facts import Facts
from laminar_lens.studies.speech.frequency import frequencies
from laminar_lens.studies.speech.measure import Measurement
from laminar_lens.studies.speech.plane import in_plane, length
from laminar_lens.studies.speech.study import Speech
from laminar_lens.studies.speech.taggers import words_of
from laminar_lens.studies.speech.view import VIEW, ratio_table
from laminar_lens.texts.tags import Tagged, Word
from tests.conftest import CONTEXT, SENTENCES
from tests.said import reading
from tests.unit.studies.test_paths import at, planted
from tests.validate import speech as validation
from tests.validate.speech import ZERO, expected, measurement

answer = reading("speech", answers.answer)

NEAR = 1e-6
TAGS = ("NOUN", "ADJ", "VERB", "DET")
Spans = list[tuple[int, int, str]]


def texts_of(n: int = 6, words: int = 18, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    known = sorted({word for text in SENTENCES for word in re.findall(r"\w+", text.lower())})
    return [" ".join(rng.choice(known, words)) for _ in range(n)]


def by_turns(text: str) -> Spans:
    """Nouns, adjectives, verbs and determiners by turns, another first in each text."""
    places = [found.span() for found in re.finditer(r"\w+", text)]
    first = len(text) % len(TAGS)
    return [(start, end, TAGS[(k + first) % len(TAGS)]) for k, (start, end) in enumerate(places)]


def by_position(model: Any) -> Callable[[str], Spans]:
    """Nouns where a word's last token is at an even position, adjectives elsewhere."""

    def tag(text: str) -> Spans:
        _, tokens = token_spans(model.tokenizer, text)
        words = [Word(*found.span(), "X") for found in re.finditer(r"\w+", text)]
        last = pieces(text, tokens, words)[:, 1]
        return [(one.start, one.end, TAGS[place % 2]) for one, place in zip(words, last, strict=True)]

    return tag


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_llama"])
def model(request: pytest.FixtureRequest) -> Any:
    return ll.load_model(str(request.getfixturevalue(request.param)))


class TestAlignment:
    """Characters of words and of tokens."""

    @pytest.mark.parametrize(
        ("text", "tokens", "words", "right"),
        [
            # white space is nobody's, whoever's token it is in
            ("a cat", [(0, 1), (1, 5)], ["a", "cat"], [(0, 0), (1, 1)]),
            ("a cat", [(0, 2), (2, 5)], ["a", "cat"], [(0, 0), (1, 1)]),
            ("a cat", [(0, 1), (1, 2), (2, 5)], ["a", "cat"], [(0, 0), (2, 2)]),
            # pieces
            ("cats run", [(0, 1), (1, 3), (3, 4), (4, 8)], ["cats", "run"], [(0, 2), (3, 3)]),
            # a contraction that the tokenizer cuts elsewhere: both words share a token
            ("don't go", [(0, 3), (3, 5), (5, 8)], ["do", "n't", "go"], [(SHARED, SHARED)] * 2 + [(2, 2)]),
            ("don't go", [(0, 2), (2, 5), (5, 8)], ["do", "n't", "go"], [(0, 0), (1, 1), (2, 2)]),
            # a hyphen: in one token with the word before it, or by itself
            ("well-known", [(0, 5), (5, 10)], ["well", "-", "known"], [(SHARED, SHARED)] * 2 + [(1, 1)]),
            ("well-known", [(0, 5), (5, 10)], ["well-known"], [(0, 1)]),
            # an emoji in four bytes, each of which stands for all of it
            ("👍 yes", [(0, 1)] * 4 + [(1, 5)], ["👍", "yes"], [(0, 3), (4, 4)]),
            # other scripts: two words in one token, and one word in two
            ("猫です", [(0, 1), (1, 3)], ["猫", "で", "す"], [(0, 0)] + [(SHARED, SHARED)] * 2),
            ("привет", [(0, 2), (2, 6)], ["привет"], [(0, 1)]),
            # a character that no token has
            ("a b", [(0, 1)], ["a", "b"], [(0, 0), (NO_TOKEN, NO_TOKEN)]),
        ],
    )
    def test_by_hand(
        self, text: str, tokens: Any, words: Sequence[str], right: Sequence[tuple[int, int]]
    ) -> None:
        spans, start = [], 0
        for word in words:
            start = text.index(word, start)
            spans.append(Word(start, start + len(word), "X"))
            start += len(word)
        assert list(map(tuple, pieces(text, tokens, spans).tolist())) == list(right)

    def test_of_a_tokenizer_pieces_are_the_word(self, novella: Any) -> None:
        text = "I don't know: the well-known naïve café (👩‍🚀) sold “猫” and привет, didn't it?"
        ids, tokens = token_spans(novella.tokenizer, text)
        words = [Word(*found.span(), "X") for found in re.finditer(r"\w+(?=n't)|n't|\w+|[^\w\s]", text)]
        found = pieces(text, tokens, words)
        assert len(words) > 20
        own = 0
        for word, (first, last) in zip(words, found.tolist(), strict=True):
            said = text[word.start : word.end]
            if first >= 0:
                back = novella.tokenizer.decode(ids[first : last + 1]).strip()
                own += 1
                assert back == said or "\ufffd" in back, (said, back)
        assert own > 12


class TestEffects:
    """Differences of classes within a text."""

    def test_a_tiny_case_by_hand(self) -> None:
        """y = 2 for nouns, 5 for adjectives, plus 3 a unit of what is held fixed."""
        kind = np.array([[0] * 6 + [2] * 6])
        fixed = np.array([[0.0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9]])[..., None]
        y = np.where(kind == 0, 2.0, 5.0) + 3 * fixed[..., 0]
        found = by_text(y, kind, [0, 2], fixed)
        assert found[0, 0].tolist() == pytest.approx([2 + 3 * 2.5 - (5 + 3 * 6.5), -3.0], abs=1e-12)

    def test_it_is_least_squares_with_an_intercept(self) -> None:
        rng = np.random.default_rng(0)
        kind = rng.integers(-1, 4, (5, 60))
        fixed = rng.normal(size=(5, 60, 3))
        y = rng.normal(size=(5, 60)) + fixed[..., 0]
        y[:, 7], y[0, 3] = np.nan, np.inf
        found = by_text(y, kind, [0, 1, 2, 3], fixed)
        for text in range(5):
            words = (kind[text] >= 0) & np.isfinite(y[text])
            of = kind[text, words]
            terms = [np.ones(words.sum()), *((of == k).astype(float) for k in (1, 2, 3))]
            solved = np.linalg.lstsq(
                np.column_stack([*terms, fixed[text, words]]), y[text, words], rcond=None
            )[0]
            each = np.array([0, *solved[1:4]])
            means = np.array([y[text, words][of == k].mean() for k in range(4)])
            for row, (a, b) in enumerate(pairs(4)):
                assert found[text, row].tolist() == pytest.approx([means[a] - means[b], each[a] - each[b]])

    def test_what_cannot_be_told_apart_is_nan(self) -> None:
        kind = np.array([[0] * 8 + [2] * 8])
        same = (kind == 0).astype(float)[..., None]  # held fixed is the class itself
        found = by_text(np.arange(16.0)[None], kind, [0, 2], same)
        assert np.isfinite(found[0, 0, 0])
        assert np.isnan(found[0, 0, 1])
        few = by_text(np.arange(5.0)[None], kind[:, 6:11], [0, 2], np.arange(5.0)[None, :, None] ** 2)
        assert np.isnan(few[0, 0, 1]), "5 words are too few for 3 numbers"
        lacking = by_text(np.arange(16.0)[None], kind * 0, [0, 2], np.zeros((1, 16, 1)))
        assert np.isnan(lacking).all()

    def test_a_number_that_does_not_vary_changes_nothing(self) -> None:
        rng = np.random.default_rng(1)
        kind, fixed = rng.integers(0, 2, (3, 30)), rng.normal(size=(3, 30, 1))
        y = rng.normal(size=(3, 30))
        more = np.concatenate([fixed, np.full((3, 30, 1), 7.3)], axis=-1)
        assert np.allclose(by_text(y, kind, [0, 1], more), by_text(y, kind, [0, 1], fixed))


class TestPublished:
    """The mean state in a plane."""

    def test_points_of_a_plane_keep_their_distances(self) -> None:
        rng = np.random.default_rng(2)
        axes = np.linalg.qr(rng.normal(size=(9, 2)))[0].T
        flat = rng.normal(size=(2, 5, 2))
        states = flat @ axes + rng.normal(size=9)
        right = [sum(math.dist(a, b) for a, b in pairwise(one)) for one in flat]
        assert length(in_plane(states)).tolist() == pytest.approx(right, abs=1e-9)
        assert length(states).tolist() == pytest.approx(right, abs=1e-9)

    def test_it_is_the_projection_on_two_singular_vectors(self) -> None:
        states = np.random.default_rng(3).normal(size=(3, 6, 8))
        flat = states.reshape(-1, 8)
        centred = flat - flat.mean(axis=0)
        right = (centred @ np.linalg.svd(centred)[2][:2].T).reshape(3, 6, 2)
        assert length(in_plane(states)).tolist() == pytest.approx(length(right).tolist(), abs=1e-9)

    def test_a_class_without_words_has_none(self) -> None:
        states = np.random.default_rng(3).normal(size=(3, 6, 8))
        states[1] = np.nan
        assert np.isnan(length(in_plane(states))).tolist() == [False, True, False]


def test_how_often_words_stand_there() -> None:
    spelled = r"\w+-\w+|\w+(?=n't)|n't|'s|\w+|[^\w\s]"
    texts = ["Zqx don't zqx, 'it's Zqx-like.", "Zqx!", "猫です猫", ll.passages()[0]]
    marked = [tuple(Word(*found.span(), "X") for found in re.finditer(spelled, text)) for text in texts]
    marked[2] = tuple(Word(at_, at_ + 1, "X") for at_ in range(4))
    count = frequencies(map(Tagged, texts, marked))
    assert count("zqx") == count("ZQX") == 4
    assert count("猫") == 2, "no space is needed between words"
    every = re.findall(r"\w+(?=n't)|n't|'s|\w+", " ".join([texts[0], *ll.passages()]).casefold())
    for word in ("it", "n't", "do", "house", "like"):
        assert count(word) == every.count(word) > 10, word
    assert count("zqx-like") == 4, "the rarest part"
    assert count("…") == count("qqqqq") == 1


ANGLES = (math.radians(30), math.radians(15))


@pytest.fixture(scope="module")
def arcs(model: Any) -> Any:
    """Of words that were put where they are: arcs of 30° a layer for nouns, of 15° for adjectives, of a
    radius that grows with the position."""

    def arc(layer: int, pos: int) -> np.ndarray:
        turned = layer * ANGLES[pos % 2]
        return max(pos, 1) ** 0.3 * at(math.cos(turned), math.sin(turned))

    how = {"tagger": by_position(model), "classes": "nouns,adjectives", "n_perm": 99}
    changes = {"planted": planted(arc)}
    return ll.speech_study(model, texts_of(), interventions=changes, **how).condition("planted").dataset


class TestPlanted:
    """Words that were put where they are."""

    def test_ratios_are_those_of_the_arcs(self, arcs: Any) -> None:
        sines = [(math.sin(angle / 2), math.sin(1.5 * angle)) for angle in ANGLES]
        path = sines[0][0] / sines[1][0]
        right = {"path": path, "tortuosity": path * sines[1][1] / sines[0][1], "rotation": 2.0}
        for measure, ratio in right.items():
            one = arcs["ratio"].sel(measure=measure, compared="nouns / adjectives")
            assert float(one.sel(held="matched")) == pytest.approx(ratio, abs=NEAR), measure
        plain = arcs["ratio"].sel(measure="rotation", compared="nouns / adjectives", held="as they are")
        assert float(plain) == pytest.approx(2, abs=NEAR)

    def test_curves_by_class(self, arcs: Any) -> None:
        for name, angle in zip(("nouns", "adjectives"), ANGLES, strict=True):
            part = arcs.sel({"class": name})
            assert np.abs(part["turn"].values - angle).max() <= NEAR
            assert np.abs(part["rotation"].values - angle).max() <= NEAR
            wound = [k * math.sin(angle / 2) / math.sin(k * angle / 2) for k in (1, 2, 3)]
            assert np.abs(part["tortuosity"].values - wound).max() <= NEAR

    def test_the_published_form_is_the_mean_arc(self, arcs: Any) -> None:
        """In the plane of the arcs nothing is lost: the mean radius times the chords."""
        assert arcs["published_length"].values == pytest.approx(arcs["mean_length"].values, rel=1e-5)
        chords = [6 * math.sin(angle / 2) for angle in ANGLES]
        radius = arcs["published_length"].values / chords
        assert (radius > 1).all()
        assert (radius < CONTEXT**0.3).all()


@pytest.mark.parametrize("which", ["last", "mean"])
def test_it_is_what_a_loop_gives(model: Any, which: str) -> None:
    """Every number of every word, and the mean states, from captured states in float64; with a BOS."""
    texts = texts_of(3, 12)
    result = ll.speech_study(model, texts, tagger=by_turns, pieces=which, prepend_bos=True, n_perm=9)
    found = result.measured
    assert found is not None
    sums, n = np.zeros((4, 4, 32)), np.zeros(4)
    for text, one in enumerate(texts):
        states = ll.capture_residuals(model, [one], prepend_bos=True).values[:, 0].double().numpy()
        _, tokens = token_spans(model.tokenizer, one)
        word = 0
        for start, end, tag in by_turns(one):
            own = [k + 1 for k, (a, b) in enumerate(tokens) if a < end and b > start and one[a:b].strip()]
            kind = ["NOUN", "VERB", "ADJ", "DET"].index(tag)
            places = own[-1:] if which == "last" else own
            assert found["kind"].values[text, word] == kind
            assert found["n_tokens"].values[text, word] == len(own)
            assert found["position"].values[text, word] == own[-1]
            assert found["n_characters"].values[text, word] == end - start
            for layer in range(1, 4):
                step, away, turned = [], [], []
                for place in places:
                    x, y, z = states[layer - 1, place], states[layer, place], states[0, place]
                    step.append(np.linalg.norm(y - x))
                    away.append(np.linalg.norm(y - z))
                    turned.append(math.acos(x @ y / np.linalg.norm(x) / np.linalg.norm(y)))
                right = {"step": step, "displacement": away, "rotation": turned}
                for name, values in right.items():
                    got = float(found[name].values[text, layer - 1, word])
                    assert got == pytest.approx(np.mean(values), rel=1e-5), (name, text, word, layer)
            sums[kind] += states[:, places].mean(axis=1)
            n[kind] += 1
            word += 1
        assert (found["kind"].values[text, word:] == -1).all()
    np.testing.assert_allclose(found["mean_state"].values, sums / n[:, None, None], atol=1e-5)
    assert result.settings["pieces"] == which


class TestLongTexts:
    """Texts that are longer than the context."""

    def test_ten_thousand_tokens_of_one_text(self, tiny_gpt2: Path) -> None:
        model, text = ll.load_model(tiny_gpt2), " ".join(texts_of(1, 4600))
        assert len(token_spans(model.tokenizer, text)[0]) > 10_000
        found = ll.speech_study(model, text, tagger=by_turns, n_perm=99)
        assert found.settings["windows"] > 10_000 // CONTEXT
        assert any("There is one text" in note for note in found.warnings)
        assert f"({found.settings['windows']} windows of one text)" in found.sentence
        assert np.isfinite(found.dataset["ratio_low"].values).all()
        cut = re.search(r"(\d+) cut by the end of a window", " ".join(found.warnings))
        assert cut is not None
        assert int(cut[1]) > 10

    def test_windows_of_a_text_are_one_observation(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        texts = [" ".join(texts_of(1, 60, seed=k)) for k in range(4)]
        found = ll.speech_study(model, texts, tagger=by_turns, n_perm=99)
        assert found.measured is not None
        groups = found.measured["group"].values
        assert len(groups) > 4
        assert found.dataset.attrs["n_texts"] == len(set(groups.tolist())) == 4
        logs = np.log(found.dataset["ratio_by_text"].values)
        each = [np.nanmean(logs[groups == k], axis=0) for k in range(4)]
        np.testing.assert_allclose(np.log(found.dataset["ratio"].values), np.mean(each, axis=0), atol=1e-9)


class TestGroups:
    def test_texts_of_a_group_are_one(self, model: Any) -> None:
        texts = [" ".join(texts_of(1, 15 + 15 * k, seed=k)) for k in range(4)]
        how = {"tagger": by_turns, "n_perm": 9, "geometry": "mean_over_d_model"}
        found = ll.speech_study(model, texts, groups=list("abba"), **how)
        assert found.measured is not None
        windows = [-(-len(token_spans(model.tokenizer, text)[0]) // CONTEXT) for text in texts]
        assert sum(windows) > 4
        groups, right = found.measured["group"].values, np.repeat(list("abba"), windows)
        assert ((groups[:, None] == groups) == (right[:, None] == right)).all()
        assert found.dataset.attrs["n_texts"] == 2
        means = found.measured["mean_state"].values
        assert np.abs(means.mean(axis=-1)).max() < 1e-5, "states are those of the geometry"

    def test_signs_of_a_group_flip_together(self) -> None:
        data = measurement(60, seed=1, longer=validation.LONGER, noise=0.02)
        found = [Facts(of_dataset(Measurement, one), seed=0, **HOW) for one in (data, in_groups(data, 3))]
        p = [one.flips.p.min() for one in found if one.flips is not None]
        assert p[0] < 0.02
        assert np.isnan(found[1].p).all(), "withheld, as the bands are"
        assert p[1] > 0.1, "three groups have 8 signs"


def in_groups(data: xr.Dataset, n: int) -> xr.Dataset:
    return data.assign(group=("text", np.arange(data.sizes["text"]) % n))


class TestAnswer:
    def test_truths_are_found_and_nothing_where_there_is_none(self) -> None:
        """Positive and negative control, 60 texts."""
        strong = answer(measurement(60, seed=1, longer=validation.LONGER, noise=0.02), **HOW)
        assert [strong.claims[name].verdict for name in ("N1", "N2")] == ["holds", "holds"]
        assert strong.claims["N1"].low < math.exp(0.06) < strong.claims["N1"].high
        nothing = answer(measurement(60, seed=2), **HOW)
        assert "none is shown to differ" in nothing.sentence
        made = answer(measurement(60, seed=3, rarer=validation.RARER, noise=0.01), **HOW)
        assert [made.claims[name].verdict for name in ("N1", "N2")] == ["fails", "holds"]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_what_is_longer_by_less_than_a_hundredth_is_as_long(self, sign: int) -> None:
        little = {**ZERO, "nouns": sign * 0.004, "function words": sign * 0.05}
        found = answer(measurement(60, seed=7, longer=little, noise=0.002), **HOW)
        assert found.claims["N1"].verdict == "fails"
        low, high = (found.claims["N1"].low - 1, found.claims["N1"].high - 1)
        assert np.sign([low, high]).tolist() == [sign, sign]
        assert max(abs(low), abs(high)) < 0.01
        assert "nouns than adjectives" not in found.sentence
        assert "adjectives than nouns" not in found.sentence
        assert "the other 3 of 6 pairs are not shown to differ by a hundredth or more" in found.sentence

    def test_ratios_without_noise_are_exact(self) -> None:
        how = {"longer": validation.LONGER, "rarer": validation.RARER}
        data = measurement(5, seed=4, noise=0.0, **how)
        found = answer(data, **HOW).data["ratio"].values
        np.testing.assert_allclose(found[0, :, 1], np.exp(expected(**how))[0, :, 1], rtol=1e-6)
        np.testing.assert_allclose(found[1:], 1, rtol=1e-6)

    def test_the_published_form_may_say_otherwise(self) -> None:
        data = measurement(60, seed=1, longer=validation.LONGER, noise=0.02)
        for times, verdict in ((2.0, "holds"), (1.02, "holds"), (1.005, "fails"), (0.5, "fails")):
            data["mean_state"][0] = times * data["mean_state"][2]
            assert answer(data, **HOW).claims["N3"].verdict == verdict

    @pytest.mark.parametrize(("times", "verdict"), [(0.5, "holds"), (1.005, "holds"), (1.02, "fails")])
    def test_up_to_a_hundredth_longer_is_published_as_as_long(self, times: float, verdict: str) -> None:
        """Where nouns are shown to have shorter paths, and it is said so."""
        shorter = {name: -value for name, value in validation.LONGER.items()}
        data = measurement(60, seed=1, longer=shorter, noise=0.02)
        data["mean_state"][0] = times * data["mean_state"][2]
        found = answer(data, **HOW)
        assert [found.claims[name].verdict for name in ("N1", "N2", "N3")] == ["fails", "fails", verdict]
        assert found.sentence.startswith("Nouns have shorter paths than adjectives, matched on ")
        assert "as they are they have shorter ones: " in found.sentence
        says = {"holds": "the same, not longer", "fails": "otherwise, longer"}[verdict]
        assert f"says {says} by more than a hundredth: {times:.3f} times as long" in found.sentence
        assert found.sentence.count("a band that holds for all ratios at once") == 1

    def test_other_classes_are_another_answer(self) -> None:
        data = measurement(60, seed=5)
        found = answer(data, classes=("nouns", "verbs"), n_perm=99)
        own = length(in_plane(data["mean_state"].values[:2]))
        assert found.data["published_length"].values == pytest.approx(own), "the plane of these classes"
        assert not found.claims
        assert found.data["compared"].values.tolist() == ["nouns / verbs"]
        assert found.sentence.startswith("Of 1 pair of classes, none")

    def test_what_is_compared_is_what_the_claims_are_about(self) -> None:
        """The ratio of nouns' and adjectives' paths so far, which at the last layer is that of N1 and N2."""
        made = answer(measurement(60, seed=5, longer=validation.LONGER), **HOW)
        parts = parts_of(made.dataset, VIEW)
        for name, part in zip(("N1", "N2"), parts[:2], strict=True):
            last = made.dataset[part.variable].isel(part.where).values[:, -1]
            assert made.claims[name].estimate == pytest.approx(np.exp(np.nanmean(last)), rel=1e-9)
        assert [one.variable for one in parts[2:]] == ["turn_by_text"]
        other = answer(measurement(60, seed=5), classes=("nouns", "verbs"), n_perm=9)
        assert [one.name for one in parts_of(other.dataset, VIEW)] == ["rotation", "step_by_text"]

    def test_a_class_that_was_not_tagged_is_refused(self) -> None:
        data = measurement(60, seed=5)
        data["kind"] = data["kind"].where(data["kind"] != 2, 0)
        data = data.assign(tags=("tag", np.array(["NOUN", "VERB"], object)))
        with pytest.raises(InputError, match="a tagger tags no word as ADJ, so that there are no adjectives"):
            answer(data, **HOW)

    @pytest.mark.parametrize("n", [2, 10, 60])
    def test_few_texts_withhold_bands(self, n: int) -> None:
        found = answer(measurement(n, seed=6), **HOW)
        withheld = n < 40
        assert np.isnan(found.data["ratio_low"].values).all() == withheld
        assert ("withheld" in found.sentence) == withheld
        assert ("holds for all ratios at once" in found.sentence) == (not withheld)
        assert ("ratio_p" in found.data) == (not withheld)
        assert ("p = " in found.claims["N1"].evidence) == (not withheld)
        table = ratio_table(found.data)
        assert table is not None
        assert ("95% bands" in table.note) == (not withheld)
        assert (found.claims["N1"].verdict == "undetermined") or not withheld

    def test_a_claim_says_of_its_own_texts_why_it_is_open(self) -> None:
        """Of five texts one alone has enough words to match, and three have adjectives."""
        data = measurement(5, seed=6)
        kind = data["kind"].values.copy()
        kind[3:] = np.where(kind[3:] == 2, 0, kind[3:])
        kind[1:, 6:] = -1
        kind[1:3, :6] = [0, 2, 0, 2, 0, 2]
        result = answer(data.assign(kind=(data["kind"].dims, kind)), **HOW)
        found = result.claims
        why = result.data["ratio_low"].attrs["withheld"]
        both = [sum({a, b} <= set(one) for one in kind.tolist()) for a, b in pairs(4)]
        said = f"interval withheld: 1 to {max(both)} texts have both classes that can be told apart, "
        assert why.startswith(said)
        assert found["N2"].reason.startswith("Interval withheld: 3 texts have both classes, and the coverage")
        assert found["N1"].reason == "Matched, no two texts tell nouns from adjectives."

    def test_one_text_is_a_text(self) -> None:
        facts = Facts(of_dataset(Measurement, measurement(5, seed=6)), seed=0, **HOW)
        facts.effect.n_valid[:] = 1
        assert facts.withheld(0, 0, 0).startswith("interval withheld: 1 text has both classes, and")
        facts.effect.n_valid[0] = 40
        assert facts.withheld(0, 0, 1) == ""
        assert facts.withheld().startswith("interval withheld in 24 of 36 ratios: 1 text has both")

    def test_no_class_differs_by_default(self) -> None:
        assert (expected(ZERO, ZERO) == 0).all()


HOW: dict[str, Any] = {"classes": tuple(CLASSES), "n_perm": 199}


class TestTaggers:
    """What a tagger gives."""

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ([(0, 3)], "expected (start, end, tag)"),
            ([(0, 99, "NOUN")], "0 ≤ start < end ≤ 14"),
            ([(-1, 3, "NOUN")], "expected (start, end, tag)"),
            ([(3, 3, "NOUN")], "expected (start, end, tag)"),
            ([(0, 3, 5)], "expected (start, end, tag)"),
            ([(0.5, 3, "NOUN")], "expected (start, end, tag)"),
            (["NOUN"], "expected (start, end, tag)"),
            ([(0, 5, "NOUN"), (3, 9, "ADJ")], "words that overlap: (0, 5, 'NOUN') and (3, 9, 'ADJ')"),
            (None, "is an error: TypeError"),
        ],
    )
    def test_what_are_no_words_is_refused(self, given: Any, said: str) -> None:
        with pytest.raises(InputError) as raised:
            words_of(lambda text: given, "The cat sleeps", 4)
        assert said in str(raised.value)
        assert "text 4" in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_words_are_put_in_order_and_white_space_is_none(self) -> None:
        given = [(np.int64(7), 11, "VERB"), (4, 7, "NOUN"), (3, 4, "SPACE"), (0, 3, "DET")]
        found = words_of(lambda text: given, "The cat ran", 0)
        assert found == (Word(0, 3, "DET"), Word(4, 7, "NOUN"), Word(8, 11, "VERB"))

    def test_spacy_s_pipeline_in_a_folder(self, tiny_gpt2: Path, tmp_path: Path) -> None:
        spacy = pytest.importorskip("spacy", reason="spaCy is not installed: the extra [pos] has it")
        nlp = spacy.blank("en")
        ruler = nlp.add_pipe("attribute_ruler")
        for at_, word in enumerate(sorted({w for text in texts_of() for w in text.split()})):
            ruler.add(patterns=[[{"LOWER": word}]], attrs={"POS": TAGS[at_ % 4]})
        nlp.to_disk(tmp_path / "pipeline")
        model = ll.load_model(tiny_gpt2)
        found = ll.speech_study(model, texts_of(), tagger=f"spacy:{tmp_path / 'pipeline'}", n_perm=9)
        name = f"spacy:en_pipeline 0.0.0 (spaCy {spacy.__version__})"
        assert found.settings["tagger"] == name, "its name and versions"
        for part in found.tree.subtree:
            assert str(tmp_path) not in str(part.attrs), "not where it is"
        assert found.answer(n_perm=99).settings["tagger"] == name
        assert found.dataset["words"].values.sum() > 90

    def test_the_tagger_is_recorded_and_answers_again_without_it(self, model: Any) -> None:
        found = ll.speech_study(model, texts_of(), tagger=by_turns, n_perm=9)
        assert found.settings["tagger"].endswith("test_speech.by_turns")
        again = found.answer(classes=("nouns", "adjectives"))
        assert again.settings["tagger"] == found.settings["tagger"]
        assert again.settings["classes"] == ["nouns", "adjectives"]


def as_(*tags: str) -> Callable[[str], Spans]:
    """A tagger with other tags in place of `TAGS`."""
    other = dict(zip(TAGS, tags, strict=True))
    return lambda text: [(a, b, other[tag]) for a, b, tag in by_turns(text)]


def only_in(number: int) -> Callable[[str], Spans]:
    """A tagger that knows adjectives in one text."""
    chosen = texts_of()[number]
    other = {**dict(zip(TAGS, TAGS, strict=True)), "ADJ": "ADV"}
    return lambda text: by_turns(text) if text == chosen else [(a, b, other[t]) for a, b, t in by_turns(text)]


class TestRefused:
    """Bad input: one line before anything runs."""

    @pytest.mark.parametrize(
        ("texts", "how", "said"),
        [
            (texts_of(), {}, "have no tags: give tagger="),
            ("sampled", {}, "a tagger reads texts"),
            (torch.ones(4, 6, dtype=torch.long), {"tagger": by_turns}, "token ids"),
            ([], {"tagger": by_turns}, "empty"),
            ([" "], {"tagger": by_turns}, "blank"),
            (texts_of(1), {"tagger": by_turns}, "only 1 text"),
            ([texts_of(1)[0]] * 5, {"tagger": by_turns}, "repeats"),
            (texts_of(), {"tagger": as_("NN", "JJ", "VB", "DT")}, "tags no word as NOUN"),
            (texts_of(), {"tagger": as_("NOUN", "ADV", "VERB", "DET")}, "so that there are no adjectives"),
            (texts_of(), {"tagger": only_in(2)}, "only 1 text has adjectives"),
            (texts_of(), {"tagger": lambda text: []}, "it gives none"),
            (
                texts_of(),
                {"tagger": lambda text: [(0, 1, "NOUN")]},
                "none of the 6 tagged words can be measured",
            ),
            (texts_of(), {"tagger": lambda text: 1 / 0}, "ZeroDivisionError"),
            (texts_of(), {"tagger": "nltk"}, "expected 'spacy:PIPELINE'"),
            (
                texts_of(),
                {"tagger": "spacy:no_such_pipeline"},
                "is not installed: pip install 'laminar-lens[pos]'",
            ),
            (texts_of(), {"tagger": "spacy:two\nlines"}, "is not installed"),
            (texts_of(), {"tagger": int}, "expected 'spacy:PIPELINE'"),
            (None, {"classes": "nouns"}, "at least two"),
            (None, {"classes": ["nouns", "cats"]}, "'cats' is no class of words"),
            (None, {"classes": 3}, "two or more of nouns"),
            (None, {"pieces": "first"}, "choose from last, mean"),
            (None, {"n_perm": 0}, "n_perm=0 draws no sign flip"),
            (None, {"n_texts": 1}, "n_texts is 1"),
            (None, {"n_texts": 61}, "60 passages with shipped tags"),
            (None, {"groups": [1, 2]}, "every passage is independent"),
        ],
    )
    def test_in_one_line(
        self, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch, texts: Any, how: Any, said: str
    ) -> None:
        model = ll.load_model(tiny_gpt2)
        monkeypatch.setattr(type(model), "forward", None)
        with pytest.raises(LaminarLensError) as raised:
            ll.speech_study(model, texts, **how)
        assert re.search(said.replace("[", r"\["), str(raised.value)), raised.value
        assert "\n" not in str(raised.value)

    def test_an_option_that_it_does_not_take_is_told_why(self, tiny_gpt2: Path) -> None:
        with pytest.raises(InputError, match="takes no length=: texts are read whole"):
            ll.speech_study(ll.load_model(tiny_gpt2), length=20)  # type: ignore[call-arg]

    def test_the_classes_are_put_in_order(self) -> None:
        assert Speech(classes="adjectives, function_words,nouns").classes == (
            "nouns",
            "adjectives",
            "function words",
        )


def test_the_validation_passes_on_few_data_sets() -> None:
    rows = validation.run(4)
    assert [row for row in rows if not row.ok] == []
