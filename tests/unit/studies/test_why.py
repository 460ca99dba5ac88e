"""The why-study on tiny random models: cells against a recomputation of our own, texts, answers, result."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import BackendError, CaptureError, InputError
from laminar_lens.results import load_result
from laminar_lens.stats.why import why
from laminar_lens.stats.why_effects import CELLS, EFFECTS
from laminar_lens.studies.claim import Claim
from laminar_lens.studies.why.places import assign, exchange, places
from laminar_lens.studies.why.result import WhyResult
from laminar_lens.studies.why.study import why_study
from laminar_lens.studies.why.words import claim, sentence
from tests.unit.stats.test_why import cells

N, LENGTH = 24, 12


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return ll.load_model(str(tiny_gpt2))


@pytest.fixture(scope="module")
def tokens(model: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1, int(model.cfg.d_vocab), (N, LENGTH), generator=generator)


@pytest.fixture(scope="module")
def result(model: Any, tokens: torch.Tensor) -> WhyResult:
    return why_study(model, tokens, seed=3)


def hf_angles(folder: Path) -> Any:
    """Angles of neighbours of one text in Hugging Face's GPT-2: an explicit mask, explicit positions."""
    from transformers import GPT2LMHeadModel

    hf = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").double().eval()

    def angles(text: list[int], positions: list[int], visible: np.ndarray) -> np.ndarray:
        last: list[torch.Tensor] = []
        handle = hf.transformer.h[-1].register_forward_hook(
            lambda module, args, out: last.append(out[0] if isinstance(out, tuple) else out)
        )
        mask = torch.zeros(visible.shape, dtype=torch.float64)
        mask[~torch.from_numpy(visible)] = torch.finfo(torch.float64).min
        with torch.no_grad():
            out = hf.transformer(
                input_ids=torch.tensor([text]),
                position_ids=torch.tensor([positions]),
                attention_mask=mask[None, None],
                output_hidden_states=True,
            )
        handle.remove()
        # the library's last hidden state is after the final norm
        states = torch.stack([*out.hidden_states[:-1], last[0].reshape(out.hidden_states[0].shape)])[:, 0]
        unit = states / states.norm(dim=-1, keepdim=True)
        return torch.arccos((unit[:, :-1] * unit[:, 1:]).sum(-1)).numpy()

    return angles


def visible(length: int, t: int = 0) -> np.ndarray:
    """Row × column: not what comes later, and from t on nothing before t."""
    row, column = np.mgrid[:length, :length]
    return (column <= row) & ~((row >= t) & (column < t))


def test_the_four_cells_are_those_of_a_loop_over_texts(
    result: WhyResult, tokens: torch.Tensor, tiny_gpt2: Path
) -> None:
    angles = hf_angles(tiny_gpt2)
    data = result.dataset
    texts = tokens.tolist()
    window = range(*result.settings["reference"])
    for n in range(N):
        t, donor = int(data["at"][n]), int(data["donor"][n])
        assert donor != n
        whole = angles(texts[n], list(range(LENGTH)), visible(LENGTH))
        np.testing.assert_allclose(data["reference_angle"][n], whole[:, list(window)].mean(1), atol=2e-5)
        bigrams = {"first": texts[donor][:t] + texts[n][:2], "body": texts[n][: t + 2]}
        for place, text in bigrams.items():
            plain, anew = list(range(t + 2)), [*range(t), 0, 1]
            own = {
                "plain": angles(text, plain, visible(t + 2))[:, t],
                "cut": angles(text, plain, visible(t + 2, t))[:, t],
                "restart": angles(text, anew, visible(t + 2))[:, t],
                "both": angles(text, anew, visible(t + 2, t))[:, t],
            }
            for cell, angle in own.items():
                found = data["angle"].sel(place=place, cell=cell).isel(text=n)
                np.testing.assert_allclose(found, angle, atol=2e-5, err_msg=f"{n} {place} {cell}")
        np.testing.assert_allclose(data["angle"].sel(place="first", cell="both")[n], whole[:, 0], atol=2e-5)


def test_effects_are_means_of_the_cells_and_add_up(result: WhyResult) -> None:
    data = result.dataset
    first = data["angle"].sel(place="first").astype(float)
    mean = {name: data["effect_mean"].sel(effect=name).values for name in EFFECTS}
    for name, cell in (("E10", "cut"), ("E01", "restart"), ("E11", "both")):
        own = (first.sel(cell=cell) - first.sel(cell="plain")).mean("text")
        np.testing.assert_allclose(mean[name], own, atol=1e-6)
    np.testing.assert_allclose(mean["excess"], mean["T"] + mean["E11"], atol=1e-6)
    assert float(np.abs(mean["E10"][0])) < 1e-6, "layer 0 has no context"
    assert data.attrs["identity"] < 1e-5
    assert list(data["cell"].values) == list(CELLS)


def test_the_excess_is_the_warm_up_s_first_contrast(
    result: WhyResult, tokens: torch.Tensor, model: Any
) -> None:
    warm = ll.warmup_study(model, tokens, random_init=False)
    excess = result.dataset["effect_mean"].sel(effect="excess")
    np.testing.assert_allclose(excess, warm.dataset["delta"][:, 0], atol=1e-5)


def test_texts_exchange_beginnings_within_units_and_never_within_a_group() -> None:
    for n in (2, 3, 8, 9):
        swapped = exchange(n, None, seed=n)
        assert (swapped.donor != np.arange(n)).all()
        assert sorted(swapped.donor) == list(range(n))
        assert (swapped.unit == swapped.unit[swapped.donor]).all()
        assert len(np.unique(swapped.unit)) == max(n // 2, 1)
    groups = np.array(["a", "a", "a", "b", "c", "c", "d", "d", "d"])
    swapped = exchange(9, groups, seed=0)
    assert (groups[swapped.donor] != groups).all()
    assert (swapped.unit == swapped.unit[swapped.donor]).all()
    for group in np.unique(groups):
        assert len(np.unique(swapped.unit[groups == group])) == 1
    assert len(np.unique(swapped.unit)) == 2
    with pytest.raises(InputError, match="all texts are of one group"):
        exchange(4, np.zeros(4), seed=0)


def test_places_in_the_body() -> None:
    assert places(None, 64).tolist() == list(range(42, 63))
    assert places(5, 12).tolist() == [5]
    assert places([9, 3, 9], 12).tolist() == [3, 9]
    counts = np.bincount(assign(10, [3, 4, 5], seed=1))
    assert sorted(counts[3:].tolist()) == [3, 3, 4]
    for wrong in (0, 11, -1, True, 2.5, "5", [3, 11]):
        with pytest.raises(InputError, match="expected positions 1 … 10 of a text of 12 tokens"):
            places(wrong, 12)
    with pytest.raises(InputError, match="at is empty; expected positions 1"):
        places([], 12)


def test_the_same_seed_gives_the_same_numbers(result: WhyResult, model: Any, tokens: torch.Tensor) -> None:
    assert why_study(model, tokens, seed=3).numbers_sha256 == result.numbers_sha256
    assert why_study(model, tokens, seed=4).numbers_sha256 != result.numbers_sha256


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("kind", ["tiny_gpt2", "tiny_llama", "tiny_neox"])
def test_every_architecture_and_generation(
    kind: str, bridge: bool | None, request: pytest.FixtureRequest, tokens: torch.Tensor
) -> None:
    model = ll.load_model(str(request.getfixturevalue(kind)), bridge=bridge)
    result = why_study(model, tokens, at=6, random_init=False)
    data = result.dataset
    rotary = kind != "tiny_gpt2"
    assert data.attrs["identity"] < 1e-4
    assert data.attrs["position_factor"] == ("not applicable" if rotary else "applicable")
    assert np.isnan(data["effect_mean"].sel(effect="E01").values).all() == rotary
    np.testing.assert_array_equal(np.isnan(data["angle"].sel(cell="restart")).all(), rotary)
    if rotary:
        mean = data["effect_mean"]
        np.testing.assert_allclose(mean.sel(effect="E10"), mean.sel(effect="E11"), atol=2e-5)
        assert any("position factor is not applicable" in line for line in result.warnings)
        assert not set(data["verdict"].values) & {"position", "either", "jointly"}


def test_a_model_with_an_effect_of_context_says_so(model: Any, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1, int(model.cfg.d_vocab), (240, 10), generator=generator)
    result = why_study(model, ids, tau=0.02, random_init=False)
    assert result.verdict != "none"
    loaded = load_result(result.save(tmp_path / "why.nc"))
    assert isinstance(loaded, WhyResult)
    assert (loaded.verdict, loaded.found, loaded.sentence) == (result.verdict, result.found, result.sentence)
    row = loaded.summary()["claims"][0]
    assert (row["claim"], row["verdict"]) == ("C8", result.verdict)
    assert [one["layer"] for one in loaded.by_layer] == [0, 1, 2, 3]
    assert "Effects by layer (rad)" in str(loaded.summary())
    page = loaded.report(tmp_path / "why.html").read_text()
    for text in ("Why first pairs stand apart", "Why-study", 'id="figure-why_effects"', "token × place"):
        assert text in page
    figures = [name for name in loaded.figures() if name.startswith("why_")]
    assert figures == ["why_effects", "why_verdict", "why_trend", "why_excess", "why_cells", "why_places"]


def test_too_few_texts_have_numbers_and_no_verdict(result: WhyResult) -> None:
    assert result.verdict == "undetermined"
    assert np.isnan(result.dataset["effect_band_low"]).all()
    assert result.sentence.startswith("Undetermined: 12 observations; layers are named from 80 up")
    assert result.dataset["effect_band_low"].attrs["withheld"]
    assert "random_effect" in result.dataset
    assert set(result.dataset["verdict"].values) == {"undetermined"}


def test_fewer_texts_than_places(model: Any) -> None:
    few = ll.why_study(model, n_texts=4, random_init=False)
    assert few.verdict == "undetermined"


def test_groups_of_texts_are_observations(model: Any, tokens: torch.Tensor) -> None:
    result = why_study(model, tokens, groups=np.arange(N) // 4, random_init=False)
    assert (result.dataset.attrs["n_observations"], result.dataset.attrs["n_independent"]) == (3, 6)
    group = np.arange(N) // 4
    assert (group[result.dataset["donor"].values] != group).all()


def test_what_cannot_be_measured_is_refused(model: Any, tokens: torch.Tensor) -> None:
    for change, said in (
        ({"at": 11}, "at is 11; expected positions 1 … 10"),
        ({"tau": 0.0}, "tau is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"layers": [9]}, "layer"),
        ({"length": 99}, "length is 99"),
        ({"groups": np.zeros(N)}, "all texts are of one group"),
    ):
        with pytest.raises(InputError, match=said):
            why_study(model, tokens, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 4 texts"):
        why_study(model, tokens[:3])
    with pytest.raises(BackendError, match="backend 'fast' is unknown"):
        why_study(model, tokens, backend="fast")
    with pytest.raises(InputError, match="takes no prepend_bos=: a pair with a BOS has no counterpart"):
        why_study(model, tokens, prepend_bos=True)  # type: ignore[call-arg]


def test_an_intervention_that_does_not_do_what_it_says_is_caught(
    model: Any, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identity is checked at run time: here a cut that leaves the row after t its context."""
    monkeypatch.setattr("laminar_lens.studies.why.cells.cut", ll.no_context)
    with pytest.raises(CaptureError, match="cut and restart together are not the plain run of the text"):
        why_study(model, tokens, random_init=False)


def test_one_undefined_angle_does_not_hide_that(
    model: Any, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token without a vector makes angles undefined; all others are still compared."""
    table = model.W_E.detach().clone()
    places_ = model.W_pos.detach().clone()
    try:
        with torch.no_grad():
            first = int(tokens[0, 0])
            model.W_E[first] = -model.W_pos[0]
        whole = why_study(model, tokens, random_init=False, layers=[0, 1])
        assert any("an angle is not defined" in note for note in whole.warnings)
        assert 0 <= whole.dataset.attrs["identity"] < 1e-4
        monkeypatch.setattr("laminar_lens.studies.why.cells.cut", ll.no_context)
        with pytest.raises(CaptureError, match="cut and restart together are not the plain run of the text"):
            why_study(model, tokens, random_init=False, layers=[0, 1])
    finally:
        with torch.no_grad():
            model.W_E.copy_(table)
            model.W_pos.copy_(places_)


def test_interventions_are_in_all_four_cells(model: Any, tokens: torch.Tensor, tmp_path: Path) -> None:
    """Without any attention there is no context: cutting it does nothing, and the excess is position's."""
    gone = ll.remove_write("attn", [0, 1, 2])
    result = why_study(model, tokens, interventions={"no attention": gone}, at=[6, 8])
    assert isinstance(result, WhyResult)
    assert result.conditions == ("plain", "no attention")
    there = result.condition("no attention")
    mean = there.dataset["effect_mean"]
    np.testing.assert_allclose(mean.sel(effect="E10"), 0, atol=2e-6)
    np.testing.assert_allclose(mean.sel(effect="E01"), mean.sel(effect="E11"), atol=2e-5)
    assert np.abs(result.condition("plain").dataset["effect_mean"].sel(effect="E10")).max() > 1e-3
    assert [row["layer"] for row in result.by_layer] == [0, 1, 2, 3]
    found = result.contrast("no attention", "plain", "E10")
    own = [result.condition(name).dataset["E10"].mean("text").values for name in ("no attention", "plain")]
    np.testing.assert_allclose(found["difference"], own[0] - own[1], atol=1e-6)
    assert result.summary()["contrasts"][0]["what"] == "E11"
    assert result.provenance["interventions"]["no attention"][0]["label"] == gone.label
    loaded = load_result(result.save(tmp_path / "why.nc"))
    assert loaded.numbers_sha256 == result.numbers_sha256
    assert "contrasts" in loaded.figures()
    text = ll.capture_residuals(model, tokens[:1], interventions=gone).values[:, 0, :2]
    angle = torch.nn.functional.cosine_similarity(text[:, 0], text[:, 1], dim=-1).arccos()
    np.testing.assert_allclose(there.dataset["angle"].sel(place="first", cell="both")[0], angle, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [ll.cut(3), ll.restart(3), ll.prefix("a"), ll.set_position(1, 0), ll.remove_write("mlp", 1, 0)],
    ids=str,
)
def test_interventions_of_a_place_do_not_fit_texts_that_are_moved(
    model: Any, tokens: torch.Tensor, change: Any
) -> None:
    with pytest.raises(InputError, match="does not treat all positions of any text alike"):
        why_study(model, tokens, interventions=change)


BEHIND = "each behind the first t = 42–62 tokens of another"


def said(
    e11: list[float], e10: list[float], e01: list[float], *, n: int = 200, **how: Any
) -> tuple[str, Claim]:
    """Sentence and claim of simulated effects."""
    answer = why(cells(n, e11, e10, e01), tau=0.05, **how)
    layers, has = tuple(range(len(e11))), bool(how.get("has_positions", True))
    return sentence(answer, layers, n, [42, 62], has_positions=has), claim(
        answer, layers, 1e-7, has_positions=has, random={"E11": np.full(len(e11), -0.1)}
    )


def test_every_verdict_in_words() -> None:
    text, c8 = said([0, 0.3], [0, 0], [0, 0.3])
    size = r"being first makes a pair 0\.\d\d rad"
    assert re.match(
        rf"Position: {size} wider in layer 1 \(95% CI 0\.\d\d–0\.\d\d, 200 texts, {BEHIND}\), and being at",
        text,
    )
    assert re.search(
        r"being at position 0 is enough for it \(\+0\.\d\d rad\), being without context is not", text
    )
    assert (c8.verdict, c8.unit) == ("position", "rad")
    assert c8.evidence.startswith(
        "The claim does not hold: it is the position. Position in layer 1: being first (E11) +0."
    )
    assert "With random weights E11 is −0.10 rad in these layers." in c8.evidence
    text, _ = said([0, -0.3], [0, -0.3], [0, -0.3])
    assert re.match(rf"Either: {size} narrower in layer 1", text)
    text, c8 = said([0, 0.3], [0, 0.15], [0, 0])
    assert re.match(rf"Undetermined: {size} wider in layer 1", text)
    assert "but an interval of the named layers crosses a threshold (positions restarted alone (E01) " in text
    assert "The claim is open." in c8.evidence
    text, c8 = said([0, 0.01], [0, 0], [0, 0])
    assert text.startswith("None: being first moves a pair of tokens by less than 0.05 rad, in all 2 hidden")
    assert (c8.verdict, "inside ±0.05 rad in every layer" in c8.evidence) == ("none", True)
    text, _ = said([0.4, -0.3], [0.4, 0], [0, -0.3])
    assert re.match(
        r"Undetermined: first pairs have the cause context where they are 0\.\d\d rad wider in layer 0 .*"
        r" and the cause position where they are 0\.\d\d rad narrower in layer 1",
        text,
    )
    text, _ = said([-0.4, -0.3, 0], [0, -0.3, 0], [-0.4, 0, 0], control=0)
    assert text.endswith("Layer by layer, the answer is position in layer 0.")
    text, _ = said([0, 0.3, 0.3], [0, 0.3, 0.15], [0, 0, 0.01])  # the last is open, at half of E11
    assert "in layers 1–2 (" in text
    assert "on average over these layers, being without context is enough" in text
    assert text.endswith("Layer by layer, the answer is undetermined in layer 2.")
    text, _ = said([0, 0.3], [0, 0.3], [0, 0], n=30)
    why_not = "30 observations; layers are named from 80 up, half to choose and half to measure"
    assert text == f"Undetermined: {why_not} (30 texts, {BEHIND}). 160 independent texts are enough for that."


def test_a_cause_that_depends_on_the_place_is_said(novella: Any) -> None:
    """Here with the trained model, whose cut does more the farther from the start it is made."""
    result = why_study(novella, n_texts=180, at=[42, 52, 62], layers=[2, 3, 4], random_init=False)
    assert re.search(
        r"It depends on the place t: from 42 to 62 context cut off alone \(E10\) goes from −0\.\d+ to "
        r"−0\.\d+ rad \(95% CI of the change \[−0\.\d+, −0\.\d+\]\)\.$",
        result.sentence,
    )
    assert any("(E10) changes along the places t = 42 … 62." in line for line in result.warnings)
    data = result.dataset
    assert data["t"].values.tolist() == [42, 52, 62]
    rows = result.found[0]["layers"]
    e10 = data["E10"].sel(layer=rows).mean("layer").values
    at = data["at"].values
    np.testing.assert_allclose(
        data["trend_mean"].sel(trend_effect="E10", t=52), e10[at == 52].mean(), atol=1e-6
    )
    line = np.polyval(np.polyfit(at, e10, 1), [42, 62])
    np.testing.assert_allclose(data["trend_line"].sel(trend_effect="E10", t=[42, 62]), line, atol=1e-5)
    assert "why_trend" in result.figures()


@pytest.mark.parametrize("e11", [0.3, 0.08])
def test_without_positions_nothing_is_said_of_them(e11: float) -> None:
    nan = float("nan")
    text, c8 = said([0, e11], [0, e11], [nan, nan], has_positions=False)
    assert "nan" not in text + c8.evidence
    assert "The position factor is not applicable" in c8.evidence
    assert text.startswith("Context: ")
    assert "not applicable to this model" in text


def test_progress_names_its_parts(model: Any, tokens: torch.Tensor) -> None:
    seen: dict[str, tuple[int, int]] = {}
    why_study(model, tokens, progress=lambda label, done, total: seen.update({label: (done, total)}))
    assert set(seen) == {"the four cells", "random weights", "statistics"}
    assert all(done == total > 0 for done, total in seen.values())
