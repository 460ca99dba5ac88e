"""An intervention of a user's own is run, refused and recorded as the shipped ones are."""

import json
import re

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import CaptureError, InputError
from tests.intervened import agrees, parts, some_tokens, states


def halved(value, hook):
    return value / 2


def in_place(value, hook):
    value /= 2


@pytest.mark.parametrize("function", [halved, in_place, lambda value, hook: (value / 2).double()])
def test_it_changes_what_passes_the_hook_and_nothing_else(model, function):
    tokens = some_tokens()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    change = ll.custom("halved", "hook_embed", function)
    plain, found = states(model, tokens), states(model, tokens, change)
    assert (found[0] - plain[0]).abs().max() > 0
    again = ll.capture_residuals(model, tokens, interventions=change).values
    agrees(again, found)
    for name, value in model.named_parameters():
        assert torch.equal(value, weights[name])
    agrees(states(model, tokens), plain)


def test_it_does_what_the_shipped_one_does(model):
    tokens, hook = some_tokens(), "blocks.1.hook_resid_post"

    def remove(value, hook):
        value[..., 3] = 0

    agrees(
        states(model, tokens, ll.custom("mine", hook, remove)),
        states(model, tokens, ll.remove_dimensions(3, layers=2)),
    )
    meter = ll.AngleMeter(model, interventions=ll.custom("mine", hook, remove))
    with torch.no_grad(), meter:
        model(tokens)
    found = ll.capture_residuals(model, tokens, interventions=ll.remove_dimensions(3, layers=2))
    torch.testing.assert_close(meter.result()["sequential"], ll.sequential_angles(found.values))


def test_several_hooks_and_the_hook_itself(model):
    seen = []

    def look(value, hook):
        seen.append((type(hook).__name__, tuple(value.shape)))

    hooks = [f"blocks.{block}.attn.hook_attn_scores" for block in (0, 1)]
    change = ll.custom("look", hooks, look)
    agrees(states(model, some_tokens(), change), states(model, some_tokens()))
    assert [kind for kind, _ in seen] == ["HookPoint"] * 2
    assert all(shape[2:] == (12, 12) for _, shape in seen)


def test_what_a_meter_runs_is_checked_by_its_length(model):
    change = ll.custom("look", "blocks.0.attn.hook_attn_scores", halved)
    meter = ll.AngleMeter(model, interventions=[change, ll.cut(5)])
    with pytest.raises(InputError, match="needs position 5, but a prompt has 4 tokens"), meter:
        model(some_tokens(length=4))


def test_a_hook_of_a_later_block_begins_there(gpt2):
    tokens = some_tokens()
    change = ll.custom("halved", "blocks.1.hook_mlp_out", halved)
    before, _, write, after = parts(gpt2, tokens, 1)
    found = states(gpt2, tokens, change)
    agrees(found[1], before)
    agrees(found[2], after - write / 2)
    with pytest.raises(InputError, match="changes nothing before hidden state 2"):
        ll.capture_residuals(gpt2, tokens, layers=[1], interventions=change)


def test_it_is_labelled_and_recorded(gpt2):
    change = ll.custom("my halves", ["hook_embed", "blocks.0.hook_resid_pre"], halved)
    assert change.label == str(change) == "custom('my halves', hook_embed, … (2 hooks))"
    said = json.loads(json.dumps(change.describe(gpt2)))
    assert said == {
        "intervention": "custom",
        "label": change.label,
        "does": "a function of the user's at hook points; its name is recorded, the function itself is not",
        "called": "my halves",
        "hooks": ["hook_embed", "blocks.0.hook_resid_pre"],
        "function": f"{__name__}.halved",
    }
    tokens = some_tokens(n=12, length=24)
    result = ll.warmup_study(gpt2, tokens, random_init=False, interventions={"half": change})
    assert result.conditions == ("plain", "half")
    assert f"{__name__}.halved" in json.dumps(result.provenance)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("", "hook_embed", halved), "name is ''; give at least one"),
        ((3, "hook_embed", halved), "name is 3; expected a text"),
        (("a", [], halved), r"hook_point is \[\]; give at least one"),
        (("a", 3, halved), "hook_point is 3; expected texts"),
        (("a", "hook_embed", 3), "function is 3; expected a function"),
    ],
)
def test_what_is_no_intervention_is_named(given, message):
    with pytest.raises(InputError, match=message):
        ll.custom(*given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([ll.custom("a", "blocks.9.hook_mlp_out", halved)], "has no hook point 'blocks.9.hook_mlp_out'; did"),
        ([ll.custom("a", "zzz", halved)], "has no hook point 'zzz'; model.hook_dict has their names"),
        ([ll.custom("a", "ln_final.hook_scale", halved)], "comes after the last hidden state"),
        ([ll.custom("a", "hook_embed", halved), ll.prefix("a")], "counts positions from the first token"),
        ([ll.custom("a", "hook_embed", halved)] * 2, "the same intervention twice"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_pass(model, changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        ll.capture_residuals(model, some_tokens(), interventions=changes)
    with pytest.raises(InputError, match=re.escape(message)):
        ll.warmup_study(model, some_tokens(n=12, length=24), interventions=changes)


def test_another_shape_is_named(model):
    change = ll.custom("cutter", "hook_embed", lambda value, hook: value[:, 1:])
    with pytest.raises(
        CaptureError, match=r"custom\('cutter', hook_embed\): its function returned \[2, 11, "
    ):
        states(model, some_tokens(), change)
