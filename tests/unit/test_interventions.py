"""Interventions: what each does to the run, where it is refused, and that nothing is left behind."""

import json
import re

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import CaptureError, InputError
from laminar_lens.interventions.conditions import as_conditions
from laminar_lens.models.forward import hook_name, residual_states
from laminar_lens.models.load import _hooked_transformer

T = 5
KINDS = ("gpt2", "llama", "neox")
BRIDGES = (False, True) if _hooked_transformer(None) else (True,)


def load(folder, *, bridge):
    return ll.load_model(str(folder), bridge=bridge)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tiny_gpt2, tiny_llama, tiny_neox):
    return {"gpt2": tiny_gpt2, "llama": tiny_llama, "neox": tiny_neox}[kind]


@pytest.fixture(scope="module", params=BRIDGES, ids=lambda bridge: "bridge" if bridge else "hooked")
def model(request, folder):
    return load(folder, bridge=request.param)


@pytest.fixture(scope="module")
def gpt2(tiny_gpt2):
    return load(tiny_gpt2, bridge=BRIDGES[0])


@pytest.fixture(scope="module")
def hf(folder):
    from laminar_lens.models.local import load_hf

    return load_hf(folder, device="cpu", dtype=torch.float32)


def some_tokens(n=2, length=12, seed=1):
    return torch.randint(3, 300, (n, length), generator=torch.Generator().manual_seed(seed))


def states(model, tokens, *interventions, **options):
    return residual_states(
        model, tokens, range(model.cfg.n_layers + 1), interventions=interventions, **options
    )


def relative(found, wanted):
    return float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())


def hf_states(hf, tokens, *, hidden=None, positions=None, edits=None):
    """Hugging Face's own forward pass: an explicit mask, explicit positions, and edits of block outputs.

    Args:
        hf: the Hugging Face model.
        tokens: ids [batch pos].
        hidden: bool [row column] of what is hidden besides the future.
        positions: position ids [pos].
        edits: {layer: function of the hidden state}; layer 0 is the embedding, as the first block sees it.
    """
    n = tokens.shape[1]
    seen = torch.tril(torch.ones(n, n, dtype=torch.bool))
    if hidden is not None:
        seen &= ~hidden
    mask = torch.zeros(1, 1, n, n).masked_fill(~seen, torch.finfo(torch.float32).min)
    blocks = next(m for _, m in hf.named_modules() if isinstance(m, torch.nn.ModuleList))
    found, handles = {}, []

    def first(module, args, kwargs):
        state = args[0] if args else kwargs["hidden_states"]
        state = (edits or {}).get(0, lambda x: x)(state)
        found[0] = state
        if args:
            return (state, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": state}

    handles.append(blocks[0].register_forward_pre_hook(first, with_kwargs=True))
    for layer, block in enumerate(blocks, start=1):

        def after(module, args, output, layer=layer):
            state = output[0] if isinstance(output, tuple) else output
            state = (edits or {}).get(layer, lambda x: x)(state)
            found[layer] = state
            return (state, *output[1:]) if isinstance(output, tuple) else state

        handles.append(block.register_forward_hook(after))
    try:
        with torch.no_grad():
            hf(
                tokens,
                attention_mask=mask.expand(len(tokens), -1, -1, -1),
                position_ids=None if positions is None else positions[None].expand(len(tokens), -1),
                use_cache=False,
            )
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([found[layer] for layer in range(len(blocks) + 1)])


def agrees(found, wanted):
    assert relative(found, wanted) < 2e-5


# the identity


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


# against Hugging Face, independently


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
    from laminar_lens.models.local import load_hf

    tokens, hf = some_tokens(), load_hf(tiny_gpt2, device="cpu", dtype=torch.float32)
    found = states(load(tiny_gpt2, bridge=bridge), tokens, change)
    agrees(found, hf_states(hf, tokens, positions=torch.tensor(positions)))


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


# writes, prefixes, patches


def parts(model, tokens, block):
    """A block's input, its two writes and its output, plain."""
    names = [f"blocks.{block}.hook_{part}" for part in ("resid_pre", "attn_out", "mlp_out", "resid_post")]
    found = {}

    def keep(name):
        return lambda value, hook: found.update({name: value.detach().clone()})

    with torch.no_grad():
        model.run_with_hooks(
            tokens,
            return_type=None,
            fwd_hooks=[(n, keep(n)) for n in names],
            attention_mask=torch.ones_like(tokens),
        )
    return [found[name] for name in names]


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


# what changes nothing


def test_identities_change_nothing(model, kind):
    tokens = some_tokens()
    plain = states(model, tokens)
    same = [
        ll.cut(0),
        ll.no_context(0),
        ll.scale_norm(1.0, range(4)),
        ll.patch_residual(plain, range(4)),
        ll.patch_residual(ll.capture_residuals(model, tokens), [0, 3], positions=[2, 5]),
    ]
    same += [ll.restart(0), ll.set_position(4, 4)] if kind == "gpt2" else []
    for change in same:
        assert torch.equal(states(model, tokens, change), plain), change.label
    assert torch.equal(states(model, tokens), plain)


def test_every_way_in_gives_the_same(model):
    from laminar_lens.studies.stream import iter_angles

    tokens, change = some_tokens(), [ll.cut(T), ll.remove_dimensions(3, layers=1)]
    values = states(model, tokens, *change)
    captured = ll.capture_residuals(model, tokens, interventions=change)
    assert torch.equal(captured.values, values)
    streamed = dict(ll.iter_residuals(model, tokens, interventions=change, batch_size=1))
    assert torch.equal(streamed[0,].values[:, 0], values[:, 0])
    angles = ll.sequential_angles(values)
    meter = ll.AngleMeter(model, interventions=change)
    with meter, torch.no_grad():
        model(tokens, return_type=None)
    batch = next(iter_angles(model, tokens, ["sequential"], interventions=change))
    for found in (meter.result()["sequential"], torch.from_numpy(batch.angles["sequential"])):
        torch.testing.assert_close(found, angles, rtol=0, atol=1e-6)
    assert [one["label"] for one in captured.info["interventions"]] == [
        "cut(5)",
        "remove_dimensions([3], layers=[1])",
    ]
    assert "interventions" not in ll.capture_residuals(model, tokens).info


def test_a_meter_measures_one_pass_after_another(model):
    meter = ll.AngleMeter(model, interventions=ll.cut(T), layers=[0, 1, 2])
    for seed in (1, 2):
        tokens = some_tokens(seed=seed, length=11 + seed)
        with meter, torch.no_grad():
            model(tokens, return_type=None)
        wanted = ll.sequential_angles(states(model, tokens, ll.cut(T))[:3])
        torch.testing.assert_close(meter.result()["sequential"], wanted, rtol=0, atol=1e-6)


def test_weights_and_hooks_stay_as_they_were(model, kind):
    def hooks():
        return sum(
            len(module._forward_hooks) + len(module._forward_pre_hooks) for _, module in model.named_modules()
        )

    places = {name: p.data_ptr() for name, p in model.named_parameters()}
    before, bits = hooks(), ll.describe(model).weights_sha256
    tokens = some_tokens()
    change = [ll.cut(T), ll.remove_write("mlp", 1, 0), ll.remove_dimensions(3), ll.bos()]
    change += [ll.restart(T)] if kind == "gpt2" else []
    states(model, tokens, *change)

    def fail(layer, state):
        raise RuntimeError("in the middle")

    from laminar_lens.models.forward import run_states

    with pytest.raises(RuntimeError, match="in the middle"):
        run_states(model, tokens, [1], fail, interventions=change)
    with pytest.raises(InputError), ll.AngleMeter(model, interventions=ll.cut(50)):
        model(tokens, return_type=None)
    assert hooks() == before
    assert {name: p.data_ptr() for name, p in model.named_parameters()} == places
    assert ll.describe(model).weights_sha256 == bits


# that it fires


def test_a_hook_that_does_not_fire_is_an_error(gpt2, monkeypatch):
    run = type(gpt2).run_with_hooks

    def deaf(self, *args, fwd_hooks, **options):
        heard = [(name, hook) for name, hook in fwd_hooks if name != "blocks.1.attn.hook_attn_scores"]
        return run(self, *args, fwd_hooks=heard, **options)

    monkeypatch.setattr(type(gpt2), "run_with_hooks", deaf)
    with pytest.raises(CaptureError, match=r"cut\(5\) changed nothing: its hook 'blocks.1.attn.hook_attn_sc"):
        states(gpt2, some_tokens(), ll.cut(T))
    # A run that ends before that hook has no need of it.
    residual_states(gpt2, some_tokens(), [0, 1], interventions=[ll.cut(T)])


def test_a_meter_says_that_a_hook_did_not_fire(gpt2):
    meter = ll.AngleMeter(gpt2, interventions=ll.cut(T))
    hooks = [(name, hook) for name, hook in meter.hooks() if name != "blocks.2.attn.hook_attn_scores"]
    with pytest.raises(CaptureError, match=r"cut\(5\) changed nothing: its hook 'blocks\.2"):
        gpt2.run_with_hooks(some_tokens(), return_type=None, fwd_hooks=hooks)


def test_edits_are_measured_where_they_are_made(model):
    tokens = some_tokens()
    change = ll.remove_dimensions([3], layers=[0, 3])
    found = states(model, tokens, change)
    assert (found[[0, 3], :, :, 3] == 0).all()
    assert (found[1, :, :, 3] != 0).all()
    alone = residual_states(model, tokens, [3], interventions=[change])
    assert torch.equal(alone[0], found[3])
    assert hook_name(3) == "blocks.2.hook_resid_post"


# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ll.cut(-1), "t is -1; expected a whole number of at least 0"),
        (lambda: ll.cut(1.5), "t is 1.5; expected"),
        (lambda: ll.restart("5"), "t is '5'; expected"),
        (lambda: ll.no_context(True), "t is True; expected"),
        (lambda: ll.set_position(1, None), "p is None; expected"),
        (lambda: ll.prefix(""), "prefix is ''; expected a text"),
        (lambda: ll.prefix(5), "prefix is 5; expected a text"),
        (lambda: ll.remove_dimensions([]), "dims is empty"),
        (lambda: ll.remove_dimensions(None), "dims is None; give the dimensions"),
        (lambda: ll.remove_dimensions([1], by="median"), "by is 'median'; expected 'zero' or 'mean'"),
        (lambda: ll.remove_dimensions([1], by="mean"), "by='mean' takes the mean over the other positions"),
        (lambda: ll.remove_dimensions([1], layers="all"), "layers is 'all'; expected whole numbers"),
        (lambda: ll.remove_write("heads", 1), "component is 'heads'; expected 'attn' or 'mlp'"),
        (lambda: ll.remove_write("mlp", None), "remove_write needs layers"),
        (lambda: ll.remove_write("mlp", [1], positions=[-1]), "positions is -1; expected"),
        (lambda: ll.scale_norm(0, 1), "factor is 0; expected a finite number above 0"),
        (lambda: ll.scale_norm(float("nan"), 1), "factor is nan; expected"),
        (lambda: ll.scale_norm(2, None), "scale_norm needs layers"),
        (lambda: ll.patch_residual("states", 1), "states are str; expected those of capture_residuals"),
        (lambda: ll.patch_residual(torch.zeros(2, 3, 4), 1), r"states are [2, 3, 4]; expected"),
        (lambda: ll.patch_residual(torch.zeros(2, 1, 3, 4), 1), "states have 2 layers, layers= names 1"),
        (lambda: ll.patch_residual(torch.zeros(1, 1, 3, 4), 1, [0]), "states have 3 positions, positions= n"),
    ],
)
def test_arguments_that_make_no_sense(make, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        make()
    assert "\n" not in str(error.value)


WIDE = torch.zeros(1, 1, 12, 48)
FITS = torch.zeros(1, 1, 12, 32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([ll.cut(12)], "cut(12) needs position 12, but a prompt has 12 tokens, positions 0 … 11"),
        ([ll.restart(12)], "restart(12) needs position 12"),
        ([ll.no_context(40)], "no_context(40) needs position 40"),
        ([ll.set_position(3, 64)], "set_position(3, 64): place 64 does not exist; the model has 0 … 63"),
        ([ll.remove_dimensions(3, positions=12)], "needs position 12"),
        ([ll.remove_dimensions(32)], "dimension 32 does not exist; there are 0 … 31"),
        ([ll.remove_dimensions(range(32))], "removes all 32 dimensions, which leaves no vector"),
        ([ll.remove_dimensions(3, layers=4)], "layer 4 is out of range: this model has hidden states 0 … 3"),
        ([ll.remove_dimensions(3, positions=range(12), by="mean")], "no other position to be taken over"),
        ([ll.remove_write("mlp", 3)], "block 3 does not exist; this model has blocks 0 … 2"),
        ([ll.remove_write("mlp", 1, 12)], "needs position 12"),
        ([ll.scale_norm(2, 9)], "layer 9 is out of range"),
        ([ll.patch_residual(WIDE, 1)], "its states have 48 dimensions"),
        ([ll.patch_residual(FITS[:, :, :7], 1)], "has no state at position 7 for a prompt of 12 tokens"),
        ([ll.patch_residual(FITS.expand(1, 3, 12, 32), 1)], "has the states of 3 prompts, the run has 2"),
        ([ll.prefix("The teacher praised her for the answer. " * 12)], "more than the model's context of 64"),
        ([ll.cut(3), ll.cut(3)], "cut(3) and cut(3) contradict each other"),
        ([ll.no_context(3), ll.no_context(3, True)], "position 3 is masked twice"),
        ([ll.restart(3), ll.restart(5)], "restart(3) and restart(5) contradict each other"),
        ([ll.restart(3), ll.set_position(4, 0)], "both place position 4"),
        ([ll.set_position(4, 1), ll.restart(3)], "both place position 4"),
        ([ll.set_position(4, 1), ll.set_position(4, 2)], "both place position 4"),
        ([ll.bos(), ll.bos()], "there is one BOS"),
        ([ll.prefix("a"), ll.prefix("b")], "give one prefix with the whole text"),
        (
            [ll.remove_dimensions(3), ll.remove_dimensions([3], 1, 0)],
            "both edit hidden state 1 at position 0",
        ),
        ([ll.scale_norm(2, 1), ll.scale_norm(3, [0, 1])], "both edit hidden state 1"),
        ([ll.patch_residual(FITS, 1), ll.scale_norm(2, 1)], "both edit hidden state 1"),
        (
            [ll.remove_write("mlp", 1), ll.remove_write("mlp", [1, 2], 0)],
            "both remove the mlp write of block 1",
        ),
    ],
    ids=lambda value: " ".join(one.label for one in value) if isinstance(value, list) else None,
)
def test_what_does_not_fit_is_refused_before_the_run(gpt2, changes, message):
    for run in (
        lambda: states(gpt2, some_tokens(), *changes),
        lambda: ll.capture_residuals(gpt2, some_tokens(), interventions=changes),
        lambda: ll.iter_residuals(gpt2, some_tokens(), interventions=changes),
    ):
        with pytest.raises(InputError, match=re.escape(message)) as error:
            run()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        [ll.cut(3), ll.cut(5)],
        [ll.cut(5), ll.no_context(5)],
        [ll.restart(5), ll.set_position(2, 9)],
        [ll.set_position(4, 1), ll.set_position(1, 60)],
        [ll.remove_dimensions(3), ll.remove_dimensions(4)],
        [ll.remove_dimensions(3, 1), ll.remove_dimensions(3, 2)],
        [ll.remove_dimensions(3, 1), ll.scale_norm(2, 1)],
        [ll.remove_write("mlp", 1), ll.remove_write("attn", 1)],
        [ll.remove_write("mlp", 1, 0), ll.remove_write("mlp", 1, 1)],
        [ll.bos(), ll.prefix("The")],
    ],
    ids=lambda value: " ".join(one.label for one in value),
)
def test_what_goes_together(gpt2, changes):
    tokens = some_tokens()
    found, turned = states(gpt2, tokens, *changes), states(gpt2, tokens, *reversed(changes))
    assert torch.equal(found, turned)  # the order in the list does not matter


@pytest.mark.parametrize("change", [ll.restart(3), ll.set_position(3, 0)], ids=str)
@pytest.mark.parametrize("bridge", BRIDGES)
@pytest.mark.parametrize("rotary", ["llama", "neox"])
def test_positions_are_not_applicable_to_rotary_models(tiny_llama, tiny_neox, change, bridge, rotary):
    model = load(tiny_llama if rotary == "llama" else tiny_neox, bridge=bridge)
    with pytest.raises(InputError, match=r"'hook_pos_embed'.*GPT-2.*the positions of this model are rotary"):
        states(model, some_tokens(), change)


def test_a_missing_hook_point_names_who_has_it(gpt2, monkeypatch):
    known = {k: v for k, v in gpt2.hook_dict.items() if "scores" not in k and "mlp_out" not in k}
    if "hook_dict" in vars(gpt2):
        monkeypatch.setattr(gpt2, "hook_dict", known)
    else:
        monkeypatch.setattr(type(gpt2), "hook_dict", property(lambda self: known))
    for change, name in (
        (ll.cut(3), "blocks.0.attn.hook_attn_scores"),
        (ll.remove_write("attn", 1), "mlp_out"),
    ):
        with pytest.raises(
            InputError, match=rf"{name}.*architectures that have it: .*GPT-2, Llama, GPT-NeoX"
        ):
            states(gpt2, some_tokens(), change)


def test_a_bos_in_the_middle_is_refused(gpt2):
    for change in (ll.bos(), ll.prefix("The")):
        with pytest.raises(InputError, match="with prepend_bos=True would put a BOS behind other tokens"):
            ll.capture_residuals(gpt2, "her to", prepend_bos=True, interventions=change)


def test_a_patch_with_another_bos_or_norm_is_refused(gpt2):
    source = ll.capture_residuals(gpt2, "her to", prepend_bos=True)
    with pytest.raises(InputError, match="captured with prepend_bos=True, this run has False"):
        ll.capture_residuals(gpt2, "her to", interventions=ll.patch_residual(source, 1, 0))
    source = ll.capture_residuals(gpt2, "her to", final_norm=True)
    with pytest.raises(InputError, match="captured after the final norm"):
        ll.capture_residuals(gpt2, "her to", interventions=ll.patch_residual(source, 3))
    source = ll.capture_residuals(gpt2, "her to", layers=[1])
    with pytest.raises(InputError, match=r"its states lack hidden state 2; they are \[1\]"):
        ll.capture_residuals(gpt2, "her to", interventions=ll.patch_residual(source, 2))


def test_a_meter_takes_no_prefix_and_no_padding(gpt2):
    with pytest.raises(InputError, match=r"bos\(\) puts tokens before the text, which a meter cannot"):
        ll.AngleMeter(gpt2, interventions=ll.bos())
    with pytest.raises(InputError, match="without padding"):
        ll.AngleMeter(gpt2, interventions=ll.cut(1), mask=torch.tensor([[False, True, True]]))
    with ll.AngleMeter(gpt2, interventions=ll.cut(20)), pytest.raises(InputError, match="needs position 20"):
        gpt2(some_tokens(), return_type=None)


@pytest.mark.parametrize("given", ["cut(5)", 5, {"a": ll.cut(5)}, [ll.cut(5), "restart"]])
def test_what_is_no_intervention(gpt2, given):
    with pytest.raises(InputError, match=r"interventions (is a|holds)"):
        ll.capture_residuals(gpt2, some_tokens(), interventions=given)


# provenance


def test_descriptions_are_json_and_say_what_was_done(gpt2):
    source = ll.capture_residuals(gpt2, some_tokens())
    changes = [
        ll.cut(5),
        ll.no_context(5, hidden=True),
        ll.remove_dimensions([3, 1], layers=4, positions=range(9), by="mean"),
        ll.remove_write("mlp", [0, 2], positions=0),
        ll.patch_residual(source, [1], positions=2),
        ll.prefix("Once upon a time"),
    ]
    for one in changes:
        said = json.loads(json.dumps(one.describe(gpt2)))
        assert said["intervention"] in one.label
        assert said["label"] == one.label == str(one)
        assert len(said["does"]) > 20
    assert changes[2].label == "remove_dimensions([1, 3], layers=[4], positions=[0, 1, 2, 3, …], by='mean')"
    assert changes[2].describe()["positions"] == list(range(9))
    patched = changes[4].describe(gpt2)
    assert patched["from_weights_sha256"] == ll.describe(gpt2).weights_sha256
    assert len(patched["states_sha256"]) == 64
    other = ll.patch_residual(ll.capture_residuals(gpt2, some_tokens(seed=3)), [1], positions=2)
    assert other.describe()["states_sha256"] != patched["states_sha256"]


def test_a_bos_says_whether_the_model_knows_it(gpt2, novella):
    assert ll.bos().describe(novella)["trained_with_bos"] == "rarely"
    assert "1% of the training windows" in ll.bos().note(novella)
    assert ll.bos().describe(gpt2)["trained_with_bos"] == "unknown"
    twin = ll.random_twin(gpt2)
    assert ll.bos().note(twin) == "The model was not trained with a BOS before texts: its weights are random."


def test_an_architecture_without_bos_in_training_says_so(tiny_neox):
    from laminar_lens.models.info import SOURCES, bos_training

    model = load(tiny_neox, bridge=True)
    SOURCES.pop(model)  # as a model that somebody else loaded
    assert bos_training(model)[0] == "no"


def test_conditions_have_names():
    both = [ll.cut(5), ll.restart(5)]
    assert as_conditions(None) == {"plain": ()}
    assert as_conditions(both) == {"plain": (), "cut(5) + restart(5)": tuple(both)}
    assert list(as_conditions({"a": ll.cut(5), "b": both})) == ["plain", "a", "b"]
    for given, message in (
        ([], "interventions is empty"),
        ({}, "interventions is empty"),
        ({"plain": ll.cut(5)}, "a condition named 'plain'"),
        ({" ": ll.cut(5)}, "a condition named ' '"),
        ({"a": []}, "condition 'a' has no intervention"),
    ):
        with pytest.raises(InputError, match=message):
            as_conditions(given)
