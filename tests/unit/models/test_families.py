"""A family is one entry: capture, interventions, sinks and the command line's early refusals read it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.models import families
from laminar_lens.models.context import config_context
from laminar_lens.models.families import TRANSFORMER, Family, family_of

SRC = Path(ll.__file__).parent
TOKENS = torch.randint(0, 300, (12, 24), generator=torch.Generator().manual_seed(0))


def test_no_hook_point_is_named_elsewhere() -> None:
    """Docstrings may; where the name of one is used, it comes from here."""
    for path in SRC.rglob("*.py"):
        if path.name in ("families.py", "own.py"):
            continue
        for line in path.read_text().splitlines():
            assert not any(
                f"hook_{part}" in line for part in ("resid", "attn_", "mlp_", "pos_embed", "pattern")
            ), f"{path}: {line}"


def test_the_names_of_transformer_lens() -> None:
    assert [TRANSFORMER.state(layer) for layer in (0, 1, 3)] == [
        "blocks.0.hook_resid_pre",
        "blocks.0.hook_resid_post",
        "blocks.2.hook_resid_post",
    ]
    assert TRANSFORMER.cached(1, 2) == [
        *("blocks.0.hook_resid_post", "blocks.0.hook_out", "blocks.1.hook_resid_pre", "blocks.1.hook_in")
    ]
    assert TRANSFORMER.cached(2, 2) == ["blocks.1.hook_resid_post", "blocks.1.hook_out"]


@pytest.mark.parametrize(
    ("hook", "begins", "axis"),
    [
        ("hook_embed", 0, 1),
        ("hook_pos_embed", 0, 1),
        ("blocks.0.hook_resid_pre", 0, 1),
        ("blocks.0.hook_in", 0, 1),
        ("blocks.1.hook_resid_pre", 2, 1),
        ("blocks.11.attn.hook_attn_scores", 12, -1),
        ("blocks.0.attn.hook_pattern", 1, -1),
        ("ln_final.hook_scale", 13, 1),
        ("unembed.hook_out", 13, 1),
    ],
)
def test_when_a_hook_begins_to_act(hook: str, begins: int, axis: int) -> None:
    assert TRANSFORMER.begins(hook, 12) == begins
    assert TRANSFORMER.axis(hook) == axis


def test_another_family_is_one_entry(tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = {**TRANSFORMER.hooks, "mlp": "blocks.{block}.hook_nothing", "scores": "blocks.{block}.nowhere"}
    other = Family("others", ("GPT2LMHeadModel",), hooks, context_keys=("longest",), positions="hook_places")
    model = ll.load_model(str(tiny_gpt2))
    monkeypatch.setattr(families, "FAMILIES", (other,))
    said = getattr(model.cfg, "architecture", None) or getattr(model.cfg, "original_architecture", None)
    assert said in (None, "GPT2LMHeadModel")
    monkeypatch.setattr(model.cfg, "original_architecture", "GPT2LMHeadModel", raising=False)
    assert family_of(model.cfg) is other
    for change, hook in (
        (ll.remove_write("mlp", 1), "blocks.1.hook_nothing"),
        (ll.cut(3), "blocks.0.nowhere"),
        (ll.restart(3), "hook_places"),
    ):
        with pytest.raises(InputError, match=f"needs the hook point '{hook}'"):
            ll.capture_residuals(model, TOKENS, interventions=change)
    result = ll.sink_study(model, TOKENS)
    assert any("The model has no hook blocks.0.hook_nothing that fires" in note for note in result.warnings)
    config: Any = {"architectures": ["GPT2LMHeadModel"], "longest": 7, "n_positions": 5}
    assert config_context(config) == 7
    assert config_context({**config, "architectures": ["Else"]}) == 5


def test_states_are_captured_by_the_names_of_the_family(
    tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ll.load_model(str(tiny_gpt2))
    other = replace(TRANSFORMER, hooks={**TRANSFORMER.hooks, "after": "blocks.{block}.hook_mlp_out"})
    monkeypatch.setattr(families, "TRANSFORMER", other)
    _, cache = model.run_with_cache(TOKENS, return_type=None)
    found = ll.capture_residuals(model, TOKENS, layers=[0, 2]).values
    torch.testing.assert_close(found[1], cache["blocks.1.hook_mlp_out"])
    cached = ll.residuals_from_cache(cache, model.cfg, layers=[2])
    torch.testing.assert_close(cached[0], cache["blocks.1.hook_mlp_out"])


@pytest.mark.parametrize(
    "config", [{}, {"architectures": 3}, {"architectures": None}, SimpleNamespace(), None]
)
def test_what_says_nothing_has_the_usual_names(config: Any) -> None:
    assert family_of(config) is TRANSFORMER
