"""The trajectory study: trajectories that were planted are found, and every number is that of a loop."""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError
from laminar_lens.studies.target_prompts import target_prompts
from laminar_lens.studies.trajectories import answer as answers
from laminar_lens.studies.trajectories import principal
from laminar_lens.studies.trajectories.principal import Fit
from laminar_lens.studies.trajectories.prompts import grouped
from laminar_lens.studies.trajectories.study import Trajectories
from tests.conftest import SENTENCES
from tests.said import reading
from tests.validate import trajectories as validation
from tests.validate.trajectories import answer_again, facts_of, measurement

answer = reading("trajectories", answers.answer)

PROMPTS = [text for text in SENTENCES if text.count(" her ") == 1]
WORDS = (" her", " the", " admired")
"""One token each."""
NEAR = 1e-6


@pytest.fixture(scope="module")
def model(tiny_gpt2: Any) -> Any:
    return ll.load_model(str(tiny_gpt2))


def planted(put: Callable[[int, torch.Tensor], torch.Tensor], n_layers: int = 3) -> list[ll.Study]:
    """Interventions that make each hidden state what `put(layer, embeddings)` gives."""
    first: list[torch.Tensor] = []

    def of(layer: int) -> Any:
        def there(value: torch.Tensor, hook: Any) -> torch.Tensor:
            if layer == 0:
                first[:] = [value.clone()]
            return put(layer, first[0]).to(value)

        return there

    points = ["blocks.0.hook_resid_pre", *(f"blocks.{k}.hook_resid_post" for k in range(n_layers))]
    return [ll.custom(f"layer {layer}", point, of(layer)) for layer, point in enumerate(points)]


def found(model: Any, put: Any, **how: Any) -> Any:
    changes = {"planted": planted(put)}
    return (
        ll.trajectory_study(model, PROMPTS, instead=WORDS[1:], interventions=changes, **how)
        .condition("planted")
        .dataset
    )


def along(x: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """One vector [pos d_model] a position, the same in every prompt."""
    return torch.from_numpy(x).expand_as(like)


class TestPlanted:
    """Trajectories that were put where they are."""

    def test_a_straight_line(self, model: Any) -> None:
        """Along depth, and along positions: it turns nowhere, and one axis explains it."""

        def put(layer: int, x: torch.Tensor) -> torch.Tensor:
            place = np.arange(x.shape[1])[:, None] + 2.0 * layer
            return along(place * np.linspace(1, 2, x.shape[2]), x)

        data = found(model, put)
        turns = data["turning"].values
        assert np.nanmax(turns) <= NEAR
        assert np.isfinite(turns[0, :, :, 1:-1]).all()
        assert np.isfinite(turns[1]).all()
        assert np.isnan(turns[0, :, :, [0, -1]]).all()
        assert data["explained"].values == pytest.approx([1, 0, 0], abs=NEAR)

    def test_a_circle(self, model: Any) -> None:
        """In equal steps it turns by the same angle, in full as in its plane."""
        step, pace = 0.7, 0.4

        def put(layer: int, x: torch.Tensor) -> torch.Tensor:
            angle = pace * np.arange(x.shape[1]) + step * layer
            vectors = np.zeros(x.shape[1:])
            vectors[:, 3], vectors[:, 7] = np.cos(angle), np.sin(angle)
            return along(vectors, x)

        data = found(model, put)
        assert data["turning"].sel(along="depth").values[..., 1:-1] == pytest.approx(step, abs=NEAR)
        assert data["turning"].sel(along="positions").values == pytest.approx(pace, abs=NEAR)
        assert data["explained_so_far"].values[1] == pytest.approx(1, abs=NEAR)
        assert (data["distance"].values == 0).all()
        assert np.isnan(data["hidden"].values).all()

    def test_a_known_rotation_in_each_layer(self, model: Any) -> None:
        """Distances of groups stay what they are in the embedding; the turn is that of the rotation."""
        turn = 0.9

        def put(layer: int, x: torch.Tensor) -> torch.Tensor:
            x = x.double()
            c, s = math.cos(turn * layer), math.sin(turn * layer)
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack([c * a - s * b, s * a + c * b], dim=-1).flatten(-2)

        data = found(model, put)
        full = data["distance"].sel(space="full").values
        assert np.abs(full / full[:, :1] - 1).max() <= NEAR
        assert np.abs(data["relative"].values / data["relative"].values[:, :1] - 1).max() <= NEAR
        depth = data["turning"].sel(along="depth", space="full").values
        assert depth[:, 1:-1] == pytest.approx(turn, abs=NEAR)
        assert np.abs(data["parting"].values).max() <= NEAR


def loop(model: Any, *, keep_first: bool, **how: Any) -> dict[str, Any]:
    """Every number from captured states, in float64, by numpy's SVD."""
    bos = int(how.get("prepend_bos", False))
    states, places = {}, {}
    for index, text in enumerate(PROMPTS):
        ids, her = (model.tokenizer(one, add_special_tokens=False)["input_ids"] for one in (text, " her"))
        place = ids.index(her[0]) + bos
        for word in WORDS:
            swapped = text.replace(" her", word)
            states[index, word] = ll.capture_residuals(model, swapped, **how).values[:, 0].double().numpy()
            places[index, word] = place
    skip = 0 if keep_first else 1
    rows = np.concatenate([x[:, skip:].reshape(-1, x.shape[-1]) for x in states.values()])
    centre = rows.mean(axis=0)
    _, size, axes = np.linalg.svd(rows - centre, full_matrices=False)
    firsts = sum(
        float(((x[:, 0] - centre) @ axes[0]) @ ((x[:, 0] - centre) @ axes[0])) for x in states.values()
    )
    return {
        "states": states, "places": places, "axes": axes[:3], "explained": size[:3] ** 2 / (size**2).sum(),
        "first_share": firsts / size[0] ** 2, "rows": len(rows),
    }  # fmt: skip


def angle(u: np.ndarray, v: np.ndarray) -> float:
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    return 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v)))


@pytest.mark.parametrize("keep_first", [False, True])
def test_it_is_what_a_loop_over_captured_states_gives(model: Any, keep_first: bool) -> None:
    how: dict[str, Any] = {"prepend_bos": keep_first, "final_norm": keep_first}
    result = ll.trajectory_study(model, PROMPTS, instead=WORDS[1:], keep_first=keep_first, **how)
    right, data = loop(model, keep_first=keep_first, **how), result.dataset
    assert data.attrs["pca_rows"] == right["rows"]
    assert data["explained"].values == pytest.approx(right["explained"], abs=1e-6)
    if keep_first:
        assert result.measured["first_share"].values.mean() == pytest.approx(right["first_share"], abs=1e-6)
    flat = right["axes"][:2]
    for row, (a, b) in enumerate(combinations(WORDS, 2)):
        for layer in range(4):
            full, plane, hidden, relative, between = [], [], [], [], []
            for index in range(len(PROMPTS)):
                at = right["places"][index, a]
                u, v = (right["states"][index, word][layer, at] for word in (a, b))
                between.append(u - v)
                full.append(np.linalg.norm(u - v))
                plane.append(np.linalg.norm(flat @ (u - v)))
                hidden.append(1 - plane[-1] ** 2 / full[-1] ** 2)
                relative.append(full[-1] / ((np.linalg.norm(u) + np.linalg.norm(v)) / 2))
            for name, one in (("full", full), ("plane", plane)):
                value = float(data["distance"].sel(space=name).values[row, layer])
                assert value == pytest.approx(np.mean(one), abs=2e-5)
            assert data["hidden"].values[row, layer] == pytest.approx(np.mean(hidden), abs=2e-5)
            check_means(data, np.array(between), flat, row, layer)
            assert data["relative"].values[row, layer] == pytest.approx(np.mean(relative), abs=2e-5)
    for which, word in enumerate(WORDS):
        for space, on in enumerate((np.eye(32), flat)):
            for layer in (1, 2):
                depth, position = [], []
                for index in range(len(PROMPTS)):
                    x, at = right["states"][index, word] @ on.T, right["places"][index, word]
                    depth.append(angle(x[layer, at] - x[layer - 1, at], x[layer + 1, at] - x[layer, at]))
                    position.append(angle(x[layer, at] - x[layer, at - 1], x[layer, at + 1] - x[layer, at]))
                turns = data["turning"].values[:, space, which, layer]
                assert turns == pytest.approx([np.mean(depth), np.mean(position)], abs=2e-4)


def check_means(data: Any, between: np.ndarray, flat: np.ndarray, row: int, layer: int) -> None:
    """Distances of the groups' mean points, from differences [prompt d_model]: as published, and of products
    of different prompts alone."""
    squares = []
    for name, x in (("published_full", between), ("published_distance", between @ flat.T)):
        seen = data[name].values[row, layer]
        assert seen == pytest.approx(np.linalg.norm(x.mean(axis=0)), abs=2e-5)
        squares.append(np.mean([u @ v for i, u in enumerate(x) for k, v in enumerate(x) if i != k]))
    right = np.sqrt(np.maximum(squares, 0))
    assert data["mean_distance"].values[:, row, layer] == pytest.approx(right, abs=5e-5)
    share = np.clip(1 - squares[1] / squares[0], 0, 1)
    assert data["mean_hidden"].values[row, layer] == pytest.approx(share, abs=5e-5)


class TestAxes:
    """The PCA, exact and incremental."""

    def test_the_incremental_one_finds_the_axes_of_the_exact_one(self, monkeypatch: Any) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(4000, 64)) * np.concatenate([[9, 6, 4], 2 * 0.95 ** np.arange(61)])
        made = []
        for most in (principal.MOST_NUMBERS, 1000):
            monkeypatch.setattr(principal, "MOST_NUMBERS", most)
            fit = Fit(len(x), 64, 3)
            for part in np.array_split(x, 7):
                fit.add(part)
            made.append(fit.done())
        exact, other = made
        assert (exact.exact, other.exact) == (True, False)
        assert np.abs(np.abs((exact.components * other.components).sum(axis=1)) - 1).max() <= 1e-4
        np.testing.assert_allclose(other.ratio, exact.ratio, rtol=1e-3)
        np.testing.assert_allclose(other.mean, exact.mean, atol=1e-9)
        wide = Fit(len(x), 64, 3)
        assert wide.held.nbytes <= 2 * principal.BLOCK * 64 * 64 * 8  # memory is bounded

    def test_a_study_says_that_it_is_incremental(self, model: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(principal, "MOST_NUMBERS", 1000)
        said = ll.trajectory_study(model, PROMPTS)
        assert any("The PCA is incremental" in note for note in said.warnings)
        assert "states were not held" in said.dataset["explained_low"].attrs["withheld"]
        assert np.isfinite(said.dataset["explained"]).all()

    def test_no_axis(self) -> None:
        fit = Fit(5, 8, 2)
        fit.add(np.ones((5, 8)))
        with pytest.raises(InputError, match="every hidden state is the same vector"):
            fit.done()


class TestFirst:
    """Position 0 in the PCA."""

    @staticmethod
    def captions(model: Any, size: float, **how: Any) -> tuple[str, set[str]]:
        def put(layer: int, x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[:, 0, 5] += size
            return x

        prompts = list(ll.her_prompts()[:40])
        changes = {"planted": planted(put)}
        result = ll.trajectory_study(model, prompts, interventions=changes, **how).condition("planted")
        notes = {result.figures()[name].layout.meta["caption"] for name in ("plane", "space", "explained")}
        assert all(("The first axis is position 0" in one) == (size > 1 and bool(how)) for one in notes)
        row = {one["claim"]: one for one in result.summary()["claims"]}["T3"]
        return row["verdict"], notes

    def test_a_sink_is_the_first_axis_and_the_figure_says_so(self, novella: Any) -> None:
        assert self.captions(novella, 1e4, keep_first=True)[0] == "holds"

    def test_without_a_sink_it_is_not(self, novella: Any) -> None:
        assert self.captions(novella, 0.0, keep_first=True)[0] == "fails"

    def test_its_share_is_a_ratio_of_sums_over_prompts(self) -> None:
        """Where all of the axis is position 0's, its share is 1, however much the prompts differ."""
        data = measurement(54, seed=2, hidden=0.3, parting=0.2, first=0.4)
        share = data["along"].values[:, 0] / data["explained"].values[0]
        all_of_it = facts_of(data.assign(first_share=("prompt", share)), 0).first_share
        assert [all_of_it.low[0], all_of_it.high[0]] == pytest.approx([1, 1])
        half = 0.5 * share + np.where(np.arange(54) % 2, 0.1, -0.1)
        found = facts_of(data.assign(first_share=("prompt", half)), 0).first_share
        assert found.estimate[0] == pytest.approx(half.mean())
        assert found.high[0] - found.low[0] == pytest.approx(4 * 0.1 / 54**0.5, rel=0.15)

    def test_left_out_it_is_said(self, novella: Any) -> None:
        verdict, notes = self.captions(novella, 1e4)
        assert verdict == "not applicable"
        assert all("Position 0 is left out." in one for one in notes)


class TestClaims:
    """Each verdict of each claim, on numbers that were made up."""

    @pytest.mark.parametrize(
        ("hidden", "parting", "first", "verdict"),
        [(0.2, 0.3, 0.8, "holds"), (0.8, -0.3, 0.2, "fails"), (0.5, 0.0, 0.5, "undetermined")],
    )
    def test_it_is_found(self, hidden: float, parting: float, first: float, verdict: str) -> None:
        data = measurement(54, seed=1, hidden=hidden, parting=parting, first=first)
        made = answer_again(data)
        assert {name: one.verdict for name, one in made.claims.items()} == dict.fromkeys(
            ("T1", "T2", "T3"), verdict
        )

    def test_few_prompts_withhold_and_say_so(self) -> None:
        few = answer_again(measurement(12, seed=4, hidden=0.2, parting=0.3, first=0.8))
        for name, claim in few.claims.items():
            assert claim.verdict == "undetermined", name
            assert "12 texts" in claim.reason


class TestGroups:
    """The same prompts with other words."""

    @pytest.fixture
    def tokenizer(self, model: Any) -> Any:
        return model.tokenizer

    def plan(self, tokenizer: Any, texts: list[str], **how: Any) -> Any:
        asked = Trajectories(**how)
        plan = target_prompts(tokenizer, texts, asked.target, asked.occurrence, asked.regex)
        return grouped(tokenizer, plan, asked, bos=0)

    def test_words_stand_where_the_target_stood(self, tokenizer: Any) -> None:
        texts = ["We saw her and him there.", "They told her the truth."]
        made = self.plan(tokenizer, texts)
        assert made.prompts[2:4] == ("We saw him and him there.", "They told him the truth.")
        assert made.prompts[4] == "We saw round and him there."
        for text, ids, at in zip(made.prompts, made.ids, made.target[:, 0, 1].tolist(), strict=True):
            word = text.split()[2]
            assert tokenizer.decode(ids[:at]).strip() == " ".join(text.split()[:2])
            assert word.startswith(tokenizer.decode(ids[at : at + 1]).strip())
        assert "several tokens" in made.notes[-1]
        single = self.plan(tokenizer, texts, instead=WORDS[1:])
        at = single.target[:, 0, 1].reshape(3, 2)
        assert (at == at[0]).all()
        assert not any("several tokens" in note for note in single.notes)

    def test_of_several_the_one_that_was_asked_for(self, tokenizer: Any) -> None:
        texts = ["He told her that her dog ran.", "She lent her friend her book."]
        last = self.plan(tokenizer, texts, occurrence="last").prompts[2:4]
        assert last == ("He told her that him dog ran.", "She lent her friend him book.")
        first = self.plan(tokenizer, texts, occurrence="first").prompts[2:4]
        assert first == ("He told him that her dog ran.", "She lent him friend her book.")

    @pytest.mark.parametrize(
        ("prompts", "how", "said"),
        [
            (PROMPTS[:1], {}, "each group has one prompt"),
            (PROMPTS[:2], {"n_components": 50}, "n_components=50 for vectors of 32 numbers"),
            (PROMPTS, {"n_components": 1}, "n_components=1; expected 2"),
            (PROMPTS, {"instead": ()}, "instead is"),
            (PROMPTS, {"instead": " her"}, "repeat a word"),
            (PROMPTS, {"instead": (" him", " him")}, "repeat a word"),
            (PROMPTS, {"instead": (" him", " ")}, "instead ' ': a word has letters that can be printed"),
            (PROMPTS, {"instead": ("him",)}, "where it is no whole word"),
            (PROMPTS, {"occurrence": "all"}, "is no one place"),
            (["We her.", "You her."], {"n_components": 30}, "fewer than n_components=30"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, model: Any, prompts: Any, how: Any, said: str) -> None:
        with pytest.raises(InputError, match=said.replace("(", r"\(")) as refused:
            ll.trajectory_study(model, prompts, **how)
        assert "\n" not in str(refused.value)

    def test_a_target_at_the_end_has_no_turn_along_positions(self, model: Any) -> None:
        texts = ["We often saw her", "They never told her"]
        result = ll.trajectory_study(model, texts)
        assert any("In 2 of 2 prompts the target has no token" in note for note in result.warnings)
        assert np.isnan(result.measured["position_turn"].values[:, 0]).all()


def test_figures_have_a_step_a_layer_and_three_axes_where_there_are(model: Any) -> None:
    figures = ll.trajectory_study(model, PROMPTS).figures()
    for name, kind, n in (("plane", "scatter", 2), ("space", "scatter3d", 3)):
        figure = figures[name]
        assert {trace.type for trace in figure.data} == {kind}
        steps = figure.layout.sliders[0].steps
        assert [step.label for step in steps] == ["0", "1", "2", "3"]
        moved, which = steps[2].args
        assert sorted(moved) == list("xyz"[:n])
        assert [len(one) for one in moved["x"]] == [len(PROMPTS), 1] * 3
        assert list(which) == [3, 4, 5, 6, 7, 8]
        start = figure.layout.sliders[0].active
        shown = [list(figure.data[k].x) for k in which]
        there = steps[start].args[0]["x"]
        assert [len(one) for one in shown] == [len(one) for one in there]
        for one, other in zip(shown, there, strict=True):
            assert one == pytest.approx(other, rel=1e-3)
    assert "space" not in ll.trajectory_study(model, PROMPTS, n_components=2).figures()


def test_from_the_command_line(tiny_gpt2: Any, tmp_path: Any, capsys: Any) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS), encoding="utf-8")
    how = [
        "trajectories",
        "--model",
        str(tiny_gpt2),
        "--prompts",
        str(prompts),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main([*how, "--instead", " him, them", "--keep-first", "--quiet"]) == 0
    made = ll.load_result(tmp_path / "out" / "trajectories.nc")
    assert made.dataset["word"].values.tolist() == [" her", " him", " them"]
    assert made.settings["keep_first"] is True
    capsys.readouterr()
    assert main([*how, "--instead", " him, her"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("row", validation.run(20), ids=lambda row: f"{row.check}-{row.setting}")
def test_validation(row: Any) -> None:
    assert row.ok, row
