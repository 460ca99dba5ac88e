"""Studies measure while the model runs: the same angles as from captured states, and the same refusals."""

from typing import Any

import numpy as np
import pytest
import torch

from laminar_lens.capture import capture_residuals
from laminar_lens.errors import CaptureError, InputError
from laminar_lens.kernels import pair_angles, rotation_angles, sequential_angles
from laminar_lens.models import load_model, memory
from laminar_lens.studies.stream import iter_angles

TEXTS = (
    "He gave her the book.",
    "They admired her.",
    "The company promoted her to manager.",
    "They praised her.",
)
TOLERANCE_RAD = 1e-6


@pytest.fixture(scope="module", params=["default", "bridge"])
def model(tiny_gpt2: Any, request: pytest.FixtureRequest) -> Any:
    return load_model(tiny_gpt2, bridge=True if request.param == "bridge" else None)


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("kind", ["tiny_gpt2", "tiny_llama", "tiny_neox"])
@pytest.mark.parametrize("options", [{}, {"prepend_bos": True, "final_norm": True, "layers": [3, 0, 2]}])
def test_angles_are_those_of_captured_states(
    kind: str, bridge: bool | None, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    model = load_model(request.getfixturevalue(kind), bridge=bridge)
    layers = sorted(options.get("layers", range(4)))
    pairs = np.array([[[0, 2], [2, 0], [1, -1]]] * len(TEXTS))
    seen: list[int] = []
    for batch in iter_angles(model, TEXTS, ("sequential", "rotation"), pairs=pairs, **options):
        assert batch.layers == tuple(layers)
        for row, index in enumerate(batch.indices):
            states = capture_residuals(model, TEXTS[index], **(options | {"layers": layers}))
            expected = {
                "sequential": sequential_angles(states.values),
                "rotation": rotation_angles(states.values),
                "pair": pair_angles(states.values, pairs[:1]),
            }
            for name, values in expected.items():
                np.testing.assert_allclose(batch.angles[name][:, row], values[:, 0], atol=TOLERANCE_RAD)
            assert batch.tokens[row].tolist() == states.tokens[0].tolist()
            assert batch.token_strings[row] == states.token_strings()[0]
            assert batch.info == {**states.info, "backend": "eager", "geometry": {"name": "raw"}}
        seen += batch.indices
    assert sorted(seen) == [0, 1, 2, 3]


def test_every_backend_that_ran_is_recorded(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch may be large enough for a faster backend, and the next one too small."""
    monkeypatch.setattr(
        "laminar_lens.meter.resolve_backend",
        lambda name, state: "reference" if state.shape[1] > 5 else "eager",
    )
    tokens = torch.tensor([[5, 6, 7, 8, 9, 10], [5, 6, 7, -1, -1, -1]])
    infos = [batch.info for batch in iter_angles(model, tokens, ("sequential",))]
    assert infos[-1]["backend"] == "eager, reference"


def test_values_that_are_not_finite_are_named(model: Any) -> None:
    def spoil(value: torch.Tensor, hook: Any) -> torch.Tensor:
        value = value.clone()
        value[1, 2, 5] = -torch.inf
        return value

    model.add_hook("blocks.1.hook_resid_post", spoil)
    try:
        with pytest.raises(CaptureError, match=r"prompt 1: .* hidden state 2 at position 2 is not finite"):
            list(iter_angles(model, torch.tensor([[5, 6, 7], [7, 6, 9]]), ("sequential",)))
    finally:
        model.reset_hooks()


def test_zero_vectors_are_nan_and_no_error(model: Any) -> None:
    model.add_hook("blocks.2.hook_resid_post", lambda value, hook: value * 0)
    try:
        (batch,) = iter_angles(model, TEXTS[0], ("sequential",))
    finally:
        model.reset_hooks()
    assert np.isnan(batch.angles["sequential"]).all(axis=(1, 2)).tolist() == [False, False, False, True]


def test_memory_is_checked_before_the_run(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laminar_lens.models.passes.run_states", lambda *a, **k: pytest.fail("the model ran"))
    monkeypatch.setattr(memory, "available_bytes", lambda device: 10_000)
    with pytest.raises(InputError, match=r"the angles need about [\d,]+ bytes on cpu .* but 10,000 are free"):
        iter_angles(model, TEXTS, ("sequential",))


def test_states_that_would_not_fit_are_not_in_the_way(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = torch.randint(1, 300, (400, 20), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(memory, "available_bytes", lambda device: 14_000_000)
    with pytest.raises(InputError, match="14,000,000 are free"):
        capture_residuals(model, tokens)
    assert next(iter_angles(model, tokens, ("sequential",))).angles["sequential"].shape == (4, 204, 19)


@pytest.mark.parametrize("n_layer", [3, 24])
def test_only_a_bridge_keeps_the_patterns_of_every_block(
    n_layer: int, make_model_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = load_model(make_model_folder("gpt2", n_layer=n_layer))
    kept = n_layer if hasattr(deep, "original_model") else min(n_layer, 4)
    run = 50 * 60 * 4 * (32 * (2 + 12) + kept * 4 * 60)
    need = memory.Need("angles", "some", 1000, 2)
    monkeypatch.setattr(memory, "available_bytes", lambda device: run + 1000)
    memory.check_fits(deep, need, batch=50, length=60)
    monkeypatch.setattr(memory, "available_bytes", lambda device: run + 999)
    with pytest.raises(InputError, match=f"about {run + 1000:,} bytes"):
        memory.check_fits(deep, need, batch=50, length=60)


def test_prompts_too_short_for_an_angle(model: Any) -> None:
    with pytest.raises(InputError, match="prompt 'X' has 1 tokens, sequential angles need 2"):
        iter_angles(model, ["X"], ("sequential",))
    with pytest.raises(InputError, match="prompt 1 has 2 tokens, turning angles need 3"):
        iter_angles(model, torch.tensor([[1, 2, 3], [4, 5, -1]]), ("turning",))
