"""Steps of models as their two writes: against caches in loops, planted, and where they do not add up."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError, ModelError
from laminar_lens.geometry import fit_geometry
from laminar_lens.models import families
from laminar_lens.results import StudyResult, claim_rows
from laminar_lens.stats.false_discovery import discovery_values
from laminar_lens.stats.permutation import sign_flip
from laminar_lens.studies.decomposition.facts import N_PERM
from laminar_lens.studies.decomposition.study import Decomposition, decomposition_study
from tests.conftest import build_tokenizer
from tests.said import check_said

pytestmark = pytest.mark.filterwarnings("ignore:Hooks that were left on the model")  # planted on purpose
KINDS = ["tiny_gpt2", "tiny_llama", "tiny_neox"]
ATTN, MLP, STEP = range(3)
Plant = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def tokens_of(n: int = 60, length: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 300, (n, length), generator=torch.Generator().manual_seed(seed))


def claims(result: StudyResult) -> dict[str, Any]:
    return {row["claim"]: row for row in claim_rows(result.dataset)}


def verdicts(result: StudyResult) -> dict[str, str]:
    return {name: row["verdict"] for name, row in claims(result).items()}


def plant(model: Any, blocks: list[int], write: Plant) -> None:
    """Attention's and the MLP's write of some blocks replaced by what `write` makes of their input and a
    random direction."""
    for block in blocks:
        seen: dict[str, torch.Tensor] = {}
        generator = torch.Generator().manual_seed(block)

        def keep(value: torch.Tensor, hook: Any, seen: Any = seen) -> None:
            seen["x"] = value

        def attn(value: torch.Tensor, hook: Any, seen: Any = seen, g: Any = generator) -> torch.Tensor:
            random = torch.randn(2, *value.shape, generator=g).to(value)
            seen["attn"], seen["mlp"] = write(seen["x"], random)
            return seen["attn"]

        def mlp(value: torch.Tensor, hook: Any, seen: Any = seen) -> torch.Tensor:
            return seen["mlp"]

        model.add_hook(f"blocks.{block}.hook_resid_pre", keep)
        model.add_hook(f"blocks.{block}.hook_attn_out", attn)
        model.add_hook(f"blocks.{block}.hook_mlp_out", mlp)


def across(x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    return u - (u * x).sum(-1, keepdim=True) / (x * x).sum(-1, keepdim=True) * x


def angle(u: np.ndarray, v: np.ndarray) -> float:
    return float(np.arccos(np.clip(cosine(u, v), -1, 1)))


def cosine(u: np.ndarray, v: np.ndarray) -> float:
    return float(u @ v / np.sqrt((u @ u) * (v @ v)))


def by_loops(
    x: np.ndarray, attn: np.ndarray, mlp: np.ndarray, parallel: bool, body_from: int
) -> dict[str, np.ndarray]:
    """Every number of one text and step, token by token."""
    found: dict[str, Any] = {}
    tokens = range(body_from, len(x))

    def mean(name: str, of: Callable[[int], Any]) -> None:
        found[name] = np.mean([of(i) for i in tokens], axis=0)

    def terms(i: int) -> list[tuple[np.ndarray, np.ndarray]]:
        a, m = attn[i], mlp[i]
        return [(x[i], a), (x[i] if parallel else x[i] + a, m), (x[i], a + m)]

    size = np.linalg.norm
    mean("cosine", lambda i: cosine(attn[i], mlp[i]))
    mean("ratio", lambda i: np.log(size(mlp[i]) / size(attn[i])))
    mean("residual", lambda i: size(x[i]))
    mean("length", lambda i: [size(w) for _, w in terms(i)])
    mean("relative", lambda i: [size(w) / size(r) for r, w in terms(i)])
    mean("along", lambda i: [w @ r / (r @ r) for r, w in terms(i)])
    mean("across", lambda i: [size(w - w @ r / (r @ r) * r) / size(r) for r, w in terms(i)])
    mean("radial", lambda i: [cosine(w, r) ** 2 for r, w in terms(i)])
    mean("with_residual", lambda i: [angle(w, r) for r, w in terms(i)])
    mean("with_step", lambda i: [angle(w, attn[i] + mlp[i]) for w in (attn[i], mlp[i])])
    mean("turn", lambda i: [angle(r, r + w) for r, w in terms(i)])
    found["other"] = np.mean([cosine(attn[i], mlp[j]) for i in tokens for j in tokens if i != j])
    return found


@pytest.mark.parametrize("bridge", [None, True])
def test_every_number_is_its_definition(folder: Path, bridge: bool | None) -> None:
    model, tokens = ll.load_model(folder, bridge=bridge), tokens_of(4, 9)
    parallel = bool(model.cfg.parallel_attn_mlp)
    assert parallel == ("neox" in str(folder))
    result = decomposition_study(model, tokens, body_from=2)
    measured = result.measured
    assert measured is not None
    assert measured["layer"].values.tolist() == [1, 2, 3]
    _, cache = model.run_with_cache(tokens, return_type=None)
    parts = ("resid_pre", "attn_out", "mlp_out")
    for block in range(3):
        terms = [cache[f"blocks.{block}.hook_{part}"].double().numpy() for part in parts]
        for text in range(4):
            right = by_loops(*(term[text] for term in terms), parallel=parallel, body_from=2)
            for name, values in right.items():
                found = measured[name].values[text, block]
                np.testing.assert_allclose(found, values, atol=2e-6, rtol=2e-6, err_msg=name)
        places = [[cosine(terms[1][n, i], terms[2][n, i]) for n in range(4)] for i in range(9)]
        np.testing.assert_allclose(measured["place_cosine"].values[block], np.mean(places, 1), atol=1e-6)
    assert (measured["error"].values < 1e-5).all()
    assert result.settings["the MLP reads"].startswith("the block's" if parallel else "the input with")
    for name in ("cosine", "other", "relative", "along", "with_step", "turn"):
        np.testing.assert_allclose(result.dataset[name].values, measured[name].values.mean(0), rtol=1e-12)


@pytest.mark.parametrize("bridge", [None, True])
def test_planted_opposed_writes_are_recovered(folder: Path, bridge: bool | None) -> None:
    model = ll.load_model(folder, bridge=bridge)
    plant(model, [1], lambda x, u: (u[0], -0.5 * u[0]))
    result = decomposition_study(model, tokens_of())
    data = result.dataset.sel(layer=2)
    for end in ("", "_low", "_high"):
        assert float(data[f"cosine{end}"]) == pytest.approx(-1, abs=1e-6)
        assert float(data[f"ratio{end}"]) == pytest.approx(0.5, abs=1e-6)
        assert data[f"with_step{end}"].values == pytest.approx([0, np.pi], abs=1e-6)
    assert int(data["related"]) == 1
    found = claims(result)
    assert found["W1"]["verdict"] == "holds"
    assert found["W2"]["verdict"] == "fails"
    assert found["W2"]["estimate"] == pytest.approx(-1, abs=1e-6)
    assert "In layer 2, where it is most, the cosine is −1.00 to the same token" in found["W1"]["evidence"]
    check_said(result)


@pytest.mark.parametrize("bridge", [None, True])
def test_planted_turning_and_lengthening_are_recovered(folder: Path, bridge: bool | None) -> None:
    """Attention's write at right angles to its input; the MLP's along what it enters, a fifth of it."""
    model = ll.load_model(folder, bridge=bridge)
    parallel = bool(model.cfg.parallel_attn_mlp)

    def write(x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        attn = across(x.double(), u[0].double()).to(x)
        return attn, 0.2 * (x if parallel else x + attn)

    plant(model, [0, 1, 2], write)
    data = decomposition_study(model, tokens_of()).dataset
    assert data["along"].sel(part="attn").values == pytest.approx(0, abs=1e-6)
    assert data["radial"].sel(part="attn").values == pytest.approx(0, abs=1e-6)
    assert data["with_residual"].sel(part="attn").values == pytest.approx(np.pi / 2, abs=1e-6)
    assert data["along"].sel(part="mlp").values == pytest.approx(0.2, abs=1e-6)
    assert data["across"].sel(part="mlp").values == pytest.approx(0, abs=1e-6)
    assert data["radial"].sel(part="mlp").values == pytest.approx(1, abs=1e-6)
    assert data["turn"].sel(part="mlp").values == pytest.approx(0, abs=1e-6)
    if parallel:
        assert data["cosine"].values == pytest.approx(0, abs=1e-6)
    apart = data["difference_of_adjustments"].values
    assert apart == pytest.approx(data["turn"].sel(part="attn").values, abs=1e-6)


def test_groups_count_once_wherever_a_number_is_told(tiny_gpt2: Path) -> None:
    """Thirty groups of one text and thirty of two: a mean over texts is another number."""
    groups = [k if k < 30 else 30 + (k - 30) // 2 for k in range(90)]
    measured = decomposition_study(ll.load_model(tiny_gpt2), tokens_of(90), groups=groups).measured
    assert measured is not None
    other = np.where(np.arange(90) < 30, 0.9, 0.1)[:, None] * np.ones((90, 3))
    found = Decomposition().answer(measured.assign(other=(("text", "layer"), other)))
    np.testing.assert_allclose(found.data["other"].values, 0.5)
    assert "to the same token and 0.50 to different ones" in found.claims["W1"].evidence


def test_the_answer_is_of_what_was_measured(tiny_gpt2: Path) -> None:
    """Numbers by text, and p of each layer by itself, not of the maximum over layers."""
    result = decomposition_study(ll.load_model(tiny_gpt2), tokens_of(40))
    data, measured = result.dataset, result.measured
    assert measured is not None
    np.testing.assert_array_equal(data["text_turn"], measured["turn"].values[..., STEP])
    np.testing.assert_array_equal(data["text_cosine"], measured["cosine"])
    np.testing.assert_allclose(data["residual"], measured["residual"].mean("text"), rtol=1e-12)
    apart = measured["turn"].values[..., ATTN] - measured["turn"].values[..., MLP]
    np.testing.assert_allclose(data["difference_of_adjustments"], apart.mean(0), rtol=1e-9)
    difference = measured["cosine"].values - measured["other"].values
    alone = [sign_flip(difference[:, [row]], n_perm=N_PERM, seed=0).p[0] for row in range(3)]
    np.testing.assert_allclose(data["p_value"], alone, atol=1e-12)
    np.testing.assert_allclose(data["q_value"], discovery_values(np.array(alone)), atol=1e-12)


@pytest.mark.parametrize(("n", "tested"), [(19, False), (20, True)])
def test_p_is_told_from_as_many_texts_as_it_was_validated(tiny_gpt2: Path, n: int, tested: bool) -> None:
    found = decomposition_study(ll.load_model(tiny_gpt2), tokens_of(n)).dataset["p_value"].values
    assert np.isfinite(found).all() == tested


def test_a_share_has_no_end_below_nothing(tiny_neox: Path) -> None:
    """The first step turns alone in all but a few texts."""
    model, n = ll.load_model(tiny_neox), 60

    def write(x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        along = torch.zeros(len(x), 1, 1).to(x)
        along[:2] = 1.0
        return across(x, u[0]), along * x

    plant(model, [0, 1, 2], write)
    result = decomposition_study(model, tokens_of(n))
    assert 0 <= claims(result)["W4"]["low"] < claims(result)["W4"]["estimate"]
    check_said(result)


def test_steps_that_mostly_lengthen_are_said(tiny_neox: Path) -> None:
    model = ll.load_model(tiny_neox)
    plant(model, [1], lambda x, u: (0.1 * across(x, u[0]), 0.9 * x))
    result = decomposition_study(model, tokens_of())
    assert verdicts(result)["W4"] == "fails"
    assert claims(result)["W4"]["evidence"].startswith("More than half in layer 2. ")
    check_said(result)


def test_writes_without_relation_are_silent(tiny_gpt2: Path) -> None:
    """Random writes with a direction that all of a layer share: alike, and no more to the same token."""
    model = ll.load_model(tiny_gpt2)
    plant(model, [0, 1, 2], lambda x, u: (u[0] + 0.7, u[1] + 0.7))
    result = decomposition_study(model, tokens_of(120, 24))
    data = result.dataset
    assert (data["cosine"].values > 0.25).all()
    assert np.abs(data["difference"].values).max() < 0.02
    assert (data["q_value"].values > 0.05).all()
    assert verdicts(result)["W1"] == "fails"
    assert verdicts(result)["W2"] == "fails"
    check_said(result)


def test_orthogonal_writes_of_one_length_are_said(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)

    def write(x: torch.Tensor, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        other = across(u[0], u[1])
        return u[0], 3 * other * u[0].norm(dim=-1, keepdim=True) / other.norm(dim=-1, keepdim=True)

    plant(model, [0, 1, 2], write)
    result = decomposition_study(model, tokens_of())
    assert result.dataset["cosine"].values == pytest.approx(0, abs=1e-6)
    assert result.dataset["ratio"].values == pytest.approx(3, abs=1e-5)
    found = verdicts(result)
    assert (found["W2"], found["W3"]) == ("holds", "holds")
    check_said(result)


def test_few_texts_decide_nothing(tiny_gpt2: Path) -> None:
    result = decomposition_study(ll.load_model(tiny_gpt2), tokens_of(10))
    assert set(verdicts(result).values()) == {"undetermined"}
    assert "10 texts, and its test was validated from 20 up" in claims(result)["W1"]["reason"]
    assert np.isnan(result.dataset["p_value"].values).all()
    check_said(result)


@pytest.mark.parametrize("bridge", [None, True])
def test_a_block_whose_step_is_not_its_writes_is_not_decomposed(tiny_gpt2: Path, bridge: bool | None) -> None:
    model = ll.load_model(tiny_gpt2, bridge=bridge)
    change = ll.scale_norm(1.5, layers=2)
    result = decomposition_study(model, tokens_of(), interventions={"longer": change}).condition("longer")
    assert any(
        "In 1 of 3 blocks, resid_post − resid_pre is not attn + mlp (block 1:" in w for w in result.warnings
    )
    for name in ("cosine", "other", "relative", "turn", "p_value", "q_value", "ratio"):
        values = result.dataset[name].values.reshape(3, -1)
        assert np.isnan(values).all(1).tolist() == [False, True, False], name
    assert "in every layer measured" in result.sentence
    check_said(result)


@pytest.mark.parametrize("bridge", [None, True])
def test_a_model_in_no_block_of_which_they_add_up_is_refused_by_name(
    tiny_gpt2: Path, bridge: bool | None
) -> None:
    model = ll.load_model(tiny_gpt2, bridge=bridge)
    for block in range(3):
        model.add_hook(f"blocks.{block}.hook_resid_post", lambda value, hook: value * 1.5)
    with pytest.raises(ModelError) as error:
        decomposition_study(model, tokens_of(200))
    said = str(error.value)
    assert "\n" not in said
    assert said.startswith("GPT2LMHeadModel: in no block input + attention + MLP is the output (off by at ")
    assert "0.0001 is allowed): hooks act on it" in said


def test_a_model_without_such_hooks_is_refused_by_name_before_any_pass(
    tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ll.load_model(tiny_gpt2)
    hooks = {**families.TRANSFORMER.hooks, "mlp": "blocks.{block}.nothing"}
    monkeypatch.setattr(families, "TRANSFORMER", replace(families.TRANSFORMER, hooks=hooks))
    monkeypatch.setattr(type(model), "forward", None)
    with pytest.raises(
        ModelError, match=r"GPT2LMHeadModel has no hook point 'blocks\.0\.nothing': its steps c"
    ):
        decomposition_study(model, tokens_of())


@pytest.mark.parametrize("kind", ["Gemma2", "Olmo2"])
def test_a_write_is_read_after_the_norm_that_follows_it(kind: str, tmp_path: Path) -> None:
    """Against the outputs of Hugging Face's norms behind attention and MLP."""
    import transformers

    config = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    config |= {
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "vocab_size": build_tokenizer(tmp_path),
    }
    tokens = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        hf = transformers.AutoModelForCausalLM.from_config(
            getattr(transformers, f"{kind}Config")(**config | tokens)
        )
        with torch.no_grad():
            for parameter in hf.parameters():
                parameter.copy_(0.2 * torch.randn_like(parameter) + (parameter.ndim == 1))
    hf.save_pretrained(tmp_path)
    model, rows = ll.load_model(tmp_path, bridge=True), tokens_of(6, 8)
    written: dict[str, list[torch.Tensor]] = {"attention": [], "feedforward": []}
    for block in hf.eval().model.layers:
        for name, found in written.items():
            norm = getattr(block, f"post_{name}_layernorm")
            norm.register_forward_hook(lambda _, __, made, found=found: found.append(made))
    with torch.no_grad():
        hf.model(rows)
    attn, mlp = (torch.stack(one).double() for one in written.values())
    result = decomposition_study(model, rows, body_from=0)
    assert result.measured is not None
    right = torch.nn.functional.cosine_similarity(attn, mlp, dim=-1).mean(-1).T
    np.testing.assert_allclose(result.measured["cosine"].values, right.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        result.measured["length"].values[..., ATTN], attn.norm(dim=-1).mean(-1).T.numpy(), rtol=1e-4
    )
    with pytest.raises(ModelError, match=f"{kind}ForCausalLM: in block 0 the heads' writes do not add up"):
        decomposition_study(model, rows, heads=True)


@pytest.mark.parametrize("bridge", [None, True])
def test_heads_are_parts_of_attention(folder: Path, bridge: bool | None) -> None:
    """In loops over heads and tokens, from what each head read and its weights alone."""
    model, tokens = ll.load_model(folder, bridge=bridge), tokens_of(3, 7)
    result = decomposition_study(model, tokens, heads=True)
    measured = result.measured
    assert measured is not None
    _, cache = model.run_with_cache(tokens, return_type=None)
    for block in range(3):
        x, attn, mlp = (
            cache[f"blocks.{block}.hook_{part}"].double().numpy()
            for part in ("resid_pre", "attn_out", "mlp_out")
        )
        z = cache[f"blocks.{block}.attn.hook_z"].double().numpy()
        weights = model.blocks[block].attn.W_O.detach().double().numpy()
        for text in range(3):
            for head in range(4):
                rows = []
                for i in range(1, 7):
                    w, r, a = z[text, i, head] @ weights[head], x[text, i], attn[text, i]
                    size = np.linalg.norm(w) / np.linalg.norm(r)
                    rows.append([cosine(w, mlp[text, i]), size, w @ r / (r @ r), w @ a / (a @ a)])
                names = ("head_cosine", "head_relative", "head_along", "head_share")
                for name, value in zip(names, np.mean(rows, 0), strict=True):
                    found = measured[name].values[text, block, head]
                    assert found == pytest.approx(value, abs=1e-5), name
    assert result.settings["heads"] is True
    if "llama" in str(folder):  # attention has no bias, whose share would be missing
        np.testing.assert_allclose(measured["head_share"].sum("head"), 1, atol=1e-5)
    assert "decomposition_heads" in result.figures()
    assert "head_cosine" not in decomposition_study(model, tokens).dataset


@pytest.mark.parametrize("name", ["mean_over_d_model", "layernormed", "standardised"])
def test_in_a_geometry_a_write_is_the_change_that_it_makes(tiny_gpt2: Path, name: str) -> None:
    model, tokens = ll.load_model(tiny_gpt2), tokens_of(4, 9)
    geometry = fit_geometry(model, name, n_texts=8, length=16)
    result = decomposition_study(model, tokens, geometry=geometry)
    assert result.measured is not None
    assert result.settings["geometry"] == name
    assert result.sentence.startswith(f"In the geometry '{name}', ")
    _, cache = model.run_with_cache(tokens, return_type=None)
    for block in range(3):
        x, a, m = (cache[f"blocks.{block}.hook_{part}"] for part in ("resid_pre", "attn_out", "mlp_out"))
        states = [geometry.apply(block, one).double().numpy() for one in (x, x + a, x + a + m)]
        for text in range(4):
            x_, mid, after = (state[text] for state in states)
            right = by_loops(x_, mid - x_, after - mid, parallel=False, body_from=1)
            for key in ("cosine", "other", "relative", "along", "turn"):
                found = result.measured[key].values[text, block]
                np.testing.assert_allclose(found, right[key], atol=1e-4, rtol=1e-4, err_msg=key)


def test_behind_a_prefix_the_texts_own_positions_are_measured(tiny_llama: Path) -> None:
    model, tokens = ll.load_model(tiny_llama), tokens_of(3, 6)
    before = model.tokenizer("They admired", add_special_tokens=False)["input_ids"]
    whole = torch.cat([torch.tensor([before]).expand(3, -1), tokens], dim=1)
    found = decomposition_study(model, tokens, interventions=ll.prefix("They admired"), heads=True)
    measured = found.condition("prefix('They admired')").measured
    assert measured is not None
    _, cache = model.run_with_cache(whole, return_type=None)
    for block in range(3):
        terms = [
            cache[f"blocks.{block}.hook_{part}"].double().numpy()[:, len(before) :]
            for part in ("resid_pre", "attn_out", "mlp_out")
        ]
        for text in range(3):
            right = by_loops(*(term[text] for term in terms), parallel=False, body_from=1)
            for name in ("cosine", "other", "turn"):
                np.testing.assert_allclose(measured[name].values[text, block], right[name], atol=1e-5)


def test_half_precision_adds_up(tiny_llama: Path) -> None:
    model = ll.load_model(tiny_llama, dtype="bfloat16")
    result = decomposition_study(model, tokens_of(), heads=True)
    assert result.warnings == []
    assert (result.dataset["identity_error"].values < 1.5e-2).all()
    exact = decomposition_study(ll.load_model(tiny_llama), tokens_of()).dataset["cosine"]
    np.testing.assert_allclose(result.dataset["cosine"], exact, atol=0.05)


def test_chosen_layers_are_those_of_all(tiny_gpt2: Path) -> None:
    model, tokens = ll.load_model(tiny_gpt2), tokens_of()
    whole = decomposition_study(model, tokens).dataset
    some = decomposition_study(model, tokens, layers=[3, 1, 0])
    assert some.settings["layers"] == [1, 3]
    for name in ("cosine", "p_value", "turn"):
        np.testing.assert_allclose(some.dataset[name], whole[name].sel(layer=[1, 3]), rtol=1e-12)
    assert some.sentence.startswith("Of layers 1 and 3, ")
    with pytest.raises(InputError, match="layers is 0: hidden state 0 is written by no block"):
        decomposition_study(model, tokens, layers=0)


def test_where_nothing_is_written_nothing_is_claimed(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    changes = {"no MLP": ll.remove_write("mlp", [0, 1, 2])}
    result = decomposition_study(model, tokens_of(), interventions=changes).condition("no MLP")
    found = verdicts(result)
    assert {found[name] for name in ("W1", "W2", "W3")} == {"not applicable"}
    assert result.sentence.startswith("Attention and MLP never both write. ")
    np.testing.assert_allclose(result.dataset["along"].sel(part="mlp"), 0, atol=1e-12)
    check_said(result)


def test_parts_of_which_one_broke_merge_as_one_run(tiny_gpt2: Path) -> None:
    """A hook that acts on one text: its layer is decomposed in no text of the whole."""
    model, tokens = ll.load_model(tiny_gpt2), tokens_of(60)

    def one_text(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[hit] *= 2
        return value

    model.add_hook("blocks.1.hook_resid_post", one_text)
    hit = 40
    whole = decomposition_study(model, tokens)
    parts = []
    for start, hit in ((0, 30), (30, 10)):  # noqa: B007 (the hook reads it)
        parts.append(decomposition_study(model, tokens[start : start + 30]) if start else None)
    model.reset_hooks()
    parts[0] = decomposition_study(model, tokens[:30])
    merged = Decomposition.merge(
        [part.measured for part in parts if part is not None and part.measured is not None]
    )
    assert whole.measured is not None
    for name in ("cosine", "other", "turn", "place_cosine"):
        np.testing.assert_allclose(merged[name].values, whole.measured[name].values, rtol=1e-6, atol=1e-9)
    assert np.isnan(merged["cosine"].values).all(0).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"body_from": -1}, "body_from is -1; expected a whole number"),
        ({"body_from": 11}, "body_from is 11: texts of 12 tokens have no two tokens left"),
        ({"body_from": 11, "prepend_bos": True}, None),
        ({"heads": 1}, "heads is 1; expected True or False"),
        ({"heads": True, "geometry": "centred"}, "heads=True goes with the geometry 'raw'"),
        ({"layers": [7]}, "layer 7 is out of range"),
        ({"layers": [0]}, "layers is 0: hidden state 0 is written by no block; choose others"),
        ({"seed": -1}, "seed is -1"),
        ({"final_norm": True}, "takes no final_norm=: a step ends at the output of its block"),
        ({"backend": "cpu"}, "takes no backend="),
        ({"texts": tokens_of(1)}, "at least 2"),
    ],
)
def test_bad_input(tiny_gpt2: Path, options: dict[str, Any], message: str | None) -> None:
    def call() -> Any:
        return decomposition_study(ll.load_model(tiny_gpt2), **{"texts": tokens_of(10), **options})

    if message is None:
        call()
        return
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_study_that_is_run_is_checked_as_its_function(tiny_gpt2: Path) -> None:
    with pytest.raises(InputError, match="body_from is -1; expected a whole number"):
        ll.run(Decomposition(body_from=-1), ll.load_model(tiny_gpt2), tokens_of(10))


def test_a_geometry_of_other_layers_is_refused(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    made = fit_geometry(model, "mean_over_d_model", layers=[1, 2])
    with pytest.raises(InputError, match=r"was made for hidden states \[1, 2\], not 0, which"):
        decomposition_study(model, tokens_of(10), geometry=made)
    assert decomposition_study(model, tokens_of(10), geometry=made, layers=[2, 3]).settings["layers"] == [
        2,
        3,
    ]
