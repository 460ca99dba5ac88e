"""Interventions while they run: every way in, hooks that must fire, and nothing left behind."""

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import CaptureError, InputError
from laminar_lens.models.forward import hook_name, residual_states
from tests.intervened import T, some_tokens, states


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
    assert hook_name(model, 3) == "blocks.2.hook_resid_post"
