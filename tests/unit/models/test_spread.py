"""Models that are spread over devices, or that run elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens as ll
import laminar_lens.models.load as load
from laminar_lens.errors import InputError
from laminar_lens.geometry import fit_geometry
from tests.split import SECOND, spread, two_devices

HAS_HOOKED = load._hooked_transformer(None) is not None
TOKENS = torch.randint(0, 300, (4, 16), generator=torch.Generator().manual_seed(3))


def close(found: Any, wanted: Any) -> None:
    found, wanted = (torch.as_tensor(one).cpu() for one in (found, wanted))
    torch.testing.assert_close(found, wanted, equal_nan=True, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "bridge"), [("tiny_gpt2", None), ("tiny_llama", True)])
def test_a_spread_model_is_measured_where_its_layers_are(
    kind: str, bridge: Any, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    whole, model = (ll.load_model(folder, bridge=bridge) for _ in range(2))
    about = ll.describe(whole)
    kinds = ("sequential", "rotation", "norm", "turning")

    def measured(one: Any) -> list[Any]:
        states = ll.capture_residuals(one, TOKENS, final_norm=True)
        meter = ll.AngleMeter(one, measures=kinds)
        with torch.no_grad():
            one.run_with_hooks(TOKENS, return_type=None, fwd_hooks=meter.hooks())
        sinks = ll.sink_study(one, TOKENS, random_init=False).dataset
        why = ll.why_study(one, TOKENS, random_init=False).dataset
        read = fit_geometry(one, "layernormed", texts=TOKENS)
        return [
            states.values,
            *(value.cpu() for value in meter.result().values()),
            *(sinks[name].values for name in ("norm", "attention_first", "write")),
            why["angle"].values,
            read.apply(2, states.values[2]),
            ll.sample_tokens(one, 3, 10),
        ]

    right = measured(whole)
    with spread(model, first=1):
        there = ll.describe(model)
        assert there.device == f"cpu, {SECOND}"
        assert there.weights_sha256 == about.weights_sha256
        for found, wanted in zip(measured(model), right, strict=True):
            close(found, wanted)


def test_the_second_device_of_these_tests_is_one() -> None:
    """What is on two devices does not go together, and what is on the second computes the same."""
    with two_devices():
        here, there = torch.arange(3.0), torch.arange(3.0).to(SECOND)
        assert there.device == SECOND
        assert torch.equal((there * 2).to("cpu"), here * 2)
        with pytest.raises(RuntimeError, match="same device"):
            here + there


def test_weights_that_are_not_in_memory_are_refused(tiny_gpt2: Path) -> None:
    model = ll.load_model(tiny_gpt2)
    model.blocks[1].to("meta")
    with pytest.raises(InputError, match=r"weight '.*\.1\..*' .* not in memory"):
        ll.capture_residuals(model, TOKENS)


class Elsewhere:
    """What a remote model of TransformerLens 4 asks; it answers with the numbers of one that is here."""

    tokenizer = None
    non_fireable_hook_points: frozenset[str] = frozenset()
    provides_sequence_logits = True

    def __init__(self, model: Any) -> None:
        self._model, self.bridge_config = model, model.cfg
        self.architecture = model.cfg.architecture
        blocks = range(model.cfg.n_layers)
        self.supported_hook_points = frozenset(
            f"blocks.{block}.hook_{end}" for block in blocks for end in ("in", "out")
        )

    def forward(self, input_ids: Any = None, *, capture: Any = (), **_: Any) -> Any:
        from transformer_lens.model_bridge.driver_protocol import ForwardResult

        cache = self._model.run_with_cache(input_ids)[1]
        return ForwardResult(captured={name: cache[name] for name in capture})

    def supports(self, feature: str) -> bool:
        return False

    def close(self) -> None:
        pass


@pytest.mark.skipif(HAS_HOOKED, reason="transformer-lens 3 has no remote model")
def test_a_remote_model_is_refused_and_its_cache_is_not(tiny_gpt2: Path) -> None:
    from transformer_lens.model_bridge import RemoteBridge

    model = ll.load_model(tiny_gpt2)
    driver = Elsewhere(model)
    remote = RemoteBridge(model.adapter, None, driver)
    model.cfg.device = "cpu"  # which the remote one's adapter shares, and has none of
    for measure in (ll.capture_residuals, ll.warmup_study, ll.AngleMeter, ll.describe, ll.random_twin):
        with pytest.raises(
            InputError, match=r"a RemoteBridge, which runs elsewhere.*residuals_from_cache"
        ) as error:
            measure(*(remote, TOKENS) if measure in (ll.capture_residuals, ll.warmup_study) else (remote,))
        assert "\n" not in str(error.value)
    cache = driver.forward(TOKENS, capture=sorted(driver.supported_hook_points)).captured
    states = ll.residuals_from_cache(cache, remote.cfg)
    close(states, ll.capture_residuals(model, TOKENS).values)
