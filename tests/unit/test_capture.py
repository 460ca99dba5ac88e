"""Residual states: shapes, padding, selections, caches, and every refusal."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from laminar_lens.capture import ResidualStates, capture_residuals, iter_residuals, residuals_from_cache
from laminar_lens.errors import CaptureError, InputError, ShapeError
from laminar_lens.models import load_model, memory

TEXTS = (
    "He gave her the book.",
    "They admired her.",
    "The company promoted her to manager.",
    "They praised her.",
)
TOLERANCE_RAD = 2e-5


def apart(u: torch.Tensor, v: torch.Tensor) -> float:
    """Largest angle between corresponding vectors."""
    u, v = (torch.nn.functional.normalize(x.double(), dim=-1) for x in (u, v))
    return float(2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1)).max())


@pytest.fixture(scope="module", params=["default", "bridge"])
def model(tiny_gpt2: Any, request: pytest.FixtureRequest) -> Any:
    return load_model(tiny_gpt2, bridge=True if request.param == "bridge" else None)


def test_shapes_mask_and_strings(model: Any) -> None:
    states = capture_residuals(model, TEXTS)
    lengths = states.mask.sum(-1)
    assert states.values.shape == (4, 4, int(lengths.max()), 32)
    assert states.layers == (0, 1, 2, 3)
    assert states.positions == tuple(range(int(lengths.max())))
    assert states.texts == TEXTS
    assert ["".join(row) for row in states.token_strings()] == list(TEXTS)
    assert (states.tokens == -1).equal(~states.mask)
    assert states.values.isnan().any(-1).equal((~states.mask).expand(4, -1, -1))
    assert json.loads(json.dumps(states.info))["prepend_bos"] is False


def test_prompts_alone_equal_prompts_together(model: Any) -> None:
    together = capture_residuals(model, TEXTS, prepend_bos=True)
    for index, text in enumerate(TEXTS):
        alone = capture_residuals(model, text, prepend_bos=True, batch_size=1)
        assert apart(together.values[:, index, : alone.tokens.shape[1]], alone.values[:, 0]) <= TOLERANCE_RAD
        assert int(alone.tokens[0, 0]) == 0


@pytest.mark.parametrize("with_mask", [False, True])
def test_padding_on_either_side_is_the_same_as_none(model: Any, with_mask: bool) -> None:
    plain = capture_residuals(model, TEXTS)
    width = plain.tokens.shape[1] + 2
    left = torch.full((len(TEXTS), width), -1)
    right = left.clone()
    for index, row in enumerate(plain.tokens):
        ids = row[row >= 0]
        left[index, width - len(ids) :] = ids
        right[index, 1 : 1 + len(ids)] = ids
    for padded in (left, right):
        mask = padded >= 0 if with_mask else None
        states = capture_residuals(model, padded.clamp(min=0) if with_mask else padded, mask=mask)
        assert states.tokens.equal(plain.tokens)
        assert states.mask.equal(plain.mask)
        assert apart(states.values[:, plain.mask], plain.values[:, plain.mask]) <= TOLERANCE_RAD


def test_padding_side_of_the_tokenizer_does_not_matter(tiny_gpt2: Any) -> None:
    """BOS and padding are one token here: a mask guessed from the padding token would hide the BOS."""
    model = load_model(tiny_gpt2)
    before = capture_residuals(model, TEXTS, prepend_bos=True)
    model.tokenizer.padding_side = "left"
    after = capture_residuals(model, TEXTS, prepend_bos=True)
    assert after.values[:, after.mask].equal(before.values[:, before.mask])


def test_layers_and_positions_select(model: Any) -> None:
    everything = capture_residuals(model, TEXTS)
    part = capture_residuals(model, TEXTS, layers=[2, -1, 0], positions=[1, 4])
    assert part.layers == (2, 3, 0)
    assert part.positions == (1, 4)
    expected = everything.values[[2, 3, 0]][:, :, [1, 4]]
    assert torch.equal(part.values.nan_to_num(nan=7), expected.nan_to_num(nan=7))
    assert part.mask.equal(everything.mask[:, [1, 4]])
    assert capture_residuals(model, TEXTS[0], layers=1).values.shape[0] == 1


@pytest.mark.filterwarnings("ignore:Hooks that were left on the model")
def test_early_layers_stop_the_forward_pass(model: Any) -> None:
    reached = []
    model.add_hook("blocks.2.hook_resid_pre", lambda value, hook: reached.append(True))
    try:
        capture_residuals(model, TEXTS[0], layers=[0, 1])
        assert not reached
        capture_residuals(model, TEXTS[0], layers=[3])
        assert reached
    finally:
        model.reset_hooks()


@pytest.mark.filterwarnings("ignore:Hooks that were left on the model")
def test_hooks_and_gradients_are_left_as_they_were(model: Any) -> None:
    fired = []
    model.add_hook("blocks.0.hook_resid_pre", lambda value, hook: fired.append(True))
    try:
        capture_residuals(model, TEXTS[0])
        capture_residuals(model, TEXTS[0])
    finally:
        model.reset_hooks()
    assert len(fired) == 2
    assert torch.is_grad_enabled()
    assert not capture_residuals(model, TEXTS[0]).values.requires_grad


@pytest.mark.filterwarnings("ignore:Hooks that were left on the model")
def test_user_hooks_change_what_is_captured(model: Any) -> None:
    plain = capture_residuals(model, TEXTS[0])
    model.add_hook("blocks.1.hook_resid_pre", lambda value, hook: value * 2)
    try:
        edited = capture_residuals(model, TEXTS[0])
    finally:
        model.reset_hooks()
    assert torch.equal(edited.values[0], plain.values[0])
    assert not torch.equal(edited.values[2], plain.values[2])


def test_iter_residuals_covers_each_prompt_once(model: Any) -> None:
    everything = capture_residuals(model, TEXTS)
    done: list[tuple[str, int, int]] = []
    seen: list[int] = []
    for indices, states in iter_residuals(model, TEXTS, batch_size=1, progress=lambda *a: done.append(a)):
        assert isinstance(states, ResidualStates)
        assert states.mask.all()
        assert states.texts == tuple(TEXTS[i] for i in indices)
        length = states.tokens.shape[1]
        assert apart(states.values, everything.values[:, list(indices), :length]) <= TOLERANCE_RAD
        seen += indices
    assert sorted(seen) == [0, 1, 2, 3]
    assert done[-1][1:] == (4, 4)


def test_iter_residuals_checks_at_the_call(model: Any) -> None:
    with pytest.raises(InputError, match="blank"):
        iter_residuals(model, [" "])


def test_cache_gives_the_same_states(model: Any) -> None:
    states = capture_residuals(model, TEXTS[0], final_norm=True)
    _, cache = model.run_with_cache(states.tokens)
    found = residuals_from_cache(cache, model.cfg, final_norm=True)
    assert apart(found, states.values) <= TOLERANCE_RAD
    kept = residuals_from_cache(cache, model.cfg, layers=[-2])
    assert torch.equal(kept[0], capture_residuals(model, TEXTS[0], layers=[2]).values[0])
    plain = {name: cache[name] for name in ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_pre")}
    assert residuals_from_cache(plain, model.cfg, layers=[0, 1]).shape[0] == 2


@pytest.mark.parametrize("given", [None, torch.zeros(2), ("logits", {})], ids=["None", "tensor", "tuple"])
def test_what_is_no_cache(model: Any, given: Any) -> None:
    with pytest.raises(InputError, match=f"cache is a {type(given).__name__}; give what run_with_cache"):
        residuals_from_cache(given, model.cfg)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(model: Any) -> None:
    for run in (capture_residuals, iter_residuals):
        with pytest.raises(InputError, match="device 'cuda' was asked for, but torch finds no CUDA device"):
            run(model, torch.ones(1, 4, dtype=torch.long), device="cuda")


def test_cache_refusals(model: Any) -> None:
    tokens = capture_residuals(model, TEXTS[0]).tokens
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name == "blocks.1.hook_resid_mid")
    with pytest.raises(InputError, match="no residual stream for hidden state 0"):
        residuals_from_cache(cache, model.cfg)
    with pytest.raises(ShapeError, match=r"expected \[batch pos 32\]"):
        residuals_from_cache({"blocks.0.hook_resid_pre": torch.zeros(4, 32)}, model.cfg, layers=[0])
    with pytest.raises(InputError, match="a plain mapping has no model"):
        residuals_from_cache(
            {"blocks.2.hook_resid_post": torch.zeros(1, 4, 32)}, model.cfg, layers=[3], final_norm=True
        )
    with pytest.raises(InputError, match="layer 9 is out of range"):
        residuals_from_cache(cache, model.cfg, layers=[9])


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "prompts is empty"),
        ("", {}, "prompt 0 is blank"),
        (["her", "  \n"], {}, "prompt 1 is blank"),
        (["her", 3], {}, "prompt 1 is an int"),
        (None, {}, "prompts is a NoneType"),
        ("her " * 70, {}, r"prompt 0 .* tokens, more than the model's context of 64"),
        (torch.full((1, 65), 5), {}, "prompt 0 has 65 tokens"),
        (torch.full((1, 64), 5), {"prepend_bos": True}, "prompt 0 has 65 tokens"),
        ("her", {"layers": 9}, r"layer 9 is out of range: this model has hidden states 0 … 3"),
        ("her", {"layers": [-5]}, "layer -5 is out of range"),
        ("her", {"layers": []}, "layers is empty"),
        ("her", {"layers": "last"}, "expected whole numbers"),
        ("her", {"positions": [70]}, "position 70 is out of range"),
        ("her", {"positions": [-1]}, "position -1 is out of range"),
        ("He gave her", {"positions": [1, 0]}, "increasing order"),
        ("her", {"batch_size": 0}, "batch_size is 0"),
        ("her", {"mask": torch.ones(1, 1)}, "mask= goes with a token tensor"),
        (torch.ones(3), {}, r"expected \[batch pos\]"),
        (torch.ones(1, 3), {}, "expected integer token ids"),
        (torch.ones(0, 3, dtype=torch.long), {}, "prompts is empty"),
        (torch.tensor([[1, 5000]]), {}, "prompt 0 has token 5000, outside the vocabulary"),
        (torch.tensor([[1, 2], [-1, -1]]), {}, "prompt 1 is blank"),
        (torch.tensor([[1, -1, 2]]), {}, "padding between its tokens"),
        (torch.tensor([[1, 2]]), {"mask": torch.ones(1, 3)}, r"mask has shape \(1, 3\)"),
        (torch.tensor([[0, 2]]), {"prepend_bos": True}, "already starts with the BOS token"),
    ],
)
def test_refusals(model: Any, prompts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        capture_residuals(model, prompts, **options)
    assert "\n" not in str(error.value)


def test_not_a_model() -> None:
    with pytest.raises(InputError, match="expected a TransformerLens model"):
        capture_residuals(torch.nn.Linear(2, 2), "her")


def test_dropout_that_is_on_is_refused(tiny_gpt2: Any) -> None:
    model = load_model(tiny_gpt2, bridge=True)
    model.train()
    with pytest.raises(InputError, match=r"training mode .*call model\.eval\(\)"):
        capture_residuals(model, "her")
    model.eval()
    assert torch.equal(capture_residuals(model, "her").values, capture_residuals(model, "her").values)


def test_no_bos(tiny_gpt2: Any) -> None:
    model = load_model(tiny_gpt2)
    model.tokenizer = None
    tokens = torch.tensor([[5, 6]])
    with pytest.raises(InputError, match="no BOS token"):
        capture_residuals(model, tokens, prepend_bos=True)
    with pytest.raises(InputError, match="no tokenizer"):
        capture_residuals(model, "her")
    assert capture_residuals(model, tokens).token_strings() == [["5", "6"]]


@pytest.mark.filterwarnings("ignore:Hooks that were left on the model")
def test_values_that_are_not_finite_are_named(tiny_gpt2: Any) -> None:
    model = load_model(tiny_gpt2)
    last = torch.tensor([[5, 6, 7], [7, 6, 9]])

    def spoil(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[1, 2] = torch.nan
        return value

    model.add_hook("blocks.1.hook_resid_post", spoil)
    for options in ({}, {"positions": [2]}, {"layers": [0, 2], "positions": [0, 2]}):
        with pytest.raises(CaptureError, match=r"prompt 1: .* hidden state 2 at position 2 is not finite"):
            capture_residuals(model, last, **options)


def test_memory_is_checked_before_the_run(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10_000)
    monkeypatch.setattr("laminar_lens.capture.residual_states", lambda *a, **k: pytest.fail("the model ran"))
    with pytest.raises(InputError, match=r"need about [\d,]+ bytes on cpu .* but 10,000 are free"):
        capture_residuals(model, TEXTS)
    with pytest.raises(InputError, match="10,000 are free"):
        iter_residuals(model, TEXTS)


def test_the_memory_estimate_counts_what_is_kept(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the forward pass but not for 50 million numbers: only the states can be what does not fit."""
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10**8)
    monkeypatch.setattr("laminar_lens.capture.residual_states", lambda *a, **k: pytest.fail("the model ran"))
    with pytest.raises(InputError, match="100,000,000 are free"):
        capture_residuals(model, torch.full((8000, 50), 5), batch_size=1)


def test_lists_arrays_and_series_of_texts_are_the_same(model: Any) -> None:
    expected = capture_residuals(model, TEXTS).values
    for given in (np.array(TEXTS), pd.Series(TEXTS), np.array(TEXTS, dtype=object)):
        assert torch.equal(capture_residuals(model, given).values.nan_to_num(), expected.nan_to_num())


def test_whole_numbers_of_numpy_and_torch_select_too(model: Any) -> None:
    expected = capture_residuals(model, TEXTS[0], layers=1, positions=2).values
    for one, two in ((np.int64(1), np.int32(2)), (torch.tensor(1), torch.tensor(2))):
        assert torch.equal(capture_residuals(model, TEXTS[0], layers=one, positions=two).values, expected)


def test_available_memory_is_plausible() -> None:
    free = memory.available_bytes("cpu")
    assert free is None or free > 2**20


def test_processed_weights_warn_once_and_refuse_the_final_norm(tiny_gpt2: Any) -> None:
    model = load_model(tiny_gpt2, processed=True)
    with pytest.warns(UserWarning, match="processed by TransformerLens .*centring removes the mean"):
        states = capture_residuals(model, TEXTS[0])
    capture_residuals(model, TEXTS[0])
    assert states.info["weight_processing"] == "folded, centred"
    with pytest.raises(InputError, match="folded into the unembedding"):
        capture_residuals(model, TEXTS[0], final_norm=True)


def test_half_precision_is_kept(tiny_gpt2: Any) -> None:
    model = load_model(tiny_gpt2, dtype="bfloat16")
    states = capture_residuals(model, TEXTS)
    assert states.values.dtype == torch.bfloat16
    exact = capture_residuals(load_model(tiny_gpt2), TEXTS)
    assert apart(states.values[:, exact.mask].float(), exact.values[:, exact.mask]) < 0.1
