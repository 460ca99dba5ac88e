"""Checks of arguments by their names: what passes, what it becomes, and the one line for the rest."""

import inspect
import re
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens import arguments
from laminar_lens.arguments import checked
from laminar_lens.errors import InputError, a_kind
from tests.contract.turning import Turning


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return ll.load_model(tiny_gpt2)


def test_a_type_has_its_article():
    said = {3: "an int", "x": "a str", None: "a NoneType", np.uint8(1): "a uint8"}
    assert {value: a_kind(value) for value in said} == said
    assert a_kind(np.ones(2)) == "an ndarray"
    assert a_kind(iter([])) == "a list_iterator"


def test_a_flag_is_a_bool():
    for value in (True, False, np.True_, np.False_):
        assert arguments.flag("x", value) is bool(value)
    for value in (0, 1, 2, -1, "", "no", "False", None, [], b"x", 1.0, torch.tensor(True), np.array(True)):
        with pytest.raises(InputError, match=r"x is .*; expected True or False"):
            arguments.flag("x", value)


def test_a_function_is_no_class():
    assert arguments.function("progress", print) is print
    for value in (3, None, int, ll.LaminarLensError):
        with pytest.raises(InputError, match=r"progress is .*; expected a function \(label, done, total\)$"):
            arguments.function("progress", value)
    with pytest.raises(InputError, match=r": give ProgressLines\(\)$"):
        arguments.function("progress", ll.ProgressLines)


def test_a_whole_number_is_no_bool_and_no_float():
    for value in (3, np.int8(3), np.uint64(3), torch.tensor(3), np.array(3)):
        assert arguments.whole("n", value) == 3
        assert type(arguments.whole("n", value)) is int
    for value in (True, np.True_, torch.tensor(True), 3.0, "3", b"3", None, [3], torch.tensor([3]), 2**63):
        with pytest.raises(InputError, match=r"n is .*; expected a whole number"):
            arguments.whole("n", value)
    with pytest.raises(InputError, match="n is -1; expected a whole number of at least 0"):
        arguments.whole("n", -1, least=0)
    with pytest.raises(InputError, match="n is 5; expected a whole number from 1 to 4"):
        arguments.whole("n", 5, least=1, most=4)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (3, (3,)),
        ([4, 1, 4], (4, 1, 4)),
        (range(2), (0, 1)),
        (np.array([2, 0]), (2, 0)),
        (torch.tensor([2, 0]), (2, 0)),
        ((n for n in (1, 2)), (1, 2)),
    ],
)
def test_whole_numbers_keep_their_order(value: Any, found: tuple[int, ...]):
    assert arguments.wholes("layers", value) == found


@pytest.mark.parametrize(
    "value",
    [True, [True], np.array([True, False]), b"x", "12", bytearray(b"x"), {1: 2}, [1.0], ["1"], [None]],
)
def test_neither_bools_nor_characters_are_whole_numbers(value: Any):
    with pytest.raises(InputError, match=r"layers is .*; expected whole numbers"):
        arguments.wholes("layers", value)


def test_numbers_are_finite():
    assert arguments.number("tau", Fraction(1, 4)) == arguments.number("tau", np.float32(0.25)) == 0.25
    for value in (True, np.True_, "0.1", None, float("nan"), float("inf"), 10**400, 1j, torch.tensor(0.1)):
        with pytest.raises(InputError, match=r"tau is .*; expected a finite number"):
            arguments.number("tau", value)


def test_seeds_are_those_of_both_generators():
    largest = 2**63 - 1
    assert arguments.seed("seed", largest) == largest
    np.random.default_rng([largest, 1])
    torch.Generator().manual_seed(largest)
    for value in (2**63, 2**200, -1, True, 1.0, "1", None):
        with pytest.raises(InputError, match=r"seed is .*; expected a whole number from 0 to 2\*\*63 - 1"):
            arguments.seed("seed", value)


@pytest.mark.parametrize(
    ("check", "value", "example"),
    [
        (arguments.whole, "a", "a whole number, for example 3"),
        (partial(arguments.whole, least=5), 4, "a whole number of at least 5, for example 5"),
        (partial(arguments.whole, most=2), 4, "a whole number of at most 2, for example 2"),
        (arguments.wholes, True, "whole numbers, for example 3 or [3]"),
        (arguments.wholes, [True], "whole numbers, for example 3 or [3]"),
        (arguments.wholes, [], "give at least one, for example [3]"),
        (arguments.seed, -1, "to 2**63 - 1, such as 0"),
        (arguments.number, True, "a finite number, for example 0.5"),
        (arguments.texts, 3, "texts, for example ['one', 'two']"),
    ],
)
def test_a_refusal_shows_a_right_value(check: Any, value: Any, example: str):
    with pytest.raises(InputError, match=f"{re.escape(example)}$"):
        check("x", value)


def test_half_a_character_is_no_text():
    assert arguments.text("what", "ä 𝄞") == "ä 𝄞"
    for value in ("\ud800", "her \udfff", b"her", 1, None):
        with pytest.raises(InputError, match="what"):
            arguments.text("what", value)


def test_paths():
    for value in ("a.nc", Path("a.nc"), "\udc80.nc"):  # a byte that is no UTF-8, as Python writes such names
        assert arguments.path("path", value) == value
    for value in ("", "a\0b", "\ud800", b"a.nc", None, 1, ["a.nc"]):
        with pytest.raises(InputError, match="path is"):
            arguments.path("path", value)


def test_an_additive_mask_is_not_turned_into_its_opposite():
    for value in (torch.ones(1, 2), np.array([[True, False]]), [[1, 0]], torch.tensor([[1, 0]])):
        assert np.asarray(arguments.truths("mask", value)).shape == (1, 2)
    for value in (
        torch.tensor([[0.0, -torch.inf]]),
        [[2, 0]],
        "ab",
        np.array([["a"]]),
        torch.eye(2).to_sparse(),
    ):
        with pytest.raises(InputError, match="mask is"):
            arguments.truths("mask", value)


def test_values_are_shown_in_one_short_line():
    class Worse:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    for value in (torch.rand(9, 9), "x" * 999, "a\nb", Worse(), 10**5000, "\ud800"):
        text = arguments.shown(value)
        assert len(text) <= 60
        assert "\n" not in text
        text.encode()


def test_a_door_checks_by_name_converts_and_lets_the_default_none_pass():
    @checked(layers=None)
    def door(seed: int = 0, layers: Any = None, length: int | None = None, *, regex: bool = False) -> Any:
        return seed, layers, length, regex

    assert door(np.int64(3), "any", np.int32(5), regex=np.True_) == (3, "any", 5, True)
    assert [type(part) for part in door(np.int64(3), None, None, regex=np.True_)[::3]] == [int, bool]
    assert list(inspect.signature(door).parameters) == ["seed", "layers", "length", "regex"]
    for given in ({"seed": None}, {"regex": None}, {"length": "5"}):
        with pytest.raises(InputError, match=f"{next(iter(given))} is"):
            door(**given)
    with pytest.raises(TypeError, match=r"^door takes no sed=: did you mean seed\?$"):
        door(sed=1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: ll.speech_study(None, n_text=5), "speech_study takes no n_text=: did you mean n_texts?"),
        (lambda: ll.speech_study(None, length=5), "speech_study takes no length=: texts are read whole"),
        (lambda: ll.rotation_study(None, texts=["a"]), "rotation_study takes no texts=: it takes model, pro"),
        (lambda: ll.warmup_study(), "warmup_study: missing a required argument: 'model'; it takes model, te"),
        (lambda: ll.load_model("novella", devise="cpu"), "load_model takes no devise=: did you mean device?"),
        (lambda: ll.AngleMeter(None, measure="norm"), "AngleMeter takes no measure=: did you mean measures?"),
        (lambda: ll.load_result(), "load_result: missing a required argument: 'path'; it takes path"),
        (lambda: ll.remove_write("mlp", 1, position=0), "remove_write takes no position=: did you mean posi"),
        (lambda: ll.bos(5), "bos: too many positional arguments; it takes none"),
        (lambda: ll.register_measure("x", abs, unitt="1"), "register_measure takes no unitt=: did you mean "),
        (lambda: ll.run(Turning(), None, n_text=5), "n_text= is no option of a turning_outside study: did"),
    ],
)
def test_an_argument_that_no_door_knows_is_one_line(call: Any, said: str):
    """Python's own error of a call, and ours of an argument: whichever is caught, it is one, without what
    went on inside."""
    with pytest.raises(InputError, match=f"^{re.escape(said)}") as caught:
        call()
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert isinstance(caught.value, TypeError) == ("is no option of" not in said)


@pytest.mark.parametrize("value", [2, -1, "no", "False", 0, 1, None, [True]])
@pytest.mark.parametrize("name", ["prepend_bos", "final_norm"])
def test_flags_of_captures_change_nothing_silently(model: Any, name: str, value: Any):
    with pytest.raises(InputError, match=f"{name} is .*; expected True or False"):
        ll.capture_residuals(model, "He gave her", **{name: value})


def test_true_is_no_layer_and_bytes_are_no_dimensions(model: Any):
    for layers in (True, [True], b"\x01"):
        with pytest.raises(InputError, match=r"layers is"):
            ll.capture_residuals(model, "He gave her", layers=layers)
        with pytest.raises(InputError, match=r"layers is"):
            ll.scale_norm(2.0, layers)
    with pytest.raises(InputError, match="dims is b'x'; expected whole numbers"):
        ll.remove_dimensions(b"x")
    numbers = ll.capture_residuals(model, "He gave her", layers=np.int64(1), prepend_bos=np.False_)
    assert torch.equal(numbers.values, ll.capture_residuals(model, "He gave her", layers=[1]).values)


def test_a_lone_surrogate_names_its_prompt(model: Any):
    for study in (ll.capture_residuals, ll.sequential_study, ll.angle_table):
        with pytest.raises(InputError, match=r"prompt 1 \('her \\ud800'\) has a lone surrogate"):
            study(model, ["He gave her", "her \ud800"])
    with pytest.raises(InputError, match=r"prefix .* has a lone surrogate"):
        ll.prefix("\ud800")


def test_the_largest_seed_runs_and_the_next_is_refused(model: Any):
    how: dict[str, Any] = {"n_texts": 4, "length": 8, "random_init": False}
    ll.warmup_study(model, seed=2**63 - 1, geometry="centred", **how)
    for seed in (2**63, -1, True, "0"):
        for run in (ll.warmup_study, ll.why_study, ll.sink_study, ll.random_twin, ll.sequential_study):
            given = {"prompts": ["her a", "her b"]} if run is ll.sequential_study else {}
            with pytest.raises(InputError, match="seed is"):
                run(model, seed=seed, **given)


def test_sink_tokens_takes_tensors():
    from laminar_lens.stats.sinks import sink_tokens

    values = torch.ones(2, 1, 6, 4) + 0.1 * torch.randn(
        2, 1, 6, 4, generator=torch.Generator().manual_seed(0)
    )
    values[1, 0, 2] = torch.tensor([100.0, -100.0, 100.0, -100.0])
    mask = torch.tensor([[1, 1, 1, 1, 1, 0]])
    expected = [[False, False, True, False, False, False]]
    for kind in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert sink_tokens(values.to(kind), mask).tolist() == expected
    assert sink_tokens(values.numpy(), mask.bool().numpy()).tolist() == expected
    with pytest.raises(InputError, match="mask is"):
        sink_tokens(values, torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, -torch.inf]]))
