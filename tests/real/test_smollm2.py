"""SmolLM2-135M-Instruct, as the package measures it, against an independent forward pass of Hugging Face.

The formulas of the right values are written here, in float64, from Hugging Face's hidden states of fixed rows
of tokens; nothing of the package's own measuring is used for them.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.models import describe
from tests.real.conftest import LENGTH, Reference

TOLERANCE_RAD = 2e-5
LAYERS = [0, 1, 4, 9, 12, 20, 28, 30]
FIRST = 507
"""The dimension that is largest at position 0 while it is a sink; measured with Hugging Face alone."""


@pytest.fixture(scope="module")
def sinks(smollm2: Any, reference: Reference) -> Any:
    """What the sink study finds in the rows."""
    return ll.sink_study(smollm2, reference.rows, random_init=False).dataset


def between(u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Angles of corresponding vectors, in radians (Kahan's form, float64)."""
    u, v = (x.double() / x.double().norm(dim=-1, keepdim=True) for x in (u, v))
    return 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))


def test_it_is_named_after_the_model_and_not_a_path(smollm2: Any, file: Path) -> None:
    info = describe(smollm2)
    assert info.name == "smollm2 (SmolLM2-135M-Instruct, Q4_1)"
    assert info.file == file.name
    assert info.file_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert str(info.quantisation).startswith("Q4_1 in 210, F32 in 61, Q8_0 in 1 of 272 tensors, dequantised")
    assert str(file.parent) not in str(info.as_dict())
    assert (info.n_layers, info.d_model, info.n_ctx, info.vocab_size) == (30, 576, 8192, 49152)
    assert (info.positions, info.bos_token_id, info.weight_processing) == ("rotary", 1, "none")


def test_it_knows_the_capital_of_france(smollm2: Any) -> None:
    tokens = smollm2.to_tokens("The capital of France is", prepend_bos=False)
    with torch.no_grad():
        assert smollm2.tokenizer.decode(smollm2(tokens)[0, -1].argmax()) == " Paris"


def test_tokens_are_hugging_face_s(smollm2: Any, reference: Reference) -> None:
    text = reference.tokenizer.decode(reference.rows[5])
    ours = ll.capture_residuals(smollm2, text, layers=[0])
    assert ours.tokens[0].tolist() == reference.tokenizer(text)["input_ids"]


def test_angles_of_every_kind(smollm2: Any, reference: Reference, states: torch.Tensor) -> None:
    kinds = ("sequential", "rotation", "norm", "step", "turning", "pairwise")
    meter = ll.AngleMeter(smollm2, measures=kinds, lags=2, layers=LAYERS)
    with torch.no_grad():
        smollm2.run_with_hooks(reference.rows, return_type=None, fwd_hooks=meter.hooks())
    found, right = meter.result(), states[LAYERS].double()
    moved = right.diff(dim=0)
    along = right.diff(dim=2)
    angles = {
        "sequential": between(right[:, :, :-1], right[:, :, 1:]),
        "sequential_2": between(right[:, :, :-2], right[:, :, 2:]),
        "rotation": between(right[:-1], right[1:]),
        "turning": between(along[:, :, :-1], along[:, :, 1:]),
        "pairwise": torch.stack([between(one[:, :, None], one[:, None, :]) for one in right]),
    }
    lengths = {"norm": right.norm(dim=-1), "step": moved.norm(dim=-1)}
    assert set(found) == {*angles, *lengths}
    again = reference.rows[:, :-1] == reference.rows[:, 1:]
    nowhere = {"turning": again[:, :-1] | again[:, 1:]}  # of the embedding: the same vector twice has no step
    for kind, wanted in angles.items():
        undefined = torch.zeros_like(wanted, dtype=torch.bool)
        undefined[0] = nowhere.get(kind, undefined[0])
        assert torch.equal(found[kind].isnan(), undefined), kind
        assert float((found[kind] - wanted)[~undefined].abs().max()) <= TOLERANCE_RAD, kind
    for kind, wanted in lengths.items():
        assert float((found[kind] / wanted - 1).abs().max()) <= 1e-4, kind


def test_the_last_state_after_the_final_norm(smollm2: Any, reference: Reference) -> None:
    tokens = reference.rows[:2]
    ours = ll.capture_residuals(smollm2, tokens, layers=[-1], final_norm=True)
    with torch.no_grad():
        right = reference.model.model(tokens).last_hidden_state
    assert float(between(ours.values[0], right).max()) <= TOLERANCE_RAD


def test_length_of_position_0_over_the_median(sinks: Any, states: torch.Tensor) -> None:
    norms = states.double().norm(dim=-1).numpy()  # [layer text pos]
    right = np.exp(np.log(norms[:, :, 0] / np.median(norms, axis=-1)).mean(1))
    ours = sinks["norm_ratio"].sel(pos=0).values
    assert np.abs(ours / right - 1).max() <= 0.01
    assert int(ours.argmax()) == 12
    assert ours[12] > 100


def test_massive_dimensions_by_rank(sinks: Any, states: torch.Tensor) -> None:
    ranked = states[:, :, 0].abs().mean(1).argsort(dim=-1, descending=True)[:, :2].tolist()
    assert all(ranked[layer] == [FIRST, 247] for layer in range(12, 29))
    first = sinks["largest_dimension"].sel(pos=0).values
    assert (first[12:29] == FIRST).all()
    share = sinks["massive_dimension_first"].sel(variant="published", layer=12).to_series()
    assert share.idxmax() == FIRST


def test_the_block_whose_mlp_writes_it(sinks: Any, reference: Reference, states: torch.Tensor) -> None:
    """Against the output of that MLP alone, by text."""
    few, lengths = reference.rows[:3], states[:, :, 0].double().norm(dim=-1)
    block = int(lengths.diff(dim=0).mean(1).argmax())
    written: list[torch.Tensor] = []
    mlp = reference.model.model.layers[block].mlp
    hook = mlp.register_forward_hook(lambda _, __, made: written.append(made[:, 0].double()))
    after = reference.states(few)[block + 1, :, 0].double()
    hook.remove()
    right = after.norm(dim=-1) - (after - written[0]).norm(dim=-1)
    assert block == 11
    assert float((right / after.norm(dim=-1)).min()) > 0.9
    ours = sinks["write_first"].sel(component="mlp").values  # [text block]
    assert ours[:3, block] == pytest.approx(right.numpy(), rel=0.01)
    assert (ours.argmax(1) == block).all()


def test_with_the_bos(smollm2: Any, reference: Reference) -> None:
    rows = reference.rows[:3]
    ours = ll.capture_residuals(smollm2, rows, layers=LAYERS, prepend_bos=True)
    bos = torch.full((3, 1), reference.tokenizer.bos_token_id)
    assert torch.equal(ours.tokens, torch.cat([bos, rows], dim=1))
    right = reference.states(ours.tokens)[LAYERS]
    assert float(between(ours.values, right).max()) <= TOLERANCE_RAD


def test_a_batch_with_padding_on_the_left(smollm2: Any, reference: Reference) -> None:
    lengths = (LENGTH, 40, 9)
    rows = reference.rows[: len(lengths)].clone()
    mask = torch.arange(LENGTH)[None] >= LENGTH - torch.tensor(lengths)[:, None]
    rows[~mask] = reference.tokenizer.pad_token_id
    ours = ll.capture_residuals(smollm2, rows, mask=mask, layers=LAYERS)
    for index, length in enumerate(lengths):
        right = reference.states(rows[index : index + 1, LENGTH - length :])[LAYERS, 0]
        assert float(between(ours.values[:, index, :length], right).max()) <= TOLERANCE_RAD
        assert ours.values[:, index, length:].isnan().all()
