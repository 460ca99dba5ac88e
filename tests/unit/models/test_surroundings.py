"""What acts on a model's runs from outside: named, warned about, blamed, and never on a clean model."""

import functools
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import CaptureError
from laminar_lens.models.surroundings import foreign_hooks, surroundings

TEXT = "He gave her the book."
FEW: dict[str, Any] = {"n_texts": 4, "length": 8}


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_llama", "tiny_neox"])
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.fixture(scope="module", params=[None, True], ids=["default", "bridge"])
def model(folder: Path, request: pytest.FixtureRequest) -> Any:
    return ll.load_model(folder, bridge=request.param)


@pytest.fixture(scope="module")
def gpt2(tiny_gpt2: Path) -> Any:
    return ll.load_model(tiny_gpt2)


def longer(value: torch.Tensor, hook: Any = None) -> torch.Tensor:
    return value * 1.5


def look(module: Any, given: Any, *result: Any) -> None:
    """A torch hook and pre-hook that changes nothing: whether one does cannot be told from outside."""


def test_a_clean_model_has_none_before_and_after_our_own_runs(model: Any):
    assert surroundings(model) == {}
    ll.capture_residuals(
        model, TEXT, interventions=[ll.cut(2), ll.remove_write("mlp", 1)] if _adds(model) else None
    )
    ll.sink_study(model, random_init=False, **FEW)
    with ll.AngleMeter(model):
        assert surroundings(model) == {}
    model.run_with_cache(TEXT, return_type=None)
    assert surroundings(model) == {}


def test_every_kind_of_hook_is_named(model: Any):
    part, where = next((part, name) for name, part in model.named_modules() if "ln" in name or "norm" in name)
    model.add_hook("blocks.1.hook_resid_post", longer)
    handles = [part.register_forward_hook(functools.partial(look)), part.register_forward_pre_hook(look)]
    handles.append(torch.nn.modules.module.register_module_forward_hook(look))
    try:
        found = foreign_hooks(model)
    finally:
        model.reset_hooks()
        for handle in handles:
            handle.remove()
    assert found == [f"{where} (look)", found[1], "every torch module (look)"]
    assert found[1].startswith("blocks.1.hook_")
    assert found[1].endswith("(longer)")
    assert foreign_hooks(model) == []


def test_of_a_bridge_hooks_on_the_original_are_named_too(tiny_gpt2: Path):
    model = ll.load_model(tiny_gpt2, bridge=True)
    handle = model.original_model.register_forward_pre_hook(look)
    assert foreign_hooks(model) == ["original_model (look)"]
    handle.remove()


@pytest.mark.parametrize(
    "study",
    [
        *(
            "warmup",
            "why",
            "sinks",
            "dimensions",
            "rotation",
            "paths",
            "trajectories",
            "speech",
            "sequential",
        ),
        "angles",
    ],
)
def test_studies_name_them_and_warn_and_a_clean_model_gets_neither(gpt2: Any, study: str):
    prompts = ["They praised her for it.", "We admired her courage.", "Nobody told her the truth."]
    runs: dict[str, Any] = {
        "warmup": lambda: ll.warmup_study(gpt2, random_init=False, **FEW),
        "why": lambda: ll.why_study(gpt2, random_init=False, **FEW),
        "sinks": lambda: ll.sink_study(gpt2, random_init=False, **FEW),
        "dimensions": lambda: ll.dimension_study(gpt2, **FEW),
        "paths": lambda: ll.path_study(gpt2, n_perm=9, **FEW),
        "speech": lambda: ll.speech_study(gpt2, n_texts=2, n_perm=9),
        "trajectories": lambda: ll.trajectory_study(gpt2, prompts),
        "rotation": lambda: ll.rotation_study(gpt2, prompts, random_init=False, n_perm=9),
        "sequential": lambda: ll.sequential_study(
            gpt2, prompts, warmup=False, random_init=False, n_donors=4, n_draws=2, n_perm=9
        ),
        "angles": lambda: ll.StudyResult(ll.angle_table(gpt2, prompts)),
    }
    clean = runs[study]()
    assert "foreign_hooks" not in clean.provenance["model"]
    assert not any("ooks" in warning for warning in clean.warnings)
    with gpt2.hooks(fwd_hooks=[("blocks.1.hook_resid_post", look_at_state)]):
        hooked = runs[study]()
    (name,) = hooked.provenance["model"]["foreign_hooks"]
    assert name.startswith("blocks.1.hook_")
    assert any(name in warning for warning in hooked.warnings)
    assert hooked.numbers_sha256 == clean.numbers_sha256  # the hook changes nothing, and neither do we


def look_at_state(value: torch.Tensor, hook: Any) -> None:
    """Reads, and leaves the value."""


def test_captures_warn_once_and_keep_the_numbers_of_the_model_with_its_hooks(gpt2: Any):
    plain = ll.capture_residuals(gpt2, TEXT, layers=[1, 2]).values
    with (
        gpt2.hooks(fwd_hooks=[("blocks.0.hook_resid_post", longer)]),
        pytest.warns(
            UserWarning, match=r"left on the model act on every run: blocks.0.hook_.* \(longer\)"
        ) as said,
    ):
        states = ll.capture_residuals(gpt2, TEXT, layers=[1, 2])
    assert len(said) == 1
    assert torch.equal(states.values[0], plain[0] * 1.5)
    assert not torch.equal(states.values[1], plain[1])
    assert len(states.info["foreign_hooks"]) == 1


def test_autocast_and_other_settings_are_named(gpt2: Any):
    plain = ll.capture_residuals(gpt2, TEXT).values
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.warns(UserWarning, match=r"autocast is on: .* bfloat16"),
    ):
        states = ll.capture_residuals(gpt2, TEXT)
    assert states.info["autocast"] == "bfloat16"
    assert not torch.equal(states.values.float(), plain)
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        assert surroundings(gpt2) == {}
    precision, kind = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    try:
        torch.set_float32_matmul_precision("high")
        torch.set_default_dtype(torch.float64)
        assert surroundings(gpt2) == {"float32_matmul_precision": "high", "default_dtype": "float64"}
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(kind)


def test_masks_and_the_grid_say_so_too(gpt2: Any):
    from laminar_lens.studies.mask_files import token_masks

    with gpt2.hooks(fwd_hooks=[("blocks.1.hook_resid_post", look_at_state)]):
        masks = token_masks(gpt2, [TEXT], skip=1)
        with pytest.warns(UserWarning, match="left on the model"):
            ll.sensitivity_grid(
                gpt2, bos=[False], final_norm=[False], tau=[0.05], reference=["last half"], **FEW
            )
    assert any("left on the model" in note for note in masks.notes)
    assert len(masks.settings["model"]["foreign_hooks"]) == 1


def test_why_blames_a_hook_instead_of_the_model(gpt2: Any):
    def by_place(value: torch.Tensor, hook: Any) -> torch.Tensor:
        return value * (
            1 + torch.arange(value.shape[1])[None, :, None] % 3 * torch.linspace(0, 1, value.shape[2])
        )

    with (
        gpt2.hooks(fwd_hooks=[("blocks.1.hook_resid_post", by_place)]),
        pytest.raises(
            CaptureError, match=r"hooks act on it: blocks.1.hook_.*by_place.*take that away"
        ) as error,
    ):
        ll.why_study(gpt2, random_init=False, **FEW)
    assert "this model's attention or positions" not in str(error.value)


def test_the_provenance_is_json(gpt2: Any):
    with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        info = ll.capture_residuals(gpt2, TEXT).info
    assert json.loads(json.dumps(info)) == info


def _adds(model: Any) -> bool:
    """Whether attention and MLP are added to the stream one by one, which `remove_write` checks."""
    return not bool(getattr(model.cfg, "parallel_attn_mlp", False))
