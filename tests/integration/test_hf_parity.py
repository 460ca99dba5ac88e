"""Every angle against Hugging Face's own hidden states, on both TransformerLens generations."""

from pathlib import Path
from typing import Any

import pytest
import torch

from laminar_lens.capture import capture_residuals
from laminar_lens.models import load_model

TOLERANCE_RAD = 2e-5
TEXTS = ("The teacher praised her for the answer.", "He gave her the book", "They admired her courage, and")
KINDS = ("tiny_gpt2", "tiny_llama", "tiny_neox")


def angles(states: torch.Tensor) -> torch.Tensor:
    """All pairwise angles of the vectors of each layer, written here on its own (float64, arctangent)."""
    unit = states.double() / states.double().norm(dim=-1, keepdim=True)
    difference = (unit[..., :, None, :] - unit[..., None, :, :]).norm(dim=-1)
    return 2 * torch.atan2(difference, (unit[..., :, None, :] + unit[..., None, :, :]).norm(dim=-1))


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module", params=["default", "bridge"])
def model(folder: Path, request: pytest.FixtureRequest) -> Any:
    """HookedTransformer where TransformerLens has it (3.x), and the bridge."""
    return load_model(folder, bridge=True if request.param == "bridge" else None)


@pytest.mark.parametrize("bos", [False, True])
def test_texts_equal_hugging_face(model: Any, reference: tuple[Any, Any], bos: bool) -> None:
    hf, tokenizer = reference
    ours = capture_residuals(model, TEXTS, prepend_bos=bos, final_norm=True)
    for index, text in enumerate(TEXTS):
        ids = [tokenizer.bos_token_id] * bos + tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            theirs = torch.cat(hf(torch.tensor([ids]), output_hidden_states=True).hidden_states)
        assert ours.tokens[index, : len(ids)].tolist() == ids
        assert int(ours.mask[index].sum()) == len(ids)
        assert (angles(ours.values[:, index, : len(ids)]) - angles(theirs)).abs().max() <= TOLERANCE_RAD


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_equal_hugging_face(
    model: Any, reference: tuple[Any, Any], side: str, bos: bool
) -> None:
    hf, tokenizer = reference
    tokenizer.padding_side, tokenizer.pad_token = side, tokenizer.eos_token
    batch = tokenizer(
        list(TEXTS), add_special_tokens=False, padding=True, return_tensors="pt", return_token_type_ids=False
    )
    ours = capture_residuals(
        model, batch["input_ids"], mask=batch["attention_mask"], prepend_bos=bos, final_norm=True
    )
    for index in range(len(TEXTS)):
        real = batch["attention_mask"][index].bool()
        ids = torch.cat(
            [torch.tensor([tokenizer.bos_token_id] * bos, dtype=torch.long), batch["input_ids"][index][real]]
        )
        with torch.no_grad():
            theirs = torch.cat(hf(ids[None], output_hidden_states=True).hidden_states)
        assert (angles(ours.values[:, index, : len(ids)]) - angles(theirs)).abs().max() <= TOLERANCE_RAD
        assert ours.values[:, index, len(ids) :].isnan().all()


def test_padding_inside_hugging_face_itself(model: Any, reference: tuple[Any, Any]) -> None:
    """Left-padded with mask and renumbered positions, Hugging Face gives what we give without padding."""
    hf, tokenizer = reference
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    batch = tokenizer(list(TEXTS), add_special_tokens=False, padding=True, return_tensors="pt")
    mask = batch["attention_mask"]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        theirs = hf(
            batch["input_ids"], attention_mask=mask, position_ids=positions, output_hidden_states=True
        ).hidden_states
    ours = capture_residuals(model, TEXTS, final_norm=True)
    for index in range(len(TEXTS)):
        real = mask[index].bool()
        expected = angles(torch.stack([state[index, real] for state in theirs]))
        assert (angles(ours.values[:, index, : int(real.sum())]) - expected).abs().max() <= TOLERANCE_RAD


def test_last_state_is_before_the_final_norm_by_default(model: Any, reference: tuple[Any, Any]) -> None:
    hf, _ = reference
    ours = capture_residuals(model, TEXTS[0], layers=[-1])
    with torch.no_grad():
        theirs = hf(ours.tokens, output_hidden_states=True).hidden_states[-1]
        normed = model.ln_final(ours.values[0])
    assert (angles(ours.values[0]) - angles(theirs)).abs().max() > 0.01
    assert (angles(normed) - angles(theirs)).abs().max() <= TOLERANCE_RAD
