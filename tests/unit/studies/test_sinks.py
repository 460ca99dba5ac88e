import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.interventions import remove_write
from laminar_lens.models import families
from laminar_lens.results import StudyResult, claim_rows
from laminar_lens.stats.sinks import share_interval, sink_tokens, token_kind
from laminar_lens.studies.sinks.answer import answer
from laminar_lens.studies.sinks.study import sink_study
from tests import planted

KINDS = ["tiny_gpt2", "tiny_llama", "tiny_neox"]
LENGTH, N = 24, 100
PLACE, SIZE, DIMENSION = 0, 2000.0, 5


def verdicts(result: StudyResult) -> dict[str, str]:
    return {row["claim"]: row["verdict"] for row in claim_rows(result.dataset)}


def tokens_of(n: int = N, length: int = LENGTH, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 300, (n, length), generator=torch.Generator().manual_seed(seed))


def study(model: Any, tokens: torch.Tensor | None = None, **options: Any) -> StudyResult:
    tokens = tokens_of() if tokens is None else tokens
    return sink_study(model, tokens, **{"random_init": False, **options})


def plant_write(
    model: Any, block: int, component: str, size: float, place: int = PLACE, dimension: int = DIMENSION
) -> None:
    def add(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[:, place, dimension] += size
        return value

    model.add_hook(f"blocks.{block}.hook_{component}_out", add)


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("component", ["attn", "mlp"])
def test_a_planted_sink_is_found_with_layers_place_dimension_and_component(
    folder: Any, bridge: bool | None, component: str
) -> None:
    model = ll.load_model(folder, bridge=bridge)
    plant_write(model, 0, component, SIZE)
    plant_write(model, 2, component, -SIZE)
    result = study(model)
    data, mlp = result.dataset, component == "mlp"
    assert verdicts(result) == {
        "S1": "holds",
        "S2": verdicts(result)["S2"],  # a planted vector may or may not draw attention
        "S3": "holds",
        "S4": "holds" if mlp else "fails",
        "S5a": "holds",
        "S5b": "holds" if mlp else "fails",
        "S5c": "holds",
        "S6": "fails",
    }
    row = claim_rows(data)[0]
    assert "In layers 1–2 it is over 5 times" in row["evidence"]
    big = data["norm_ratio_low"].values > 5
    assert big.any(axis=1).tolist() == [False, True, True, False]
    assert big.any(axis=0).tolist() == [True] + [False] * (LENGTH - 1)
    massive = data["massive"].values
    assert (massive[:, 1:3, 0] == 1).all()
    assert massive.sum() == 6
    found = data["massive_dimension"].values
    assert (found[:, 1:3, DIMENSION] == 1).all()
    assert found.sum() == 6
    assert (data["largest_dimension"].values[1:3, 0] == DIMENSION).all()
    word = "MLPs" if mlp else "attention"
    assert "Position 0 is a sink in layers 1–2" in result.sentence
    share = r"\(MLPs: [^;]*%, 95% CI [^;]*%; "
    most = "MLPs" if mlp else "attention"
    assert re.search(rf"It is written mostly by {most} {share}by {word} of block 0\)\.", result.sentence)
    assert re.search(
        rf"% of that is gone in .*, taken away mostly by {most} {share}by {word} of block 2\); ",
        result.sentence,
    )
    share = data["write_share"].values
    assert share[0, int(mlp)] == pytest.approx(1, abs=0.05)
    assert share[2, int(mlp)] == pytest.approx(-1, abs=0.05)
    assert np.abs(share[1]).max() < 0.05
    assert (data["identity_error"].values < 1e-4).all()


def test_massive_dimensions_of_position_0_are_its_own(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    plant_write(model, 0, "mlp", SIZE)
    plant_write(model, 2, "mlp", -SIZE)
    plant_write(model, 0, "mlp", SIZE, place=6, dimension=9)
    result = study(model)
    evidence = claim_rows(result.dataset)[2]["evidence"]
    assert evidence.startswith(
        f"Published: {N} of {N} texts, most of them in layers 1–2, dimension {DIMENSION}; relative: "
    )
    first = result.dataset["massive_dimension_first"].sel(variant="published").values
    assert (first[1:3, DIMENSION] == 1).all()
    assert first.sum() == 2
    anywhere = result.dataset["massive_dimension"].sel(variant="published").values
    assert (anywhere[1:, 9] == 1).all()
    assert anywhere.sum() == 5


@pytest.mark.parametrize("bridge", [None, True])
def test_random_weights_have_no_sink(folder: Any, bridge: bool | None) -> None:
    result = study(ll.load_model(folder, bridge=bridge), random_init=True)
    found = verdicts(result)
    assert found["S1"] == found["S3"] == found["S6"] == "fails"
    assert {found[name] for name in ("S4", "S5a", "S5b", "S5c")} == {"not applicable"}
    assert found["S2"] != "holds"
    assert result.sentence.startswith("No sink at position 0 by length: at most ")
    assert result.dataset["random_norm_ratio"].shape == (4, LENGTH)


def test_novella_as_measured(novella: Any) -> None:
    """The embedded model is small and has no sink; the random twin is shown beside it."""
    result = sink_study(novella, n_texts=60, random_init=False)
    assert verdicts(result)["S1"] == "fails"
    assert 1.5 < result.dataset["norm_ratio"].values[:, 0].max() < 2
    assert result.sentence.startswith("No sink at position 0 by length: at most 1.")


@pytest.mark.parametrize("bridge", [None, True])
def test_heads_that_rest_on_a_position_are_found(folder: Any, bridge: bool | None) -> None:
    model = ll.load_model(folder, bridge=bridge)

    def rest(scores: torch.Tensor, hook: Any) -> torch.Tensor:
        scores = scores.clone()
        scores[:, [0, 2], :, 0] += 50
        scores[:, 3, 4:, 4] += 50
        return scores

    model.add_hook("blocks.1.attn.hook_attn_scores", rest)
    result = study(model)
    data = result.dataset
    assert (data["attention_first_low"].values[1, [0, 2]] > 0.99).all()
    assert verdicts(result)["S2"] == "holds"
    row = claim_rows(data)[1]
    assert row["text"].endswith("(mean above 0.3 over texts of 24 tokens)")
    assert row["unit"] == "of heads in a text"
    assert row["evidence"].startswith(
        "2 of 12 heads are shown to be above 0.3, in block 1, by their mean over texts of 24 tokens; "
    )
    assert " Attention rests on it: 2 of 12 heads give it over 0.3 on average; in a text " in result.sentence
    assert data["resting_heads"].values[1, 0] == pytest.approx(0.5)
    assert data["resting_heads"].values[1, 4] == pytest.approx(0.25)
    assert data["attention"].values[1, 3, 4] == pytest.approx(1, abs=1e-5)


def test_heads_by_their_mean_and_the_share_of_heads_in_a_text_are_two_answers(tiny_gpt2: Any) -> None:
    """Each head rests on position 0 in a tenth of the texts: none does on average, a tenth do in a text."""
    model = ll.load_model(tiny_gpt2)

    def rest(scores: torch.Tensor, hook: Any) -> torch.Tensor:
        scores = scores.clone()
        scores[:, :, :, 0] -= 50
        scores[::10, :, :, 0] += 100
        return scores

    for block in range(3):
        model.add_hook(f"blocks.{block}.attn.hook_attn_scores", rest)
    result = study(model)
    row = claim_rows(result.dataset)[1]
    assert row["verdict"] == "fails"
    assert row["estimate"] == pytest.approx(0.1)
    assert "0 of 12 heads are shown to be above 0.3" in row["evidence"]
    assert "The number is the share of heads above it in a text, averaged over texts." in row["evidence"]
    assert "no head gives it over 0.3 on average; in a text 10% of the heads do (95% CI " in result.sentence


@pytest.mark.parametrize("bridge", [None, True])
def test_the_sink_rate_is_its_definition(folder: Any, bridge: bool | None) -> None:
    """arXiv 2410.10781, in loops: α_k = 1/(T − k) Σ_{i ≥ k} A[i, k]; the share of heads with α_k > 0.3."""
    model = ll.load_model(folder, bridge=bridge)
    tokens = tokens_of(6, 12)
    data = study(model, tokens).dataset
    _, cache = model.run_with_cache(tokens, return_type=None)
    for block in range(3):
        pattern = cache[f"blocks.{block}.attn.hook_pattern"].double().numpy()
        alpha = np.zeros((6, 4, 12))
        for text in range(6):
            for head in range(4):
                for k in range(12):
                    total = 0.0
                    for i in range(k, 12):
                        total += pattern[text, head, i, k]
                    alpha[text, head, k] = total / (12 - k)
        np.testing.assert_allclose(data["attention"].values[block], alpha.mean(0), atol=1e-5)
        np.testing.assert_allclose(data["resting_heads"].values[block], (alpha > 0.3).mean((0, 1)), atol=1e-6)


@pytest.mark.parametrize("bridge", [None, True])
def test_lengths_writes_and_activations_are_those_of_the_cache(folder: Any, bridge: bool | None) -> None:
    model = ll.load_model(folder, bridge=bridge)
    tokens = tokens_of(70, 12)  # two batches of BATCH_TOKENS would need more; this one needs one
    data = study(model, tokens).dataset
    _, cache = model.run_with_cache(tokens, return_type=None)
    x = ll.residuals_from_cache(cache, model.cfg).double().numpy()
    norm = np.linalg.norm(x, axis=-1)
    ratio = norm / np.median(norm, axis=-1, keepdims=True)
    np.testing.assert_allclose(data["ratio"].transpose("layer", "text", "pos").values, ratio, rtol=1e-4)
    np.testing.assert_allclose(data["norm_ratio"].values, np.exp(np.log(ratio).mean(1)), rtol=1e-4)
    for block in range(3):
        change = (norm[block + 1] - norm[block]).mean(0)
        np.testing.assert_allclose(data["write"].values[block].sum(0), change, atol=1e-4)
        parts = [cache[f"blocks.{block}.hook_{name}_out"].double().numpy() for name in ("attn", "mlp")]
        grown = ((x[block] + x[block + 1]) * parts[1]).sum(-1) / (norm[block] + norm[block + 1])
        np.testing.assert_allclose(data["write"].values[block, 1], grown.mean(0), atol=1e-4)
    size = np.abs(x)
    largest = size.max(-1) / np.median(size, axis=(2, 3))[..., None]
    # torch's median of an even number of values is the lower of the two in the middle
    np.testing.assert_allclose(data["largest"].values, np.exp(np.log(largest).mean(1)), rtol=2e-2)


@pytest.mark.parametrize("bridge", [None, True])
def test_a_missing_hook_is_said(tiny_gpt2: Any, bridge: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = {**families.TRANSFORMER.hooks, "mlp": "blocks.{block}.hook_nothing"}
    hooks["pattern"] = "blocks.{block}.attn.hook_nothing"
    monkeypatch.setattr(families, "TRANSFORMER", replace(families.TRANSFORMER, hooks=hooks))
    result = study(ll.load_model(tiny_gpt2, bridge=bridge))
    assert result.warnings == [
        "The model has no hook blocks.0.attn.hook_nothing that fires: attention is not measured.",
        "The model has no hook blocks.0.hook_nothing that fires: steps are not decomposed into their writes.",
    ]
    assert verdicts(result)["S2"] == "undetermined"
    assert "write" not in result.dataset
    assert "attention" not in result.dataset


def test_a_token_that_is_a_sink_anywhere(tmp_path: Path) -> None:
    """A gate on one token: first in four texts of five, inside in one of five."""
    truth = planted.plant(planted.Plan(1.0, gate="token", seed=2), write=12.0)
    tokens = planted.random_texts(200, seed=2, sink=True)
    model = ll.load_model(str(planted.save(truth.edited, tmp_path / "model")))
    result = study(model, torch.from_numpy(tokens))
    data = result.dataset
    assert verdicts(result)["S6"] == "holds"
    assert data["sink_token"].values[0] == model.tokenizer.decode([planted.SINK_TOKEN])
    assert data["sink_token"].values[1] == ""
    assert data["sink_token_share"].values[0] == data["sink_token_first_share"].values[0] == 1
    inside = int((tokens[:, 1:] == planted.SINK_TOKEN).sum())
    assert data["sink_token_sinks"].values[0] == data["sink_token_occurrences"].values[0] == inside
    states = ll.capture_residuals(model, torch.from_numpy(tokens))
    by_vector = sink_tokens(states.values.numpy(), min_cosine=0.999999)
    assert (by_vector == (tokens == planted.SINK_TOKEN)).all()


@pytest.mark.parametrize("bridge", [None, True])
def test_conditions_and_saving(tiny_gpt2: Any, bridge: bool | None, tmp_path: Path) -> None:
    """Without the writing MLP there is no sink: the causal half of the claim."""
    model = ll.load_model(tiny_gpt2, bridge=bridge)
    plant_write(model, 0, "mlp", SIZE)
    result = study(model, interventions={"no write": [remove_write("mlp", [0], positions=[0])]})
    assert verdicts(result.condition("plain"))["S1"] == "holds"
    assert verdicts(result.condition("no write"))["S1"] == "fails"
    change = result.contrast("no write", "plain", "ratio")
    assert (change["high"].values[1:, 0] < -5).all()
    loaded = ll.load_result(result.save(tmp_path / "sinks.nc"))
    assert loaded.numbers_sha256 == result.numbers_sha256
    assert "S1" in str(loaded.summary())


def test_a_seed_gives_the_same_numbers_and_a_bos_is_position_0(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    runs = [sink_study(model, n_texts=20, length=12, seed=3, prepend_bos=True) for _ in range(2)]
    assert runs[0].numbers_sha256 == runs[1].numbers_sha256
    assert runs[0].dataset.sizes["pos"] == 13
    row = claim_rows(runs[0].dataset)[1]
    assert "over texts of 13 tokens, its BOS included" in row["text"]
    assert "over texts of 13 tokens, its BOS included; " in row["evidence"]
    assert runs[0].settings["geometry"] == "raw"
    plain = sink_study(model, n_texts=20, length=12, seed=3)
    assert plain.provenance["texts_sha256"] == runs[0].provenance["texts_sha256"]


def test_few_texts_decide_nothing(tiny_gpt2: Any) -> None:
    result = study(ll.load_model(tiny_gpt2), tokens_of(10))
    assert set(verdicts(result).values()) <= {"undetermined", "fails"}
    assert verdicts(result)["S1"] == verdicts(result)["S2"] == "undetermined"


def test_bad_input(tiny_gpt2: Any) -> None:
    model = ll.load_model(tiny_gpt2)
    with pytest.raises(InputError, match="n_texts is 1; at least 2"):
        sink_study(model, n_texts=1)
    with pytest.raises(InputError, match="length is 100; expected 4 … 64"):
        sink_study(model, length=100)
    with pytest.raises(InputError, match="seed is -1"):
        sink_study(model, seed=-1)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("\n", "newline"), (" \n\n", "newline"), (".", "delimiter"), (" ,", "delimiter"), ("…”", "delimiter"),
     (" her", "other"), (" ", "other"), ("", "other"), ("a.", "other")],
)  # fmt: skip
def test_kinds_of_tokens(text: str, kind: str) -> None:
    assert token_kind(text) == kind


@pytest.mark.parametrize("rare", [True, False])
def test_shares_of_attention_stay_between_nothing_and_all(rare: bool, tiny_gpt2: Any) -> None:
    """One text of sixty differs from the rest: a band around its mean would leave 0 … 1."""
    measured = study(ll.load_model(tiny_gpt2), tokens_of(60)).measured.copy(deep=True)
    for name, one in (("first", 0.9), ("resting", 1 / 12)):
        measured[name][:] = 0.0
        measured[name][0] = one
        measured[name][:] = measured[name] if rare else 1 - measured[name]
    found = answer(measured)
    end, claim = 0.0 if rare else 1.0, found.claims["S2"]
    heads = (found.data[f"attention_first_{which}"].values for which in ("low", "high"))
    for low, high in (heads, (np.array(claim.low), np.array(claim.high))):
        assert ((low if rare else high) == end).all()
        assert (low < high).all()


def test_shares_of_all_and_of_none_have_an_interval() -> None:
    """Wilson's own numbers: 0 of 20 has the upper limit z²/(n + z²)."""
    z2 = 1.959964**2
    assert share_interval(np.zeros(20)) == pytest.approx((0, 0, z2 / (20 + z2)), abs=1e-6)
    assert share_interval(np.ones(20)) == pytest.approx((1, 20 / (20 + z2), 1), abs=1e-6)
    for n in range(2, 300):  # an end of 7e-18 would be shown as such
        assert (share_interval(np.zeros(n))[1], share_interval(np.ones(n))[2]) == (0, 1)
    one = share_interval(np.array([1, 1, 0, 0] * 10), groups=np.repeat(np.arange(10), 4))
    assert one[2] - one[1] > 0.5
