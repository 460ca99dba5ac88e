"""What each intervention does to a run, against independent forward passes."""

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import CaptureError
from tests.intervened import BRIDGES, T, agrees, hf_states, load, parts, relative, some_tokens, states


@pytest.mark.parametrize("t", [0, 1, T, 11])
def test_cut_and_restart_are_the_plain_run_from_t_on(model, kind, t):
    tokens = some_tokens()
    change = (ll.cut(t), ll.restart(t)) if kind == "gpt2" else (ll.cut(t),)
    found, wanted = states(model, tokens, *change), states(model, tokens[:, t:])
    assert relative(found[:, :, t:], wanted) < 1e-5
    assert torch.equal(found[:, :, :t], states(model, tokens)[:, :, :t])


def test_cut_alone_is_not_where_positions_are_learned(gpt2):
    tokens = some_tokens()
    wanted = states(gpt2, tokens[:, T:])
    for change in (ll.cut(T), ll.restart(T)):
        assert relative(states(gpt2, tokens, change)[:, :, T:], wanted) > 0.1


def test_cut_is_an_attention_mask(model, hf):
    tokens, hidden = some_tokens(), torch.zeros(12, 12, dtype=torch.bool)
    for row in range(T, 12):
        for column in range(T):
            hidden[row, column] = True
    agrees(states(model, tokens, ll.cut(T)), hf_states(hf, tokens, hidden=hidden))


@pytest.mark.parametrize("from_later", [False, True])
def test_no_context_is_an_attention_mask(model, hf, from_later):
    tokens, hidden = some_tokens(), torch.zeros(12, 12, dtype=torch.bool)
    for row in range(12):
        for column in range(row):
            hidden[row, column] = row == T or (from_later and column == T)
    agrees(states(model, tokens, ll.no_context(T, from_later)), hf_states(hf, tokens, hidden=hidden))


@pytest.mark.parametrize(
    ("change", "positions"),
    [
        (ll.restart(T), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6]),
        (ll.set_position(T, 0), [0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 10, 11]),
        (ll.set_position(0, 60), [60, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    ],
    ids=str,
)
@pytest.mark.parametrize("bridge", BRIDGES)
def test_positions_are_position_ids(tiny_gpt2, change, positions, bridge):
    from laminar_lens.models.originals import load_hf

    tokens, hf = some_tokens(), load_hf(tiny_gpt2, dtype=torch.float32)
    found = states(load(tiny_gpt2, bridge=bridge), tokens, change)
    agrees(found, hf_states(hf, tokens, positions=torch.tensor(positions)))


@pytest.mark.parametrize("make", [ll.cut, ll.no_context, ll.restart])
def test_each_prompt_may_have_a_position_of_its_own(model, kind, make):
    """Also behind a prefix, in batches of some prompts in another order, and beside another intervention."""
    if kind != "gpt2" and make is ll.restart:
        pytest.skip("rotary positions cannot be restarted")
    tokens, places = some_tokens(n=4), [7, 0, 3, 11]
    own, around = make(places), (ll.prefix(" a boy"), ll.scale_norm(0.5, layers=1))
    for chosen in ([0, 1, 2, 3], [3, 1]):
        found = states(model, tokens[chosen], own, *around, indices=chosen)
        each = [states(model, tokens[[k]], make(places[k]), *around) for k in chosen]
        agrees(found, torch.cat(each, dim=1))
    assert not own.portable
    assert own.label == f"{make.__name__}([7, 0, 3, 11])"


def test_removed_dimensions_and_scaled_norms_are_edits_between_blocks(model, hf):
    tokens = some_tokens()

    def zero(state):
        out = state.clone()
        for dim in (3, 30):
            out[:, 2, dim] = 0
        return out

    def mean(state):
        out, rest = state.clone(), [p for p in range(12) if p not in (2, 7)]
        for text in range(len(state)):
            for dim in (3, 30):
                value = np.mean([float(state[text, p, dim]) for p in rest])
                out[text, 2, dim] = out[text, 7, dim] = value
        return out

    def shrink(state):
        return torch.cat([0.1 * state[:, :1], state[:, 1:]], dim=1)

    for change, edits in (
        (ll.remove_dimensions([3, 30], layers=1, positions=2), {1: zero}),
        (ll.remove_dimensions([3, 30], layers=[0, 2], positions=[2, 7], by="mean"), {0: mean, 2: mean}),
        (ll.scale_norm(0.1, layers=[-2], positions=0), {2: shrink}),
        (ll.remove_dimensions([3, 30], positions=2), dict.fromkeys(range(4), zero)),
    ):
        agrees(states(model, tokens, change), hf_states(hf, tokens, edits=edits))


@pytest.mark.parametrize("by", ["zero", "mean"])
def test_removed_writes_equal_a_subtraction(model, kind, by):
    tokens = some_tokens()
    before, attention, mlp, after = parts(model, tokens, 1)
    torch.testing.assert_close(before + attention + mlp, after, rtol=1e-4, atol=1e-5)
    rest = [p for p in range(12) if p not in (0, 4)]
    state = states(model, tokens, ll.remove_write("mlp", 1, [0, 4], by))[2]
    wanted = after.clone()
    for text in range(2):
        filled = mlp[text, rest].mean(0) if by == "mean" else 0
        for position in (0, 4):
            wanted[text, position] = after[text, position] - mlp[text, position] + filled
    agrees(state, wanted)
    if kind == "neox":  # parallel: the MLP does not read what attention wrote
        state = states(model, tokens, ll.remove_write("attn", 1, [0, 4], by))[2]
        filled = attention[:, rest].mean(1, keepdim=True) if by == "mean" else 0
        wanted = after.clone()
        wanted[:, [0, 4]] = (after - attention)[:, [0, 4]] + filled
        agrees(state, wanted)


def test_without_both_writes_a_block_does_nothing(model):
    tokens = some_tokens()
    found = states(model, tokens, ll.remove_write("attn", [1]), ll.remove_write("mlp", [1]))
    assert torch.equal(found[2], found[1])


def test_a_write_that_is_not_what_the_block_adds_is_refused(gpt2):
    def more(value, hook):
        return value + 1

    tokens = some_tokens()
    with gpt2.hooks(fwd_hooks=[("blocks.1.hook_resid_post", more)]), pytest.raises(CaptureError) as error:
        states(gpt2, tokens, ll.remove_write("mlp", 1))
    assert "in block 1 input + attention + MLP is not the output" in str(error.value)
    assert "hooks act on it: blocks.1.hook_" in str(error.value)
    assert "take" not in str(error.value)


def test_a_prefix_is_run_and_not_measured(model):
    text, prefix = "her to the old house", "The teacher"
    found = ll.capture_residuals(model, text, interventions=ll.prefix(prefix)).values
    ids = [model.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prefix, text)]
    wanted = states(model, torch.tensor([ids[0] + ids[1]]))[:, :, len(ids[0]) :]
    agrees(found, wanted)


def test_bos_is_the_first_of_all_and_not_measured(model):
    found = ll.capture_residuals(model, "her to", interventions=[ll.prefix(" a boy"), ll.bos()]).values
    ids = [model.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (" a boy", "her to")]
    wanted = states(model, torch.tensor([[0, *ids[0], *ids[1]]]))[:, :, 1 + len(ids[0]) :]
    agrees(found, wanted)
    with_bos = ll.capture_residuals(model, "her to", prepend_bos=True).values
    agrees(ll.capture_residuals(model, "her to", interventions=ll.bos()).values, with_bos[:, :, 1:])


def test_positions_count_from_the_text_behind_a_prefix(model):
    tokens = torch.tensor([model.tokenizer("The teacher praised her", add_special_tokens=False)["input_ids"]])
    n = tokens.shape[1]
    cut = states(model, tokens[:, 2:], ll.prefix(model.tokenizer.decode(tokens[0, :2])), ll.cut(1))
    agrees(cut, states(model, tokens, ll.cut(3))[:, :, 2:])
    assert cut.shape[2] == n - 2


def test_a_patch_carries_everything_on(model):
    here, there = some_tokens(seed=1), some_tokens(seed=2)
    source = ll.capture_residuals(model, there)
    found = states(model, here, ll.patch_residual(source, 2))
    agrees(found[2:], states(model, there)[2:])
    assert torch.equal(found[:2], states(model, here)[:2])
    at = states(model, here, ll.patch_residual(source.values[[1, 3]][:, :, [4]], [1, 3], positions=4))
    assert torch.equal(at[1, :, 4], source.values[1, :, 4])
    assert torch.equal(at[3, :, 4], source.values[3, :, 4])
    assert torch.equal(at[2, :, :4], states(model, here)[2, :, :4])


def test_a_patch_finds_its_prompt_in_every_batch(model):
    texts = ["her", "The boy gave her the book", "They admired her courage", "A boy"]
    source = ll.capture_residuals(model, texts)
    patch = ll.patch_residual(source, [1, 2])
    plain = ll.capture_residuals(model, texts)
    for size in (1, 2, None):
        found = ll.capture_residuals(model, texts, batch_size=size, interventions=patch)
        assert torch.equal(found.values.nan_to_num(), plain.values.nan_to_num())
    swapped = ll.patch_residual(ll.capture_residuals(model, texts[1]), 3, positions=0)
    found = ll.capture_residuals(model, texts, interventions=swapped)
    assert all(torch.equal(found.values[3, row, 0], plain.values[3, 1, 0]) for row in range(4))
