"""The fingerprint is of what ran: rotary tables and moved rows count, and weights that change are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import CaptureError
from laminar_lens.models.fingerprint import fingerprint

TEXT = "He gave her the book."


@pytest.mark.parametrize("kind", ["tiny_gpt2", "tiny_llama", "tiny_neox"])
@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.filterwarnings("ignore:.*were processed by TransformerLens")
def test_nothing_that_moves_a_run_escapes_it(
    kind: str, bridge: bool | None, processed: bool, request: pytest.FixtureRequest
):
    """Every tensor that a module holds is changed by itself: where states move, so does the fingerprint."""
    folder = request.getfixturevalue(kind)
    model = ll.load_model(folder, bridge=bridge, processed=processed)
    before, states = fingerprint(model), ll.capture_residuals(model, TEXT).values
    moved = []
    for name, values in _tensors(model).items():
        kept = values.detach().clone()
        values.detach().add_(0.3)
        if not torch.equal(ll.capture_residuals(model, TEXT).values, states):
            moved.append(name)
            assert fingerprint(model) != before, name
        values.detach().copy_(kept)
    assert fingerprint(model) == before
    assert len(moved) > 20
    if kind != "tiny_gpt2":
        assert any("rotary" in name or "inv_freq" in name for name in moved)


def test_rows_that_change_places_and_signs_that_cancel_are_seen(tiny_gpt2: Path):
    model = ll.load_model(tiny_gpt2)
    before = fingerprint(model)
    for parameter in (one for one in model.parameters() if one.ndim == 2):
        kept = parameter.detach().clone()
        for change in (
            lambda x: x[[1, 0, *range(2, len(x))]],
            lambda x: x.roll(1, 1),
            lambda x: x.flip(0),
            lambda x: torch.where(
                (torch.arange(x.numel()) < 2).reshape(x.shape), x.abs() * _alternating(x), x
            ),
        ):
            parameter.data.copy_(change(kept))
            changed = not torch.equal(parameter.data, kept)
            assert (fingerprint(model) != before) == changed
        parameter.data.copy_(kept)
    assert fingerprint(model) == before


def test_weights_that_change_while_a_study_runs_are_an_error(tiny_gpt2: Path):
    model, seen = ll.load_model(tiny_gpt2), []

    def edit(label: str, done: int, total: int) -> None:
        """Progress that changes a weight once, when the second condition begins."""
        if label.startswith("cut(3)") and not seen:
            seen.append(label)
            next(model.parameters()).data[5].add_(0.5)

    how: dict[str, Any] = {"n_texts": 4, "length": 8, "random_init": False}
    for study in (ll.sink_study, ll.warmup_study):
        with pytest.raises(CaptureError, match=r"weights of .* changed while they were measured"):
            study(model, interventions=ll.cut(3), progress=edit, **how)
        study(model, interventions=ll.cut(3), progress=edit, **how)
        assert seen.pop()


def test_weights_that_change_between_the_settings_of_a_grid_are_an_error(tiny_gpt2: Path):
    model, seen = ll.load_model(tiny_gpt2), []

    def edit(label: str, done: int, total: int) -> None:
        if label == "sensitivity grid" and done == 1:
            seen.append(label)
            next(model.parameters()).data[5].add_(0.5)

    few: dict[str, Any] = {"n_texts": 4, "length": 8, "final_norm": [False], "reference": ["last half"]}
    with pytest.raises(CaptureError, match=r"weights of .* changed while they were measured"):
        ll.sensitivity_grid(model, bos=[False, True], tau=[0.05], progress=edit, **few)
    assert len(seen) == 1


def test_weights_that_change_between_batches_are_an_error(tiny_gpt2: Path):
    model = ll.load_model(tiny_gpt2)
    batches = ll.iter_residuals(model, [TEXT, "They admired her courage, and her sister admired her too."])
    next(batches)
    next(model.parameters()).data[5].add_(0.5)
    next(batches)
    with pytest.raises(CaptureError, match=r"weights of .* changed while they were measured"):
        next(batches)
    ll.capture_residuals(model, TEXT)


def test_rotary_frequencies_that_a_run_sets_anew_are_no_change(make_model_folder: Any):
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    folder = make_model_folder("llama", rope_parameters=rope, max_position_embeddings=16)
    model = ll.load_model(folder, bridge=True)
    before = fingerprint(model)
    with torch.no_grad():
        model(torch.randint(1, 99, (1, 30)), return_type=None)
    assert fingerprint(model) == before


def test_a_rotary_table_that_grows_with_a_text_is_no_change(make_model_folder: Any):
    """TransformerLens makes 2,048 rows at first: a longer text is no change of the weights."""
    model = ll.load_model(make_model_folder("llama", max_position_embeddings=4096))
    before = fingerprint(model)
    ids = torch.randint(1, 99, (1, 2100), generator=torch.Generator().manual_seed(0))
    ll.capture_residuals(model, ids, layers=0)
    ll.capture_residuals(model, ids, layers=-1)
    assert fingerprint(model) == before
    for name, table in model.named_buffers():
        if name.endswith(("rotary_sin", "rotary_cos")):
            assert len(table) > 2048
            table[5] += 0.1
    assert fingerprint(model) != before or not hasattr(model.blocks[0].attn, "rotary_sin")


def _tensors(model: Any) -> dict[str, torch.Tensor]:
    """Every tensor of numbers that a module holds, whatever as."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for root in (model, getattr(model, "original_model", model)):
        for name, part in root.named_modules():
            for held in (part._parameters, part._buffers, part.__dict__):
                for key, value in held.items():
                    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                        found.setdefault(id(value), (f"{name}.{key}", value))
    return dict(found.values())


def _alternating(x: torch.Tensor) -> torch.Tensor:
    return 1 - 2 * (torch.arange(x.numel()) % 2).reshape(x.shape).to(x.dtype)
