"""Interventions: what each does to the run, where it is refused, and that nothing is left behind."""

import pytest
import torch

import laminar_lens as ll
from laminar_lens.interventions import cut, restart
from laminar_lens.models.forward import residual_states

T = 5


@pytest.fixture(scope="module", params=["gpt2", "llama", "neox"])
def kind(request):
    return request.param


@pytest.fixture(scope="module", params=[False, True], ids=["hooked", "bridge"])
def model(request, kind, tiny_gpt2, tiny_llama, tiny_neox):
    folder = {"gpt2": tiny_gpt2, "llama": tiny_llama, "neox": tiny_neox}[kind]
    return load(folder, bridge=request.param)


def load(folder, *, bridge):
    if not bridge:
        from laminar_lens.models.load import _hooked_transformer

        if _hooked_transformer(None) is None:
            pytest.skip("transformer-lens 4 has no HookedTransformer")
    return ll.load_model(str(folder), bridge=bridge)


def some_tokens(n=2, length=12):
    return torch.randint(3, 300, (n, length), generator=torch.Generator().manual_seed(1))


def states(model, tokens, *interventions):
    return residual_states(model, tokens, range(model.cfg.n_layers + 1), interventions=interventions)


def relative(found, wanted):
    return float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())


@pytest.mark.parametrize("t", [0, 1, T, 11])
def test_cut_and_restart_are_the_plain_run_from_t_on(model, kind, t):
    tokens = some_tokens()
    change = (cut(t), restart(t)) if kind == "gpt2" else (cut(t),)
    found, wanted = states(model, tokens, *change), states(model, tokens[:, t:])
    assert relative(found[:, :, t:], wanted) < 1e-5
    assert torch.equal(found[:, :, :t], states(model, tokens)[:, :, :t])


def test_cut_alone_is_not_where_positions_are_learned(tiny_gpt2):
    model, tokens = load(tiny_gpt2, bridge=True), some_tokens()
    wanted = states(model, tokens[:, T:])
    for change in (cut(T), restart(T)):
        assert relative(states(model, tokens, change)[:, :, T:], wanted) > 0.1
