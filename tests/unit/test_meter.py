"""The meter gives what the kernels give on captured states, whatever runs the model and whoever hooks it."""

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

from laminar_lens.capture import capture_residuals
from laminar_lens.errors import BackendError, CaptureError, InputError, ShapeError
from laminar_lens.kernels import (
    angle_profile,
    pair_angles,
    pairwise_angles,
    sequential_angles,
    turning_angles,
)
from laminar_lens.measures import MEASURES, PROFILE
from laminar_lens.meter import AngleMeter, _alike
from laminar_lens.models import load_model

TOLERANCE_RAD = 1e-6
TOKENS = torch.tensor([[5, 80, 7, 200, 31, 4, 90], [44, 12, 300, 8, 260, 17, 2]])
PAIRS = torch.tensor([[0, 6], [3, 1], [2, -1]])


def agree(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The same names, the same NaN, and angles (or relative lengths) within 1e-6."""
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        assert not found[name].requires_grad
        torch.testing.assert_close(
            found[name], values, atol=TOLERANCE_RAD, rtol=1e-6, equal_nan=True, msg=name
        )


def from_states(states: Tensor, lags: int = 1) -> dict[str, Tensor]:
    return angle_profile(states, lags=lags, backend="eager")


def run(model: Any, meter: AngleMeter, tokens: Tensor = TOKENS, **more: Any) -> dict[str, Tensor]:
    with torch.no_grad():
        model.run_with_hooks(tokens, fwd_hooks=meter.hooks(), attention_mask=torch.ones_like(tokens), **more)
    return meter.result()


def n_hooks(model: Any) -> int:
    points = {id(point): point for point in model.hook_dict.values()}
    return sum(len(point._forward_hooks) + len(point.fwd_hooks) for point in points.values())


def patch(value: Tensor, hook: Any) -> Tensor:
    value = value.clone()
    value[:, 2] = -3 * value[:, 4]
    return value


def patch_in_place(value: Tensor, hook: Any) -> Tensor:
    value[:, 2] = -3 * value[:, 4]
    return value


@pytest.fixture(scope="module", params=["default", "bridge"])
def model(tiny_gpt2: Any, request: pytest.FixtureRequest) -> Any:
    """HookedTransformer where TransformerLens has it (3.x), and the bridge."""
    return load_model(tiny_gpt2, bridge=True if request.param == "bridge" else None)


@pytest.fixture(scope="module")
def states(model: Any) -> Tensor:
    return capture_residuals(model, TOKENS).values


class TestParity:
    @pytest.mark.parametrize("bridge", [None, True])
    @pytest.mark.parametrize("kind", ["tiny_gpt2", "tiny_llama", "tiny_neox"])
    def test_every_measure_is_that_of_captured_states(
        self, kind: str, bridge: bool | None, request: pytest.FixtureRequest
    ) -> None:
        model = load_model(request.getfixturevalue(kind), bridge=bridge)
        states = capture_residuals(model, TOKENS).values
        found = run(model, AngleMeter(model, measures=MEASURES.shipped, lags=3, pairs=PAIRS))
        expected = from_states(states, lags=3) | {
            "turning": turning_angles(states),
            "pairwise": pairwise_angles(states),
            "pair": pair_angles(states, PAIRS),
        }
        agree(found, expected)
        assert found["pair"][..., 2].isnan().all()

    def test_chosen_layers_turn_since_the_chosen_one_before(self, model: Any, states: Tensor) -> None:
        meter = AngleMeter(model, layers=[0, -2, 3])
        agree(run(model, meter), from_states(states[[0, 2, 3]]))
        assert meter.layers == (0, 2, 3)

    def test_one_layer_has_neither_rotation_nor_step(self, model: Any, states: Tensor) -> None:
        agree(run(model, AngleMeter(model, layers=2)), angle_profile(states[2:3]))
        with pytest.raises(InputError, match="'step' compares two hidden states, but layers= has one"):
            AngleMeter(model, measures=["norm", "step"], layers=[2])

    def test_pairs_alone_and_for_each_prompt(self, model: Any, states: Tensor) -> None:
        pairs = torch.tensor([[[0, 1]], [[4, -1]]]).numpy()
        found = run(model, AngleMeter(model, measures=[], pairs=pairs))
        agree(found, {"pair": pair_angles(states, pairs)})

    def test_last_state_after_the_final_norm(self, model: Any) -> None:
        states = capture_residuals(model, TOKENS, final_norm=True).values
        agree(run(model, AngleMeter(model, final_norm=True)), from_states(states))

    def test_half_precision_is_measured_as_it_is(self, tiny_gpt2: Any) -> None:
        model = load_model(tiny_gpt2, dtype="bfloat16")
        states = capture_residuals(model, TOKENS).values
        assert states.dtype == torch.bfloat16
        agree(run(model, AngleMeter(model)), from_states(states))

    def test_the_backend_that_measured_is_named(self, model: Any, states: Tensor) -> None:
        meter = AngleMeter(model)
        with pytest.raises(CaptureError, match="seen no forward pass"):
            _ = meter.backend
        run(model, meter)
        assert meter.backend == "eager"  # too small for the faster ones
        meter = AngleMeter(model, backend="reference")
        agree(run(model, meter), angle_profile(states, backend="reference"))
        assert meter.backend == "reference"
        with pytest.raises(BackendError, match="'fast' is unknown"):
            run(model, AngleMeter(model, backend="fast"))


class TestWaysToRun:
    @pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
    def test_attached_in_every_gradient_mode(
        self, model: Any, states: Tensor, mode: Callable[..., Any]
    ) -> None:
        with mode(), AngleMeter(model) as meter:
            model(TOKENS)
        agree(meter.result(), from_states(states))
        meter.result()["norm"].mul_(
            2
        )  # usable outside of inference mode, and the meter's own stay as they were
        agree(meter.result(), from_states(states))

    def test_autocast_leaves_the_arithmetic_alone(self, model: Any) -> None:
        kept: list[Tensor] = []
        meter = AngleMeter(model, measures=(*PROFILE, "pairwise"))
        keep = [(name, lambda value, hook: kept.append(value.clone())) for name, _ in meter.hooks()]
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            model.run_with_hooks(TOKENS, fwd_hooks=[*keep, *meter.hooks()])
        states = torch.stack([state.float() for state in kept])
        agree(meter.result(), from_states(states) | {"pairwise": pairwise_angles(states)})

    def test_gradient_where_it_is_asked_for(self, model: Any) -> None:
        def slope(measure: Callable[[Tensor], Tensor]) -> Tensor:
            turned = torch.zeros(32, requires_grad=True)
            meter = AngleMeter(model, gradient=True)
            kept: list[Tensor] = []
            push = ("blocks.0.hook_resid_post", lambda value, hook: value + turned)
            keep = [(name, lambda value, hook: kept.append(value)) for name, _ in meter.hooks()]
            model.run_with_hooks(TOKENS, fwd_hooks=[push, *keep, *meter.hooks()])
            loss = meter.result()["sequential"].sum() + meter.result()["rotation"].sum()
            if measure is not None:
                found = from_states(torch.stack(kept))
                loss = found["sequential"].sum() + found["rotation"].sum()
            (gradient,) = torch.autograd.grad(loss, turned)
            return gradient

        expected = slope(from_states)
        assert expected.abs().max() > 0
        torch.testing.assert_close(slope(None), expected, atol=1e-4, rtol=1e-4)

    def test_compiled_model(self, model: Any, states: Tensor) -> None:
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="eager")
        with torch.no_grad(), AngleMeter(model) as meter:
            compiled(TOKENS)
        agree(meter.result(), from_states(states))
        torch._dynamo.reset()

    def test_compatibility_mode_calls_a_hook_once(self, tiny_gpt2: Any) -> None:
        bridge = load_model(tiny_gpt2, bridge=True)
        bridge.enable_compatibility_mode()
        with pytest.warns(UserWarning, match="processed"):
            states = capture_residuals(bridge, TOKENS).values
        agree(run(bridge, AngleMeter(bridge)), from_states(states))

    def test_states_without_a_batch_axis_are_a_batch_of_one(self, model: Any, states: Tensor) -> None:
        """The bridge's `remove_batch_dim=True` hands such states to hooks."""
        meter = AngleMeter(model)
        for layer, state in enumerate(states[:, 0]):
            meter.observe(layer, state)
        agree(meter.result(), from_states(states[:, :1]))

    def test_state_of_another_device_or_dtype_follows(self) -> None:
        before, state = torch.zeros(1, 2, 3), torch.zeros(1, 2, 3, dtype=torch.float64, device="meta")
        for tensor in _alike(before, state):
            assert tensor.device.type == "meta"
            assert tensor.dtype == torch.float64

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_padding_is_nan_and_the_rest_as_without(self, model: Any, side: str) -> None:
        rows = [TOKENS[0, :4], TOKENS[1, :6]]
        tokens, mask = torch.zeros(2, 6, dtype=torch.long), torch.zeros(2, 6, dtype=torch.bool)
        for index, row in enumerate(rows):
            where = slice(6 - len(row), 6) if side == "left" else slice(0, len(row))
            tokens[index, where], mask[index, where] = row, True
        pairs = torch.tensor([[1, 4], [4, 5], [2, 3]])
        meter = AngleMeter(model, measures=MEASURES.shipped, pairs=pairs, mask=mask.int())
        with torch.no_grad(), meter:
            model(tokens, attention_mask=mask.int(), padding_side=side)
        found = meter.result()
        for index, row in enumerate(rows):
            first = int(mask[index].int().argmax())
            alone = capture_residuals(model, row[None]).values
            expected = angle_profile(alone) | {
                "turning": turning_angles(alone),
                "pairwise": pairwise_angles(alone),
            }
            for name, values in expected.items():
                place = (slice(None), index, *(slice(first, first + n) for n in values.shape[2:]))
                torch.testing.assert_close(found[name][place], values[:, 0], atol=2e-5, rtol=1e-5)
                assert found[name][:, index].isfinite().sum() == values.numel(), name
            for place, (i, j) in enumerate(pairs.tolist()):
                assert found["pair"][:, index, place].isfinite().all() == (mask[index, i] & mask[index, j])


class TestPasses:
    def test_every_forward_pass_starts_anew(self, model: Any, states: Tensor) -> None:
        meter = AngleMeter(model)
        first = run(model, meter, TOKENS[:, :4])
        agree(run(model, meter), from_states(states))
        assert first["norm"].shape == (4, 2, 4)

    def test_no_forward_pass(self, model: Any) -> None:
        with pytest.raises(CaptureError, match="seen no forward pass"):
            AngleMeter(model).result()

    def test_a_pass_that_stops_early_names_what_is_missing(self, model: Any, states: Tensor) -> None:
        with pytest.raises(
            CaptureError, match=r"hidden state 3: its hook 'blocks.2.hook_resid_post' did not"
        ):
            run(model, AngleMeter(model), stop_at_layer=2)
        agree(run(model, AngleMeter(model, layers=[0, 1, 2]), stop_at_layer=2), from_states(states[:3]))

    def test_attaching_forgets_the_pass_before(self, model: Any, states: Tensor) -> None:
        meter = AngleMeter(model)
        agree(run(model, meter), from_states(states))
        with meter:
            pass
        with pytest.raises(CaptureError, match="seen no forward pass"):
            meter.result()

    def test_a_pass_of_other_tokens_does_not_go_on_with_a_cut_one(self, model: Any, states: Tensor) -> None:
        meter = AngleMeter(model)
        meter.observe(0, states[0])
        with pytest.raises(
            ShapeError, match=r"hidden state 0 was \[2, 7, 32\], the next one is \[2, 4, 32\]"
        ):
            meter.observe(1, states[1][:, :4])

    def test_a_pass_may_leave_inference_mode(self, model: Any, states: Tensor) -> None:
        meter = AngleMeter(model)
        with torch.inference_mode():
            for layer in (0, 1):
                meter.observe(layer, states[layer].clone())
        for layer in (2, 3):
            meter.observe(layer, states[layer])
        agree(meter.result(), from_states(states))

    def test_after_an_exception_no_hook_is_left(self, model: Any, states: Tensor) -> None:
        def fail(value: Tensor, hook: Any) -> None:
            raise RuntimeError("mine")

        def nothing(value: Tensor, hook: Any) -> None:
            return None

        model.add_hook("blocks.1.hook_resid_post", nothing)
        try:
            before = n_hooks(model)
            meter = AngleMeter(model)
            for attached in (True, False):
                with pytest.raises(RuntimeError, match="mine"), meter if attached else nullcontext():
                    model.run_with_hooks(
                        TOKENS,
                        fwd_hooks=[*([] if attached else meter.hooks()), ("blocks.1.hook_resid_post", fail)],
                    )
                assert n_hooks(model) == before
                with pytest.raises(CaptureError, match="hidden state 3"):
                    meter.result()
            agree(run(model, meter), from_states(states))
            assert n_hooks(model) == before
        finally:
            model.reset_hooks()

    def test_attached_once_at_a_time(self, model: Any, states: Tensor) -> None:
        meter = AngleMeter(model)
        with torch.no_grad(), meter:
            with pytest.raises(InputError, match="attached already"), meter:
                pass
            model(TOKENS)
        with torch.no_grad(), meter:
            model.run_with_cache(TOKENS)
        agree(meter.result(), from_states(states))
        assert n_hooks(model) == 0

    @pytest.mark.parametrize("measures", [("sequential", "norm"), PROFILE])
    def test_no_state_is_kept(self, model: Any, measures: tuple[str, ...]) -> None:
        meter = AngleMeter(model, measures=measures)
        for layer in range(4):
            state = torch.randn(1, 5, 32)
            alive = weakref.ref(state)
            meter.observe(layer, state)
            del state
            assert alive() is None
            kept = meter._pass.previous
            assert (kept is not None) == ("rotation" in measures and layer < 3)


class TestOtherHooks:
    """A hook before the meter's is seen; a later one from the next hidden state on."""

    @pytest.mark.parametrize("change", [patch, patch_in_place])
    def test_hooks_given_before_are_seen(self, model: Any, states: Tensor, change: Any) -> None:
        meter = AngleMeter(model)
        own = ("blocks.1.hook_resid_post", change)
        with torch.no_grad():
            model.run_with_hooks(TOKENS, fwd_hooks=[own, *meter.hooks()])
        found = meter.result()
        patched = patch(states[2], None)
        torch.testing.assert_close(found["sequential"][2], sequential_angles(patched), atol=1e-6, rtol=0)
        both = torch.stack([states[1], patched])
        torch.testing.assert_close(found["rotation"][1], from_states(both)["rotation"][0], atol=1e-6, rtol=0)
        model.add_hook(*own)
        try:
            with torch.no_grad(), meter:
                model(TOKENS)
        finally:
            model.reset_hooks()
        agree(meter.result(), found)

    @pytest.mark.parametrize("change", [patch, patch_in_place])
    @pytest.mark.parametrize("place", ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"])
    def test_later_hooks_change_the_states_after(
        self, model: Any, states: Tensor, change: Any, place: str
    ) -> None:
        meter, last = AngleMeter(model), []
        with torch.no_grad():
            model.run_with_hooks(
                TOKENS,
                fwd_hooks=[
                    *meter.hooks(),
                    (place, change),
                    ("blocks.2.hook_resid_post", lambda value, hook: last.append(value.clone())),
                ],
            )
        seen = torch.stack([*states[:3], last[0]])
        assert (seen[3] - states[3]).abs().max() > 0.1
        agree(meter.result(), from_states(seen))

    def test_the_meter_changes_nothing(self, model: Any) -> None:
        with torch.no_grad():
            plain = model(TOKENS)
            with AngleMeter(model):
                assert torch.equal(model(TOKENS), plain)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"measures": ["angle"]}, "measure 'angle' is unknown; choose from sequential"),
        ({"measures": []}, "measures is empty and there are no pairs"),
        ({"layers": [9]}, "layer 9 is out of range"),
        ({"layers": [2, 0]}, r"hidden states \[2, 0\]; a meter sees them in increasing order"),
        ({"mask": torch.ones(2, 7)}, r"mask is \[2, 7\] of torch.float32; expected bool"),
        ({"mask": torch.ones(2, 7).bool(), "pairs": [[0, 9]]}, "position 9"),
        ({"pairs": [[1, 2, 3]]}, r"pairs has shape \[1, 3\]; expected"),
        ({"pairs": [[1.5, 2]]}, "pairs has dtype float64"),
        ({"lags": 5}, "lags is 5; it is the largest lag, 1 … 4"),
        ({"backend": "fats"}, "backend 'fats' is unknown; choose one of auto"),
    ],
)
def test_refusals(model: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, BackendError), match=message) as error:
        AngleMeter(model, **given)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_the_tokens_is_named_in_the_pass(model: Any) -> None:
    with pytest.raises(
        ShapeError, match=r"mask has shape \[1, 7\], but the model ran \[batch pos\] \[2, 7\]"
    ):
        run(model, AngleMeter(model, mask=torch.ones(1, 7).bool()))
    with pytest.raises(ShapeError, match="position 9"):
        run(model, AngleMeter(model, pairs=[[0, 9]]))
    with pytest.raises(InputError, match="expected a TransformerLens model"):
        AngleMeter(torch.nn.Linear(2, 2))
