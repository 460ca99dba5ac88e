"""Interventions that make no sense, do not fit, or contradict each other; and what each says of itself."""

import json
import re

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.interventions.conditions import as_conditions
from tests.intervened import BRIDGES, load, some_tokens, states


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ll.cut(-1), "t is -1; expected a whole number of at least 0"),
        (lambda: ll.cut(1.5), "t is 1.5; expected"),
        (lambda: ll.restart("5"), "t is '5'; expected"),
        (lambda: ll.no_context(True), "t is True; expected"),
        (lambda: ll.set_position(1, None), "p is None; expected"),
        (lambda: ll.cut([]), "t is empty; give at least one"),
        (lambda: ll.restart([3, -1]), "t is -1; expected whole numbers of at least 0"),
        (lambda: ll.set_position([1, 2], 0), "t is [1, 2]; expected a whole number"),
        (lambda: ll.no_context(3, hidden="no"), "hidden is 'no'; expected True or False"),
        (lambda: ll.no_context(3, hidden=1), "hidden is 1; expected True or False"),
        (lambda: ll.prefix(""), "prefix is ''; expected a text"),
        (lambda: ll.prefix(5), "prefix is 5; expected a text"),
        (lambda: ll.remove_dimensions([]), "dims is empty"),
        (lambda: ll.remove_dimensions(None), "dims is None; give the dimensions"),
        (lambda: ll.remove_dimensions([1], by="median"), "by is 'median'; expected 'zero' or 'mean'"),
        (lambda: ll.remove_dimensions([1], by="mean"), "by='mean' takes the mean over the other positions"),
        (lambda: ll.remove_dimensions([1], layers="all"), "layers is 'all'; expected whole numbers"),
        (lambda: ll.remove_write("heads", 1), "component is 'heads'; expected 'attn' or 'mlp'"),
        (lambda: ll.remove_write("mlp", None), "remove_write needs blocks"),
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
        ([ll.cut([3, 12])], "cut([3, 12]) needs position 12, but a prompt has 12 tokens"),
        ([ll.cut([3, 4, 5])], "cut([3, 4, 5]): it has the positions of 3 prompts, the run has 2; give one"),
        ([ll.restart([5, 3]), ll.set_position(4, 0)], "both place position 4"),
        ([ll.no_context(40)], "no_context(40) needs position 40"),
        ([ll.set_position(3, 64)], "set_position(3, 64): place 64 does not exist; the model has 0 … 63"),
        ([ll.remove_dimensions(3, positions=12)], "needs position 12"),
        (
            [ll.remove_dimensions(range(9)), ll.remove_dimensions(range(9, 32))],
            "together remove all 32 dimensions of hidden state 0, which leaves no vector",
        ),
        (
            [
                ll.remove_dimensions(range(9), layers=2),
                ll.remove_dimensions(range(9, 20), layers=[1, 2], positions=4),
                ll.remove_dimensions(range(20, 32), layers=[2, 3], positions=[4, 5]),
            ],
            "together remove all 32 dimensions of hidden state 2",
        ),
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
        [ll.remove_dimensions(range(9), positions=4), ll.remove_dimensions(range(9, 32), positions=5)],
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
    from laminar_lens.models.info import bos_training
    from laminar_lens.models.sources import SOURCES

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
        ({"x": 3}, r"^interventions\['x'\] is an int; give one such as"),
        ({"a": ll.cut(5), "x": ["cut(5)"]}, r"^interventions\['x'\] holds 'cut\(5\)', a str; give such as"),
        (3, "^interventions is an int; give one such as"),
    ):
        with pytest.raises(InputError, match=message):
            as_conditions(given)


def test_the_prompt_that_is_too_short_is_named(gpt2):
    texts = ["The boy gave her the book", "A", "They admired her courage"]
    with pytest.raises(InputError, match=r"^prompt 1: cut\(2\) needs position 2, but a prompt has 1 token"):
        ll.capture_residuals(gpt2, texts, interventions=ll.cut(2))
    with pytest.raises(InputError, match=r"^cut\(40\) needs position 40"):
        ll.capture_residuals(gpt2, texts, interventions=ll.cut(40))


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        (ll.scale_norm(2, 3), 3),
        (ll.remove_dimensions(3, layers=[2, 3]), 2),
        (ll.patch_residual(FITS, 3), 3),
        (ll.remove_write("mlp", 1), 2),
        (ll.cut(3), 1),
    ],
    ids=str,
)
def test_what_acts_only_after_the_last_measured_state_is_refused(gpt2, change, begins):
    """It would do nothing, and stand in the provenance as if it had."""
    tokens, last = some_tokens(), begins - 1
    message = re.escape(
        f"{change.label} changes nothing before hidden state {begins}, and the last one measured is {last}"
    )
    layers = list(range(begins))
    for run in (
        lambda: ll.capture_residuals(gpt2, tokens, layers=layers, interventions=change),
        lambda: ll.iter_residuals(gpt2, tokens, layers=layers, interventions=change),
        lambda: ll.AngleMeter(gpt2, layers=layers, measures="sequential", interventions=change),
        lambda: ll.warmup_study(
            gpt2, tokens, layers=layers, random_init=False, interventions=[ll.bos(), change]
        ),
    ):
        with pytest.raises(InputError, match=message):
            run()
    ll.capture_residuals(gpt2, tokens, layers=[begins], interventions=change)


def test_a_second_bos_is_told(gpt2, recwarn):
    """Of those texts that begin with one of their own."""
    tokens = some_tokens(n=6)
    tokens[[1, 4], 0] = 0  # the tokenizer's BOS
    said = "2 of 6 texts have the BOS twice: bos() puts it before their own."
    for run in (ll.capture_residuals, ll.iter_residuals):
        with pytest.warns(UserWarning, match=re.escape(said)):
            run(gpt2, tokens, interventions=ll.bos())
    result = ll.warmup_study(gpt2, tokens, random_init=False, interventions=ll.bos())
    assert said not in result.condition("plain").warnings
    assert said in result.condition("bos()").warnings
    texts = ["<|endoftext|>her to manager", "They admired her"]
    table = ll.StudyResult(ll.angle_table(gpt2, texts, interventions=ll.bos()))
    told = "1 of 2 texts have the BOS twice: bos() puts it before their own."
    assert told in table.condition("bos()").warnings
    recwarn.clear()
    ll.capture_residuals(gpt2, tokens[[0, 2]], interventions=ll.bos())
    ll.capture_residuals(gpt2, tokens, interventions=ll.prefix("The"))
    assert not [one for one in recwarn if "twice" in str(one.message)]
    with pytest.raises(
        InputError, match="prompt 1 already starts with the BOS token 0; use prepend_bos=False"
    ):
        ll.capture_residuals(gpt2, tokens, prepend_bos=True)
