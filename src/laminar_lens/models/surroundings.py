"""What else acts on a model's runs: hooks that somebody left on it, autocast, and other global settings.

They change numbers and are no part of the model. They are left as they are, named in the provenance, and
warned about.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.modules import module as torch_module

from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import describe

OWN = ("transformers.", "transformer_lens.", "torch.", "accelerate.", "laminar_lens.models.forward")
"""Modules whose hooks belong to a model, or read what we ask them to read and change nothing."""


def foreign_hooks(model: HookedModel) -> list[str]:
    """Forward hooks and pre-hooks on a model that neither belong to it nor are ours: "place (function)".

    Both generations attach hooks of their own; they are known by the package that they were defined in.
    """
    found = []
    for place, hook in _hooks(model):
        function = _function(hook)
        if not str(getattr(function, "__module__", None) or "").startswith(OWN):
            name = getattr(function, "__qualname__", type(function).__name__)
            found.append(f"{place} ({name.replace('.<locals>', '')})")
    return list(dict.fromkeys(found))


def described_model(model: HookedModel) -> dict[str, Any]:
    """What is known of a model, and what acts on its runs, JSON-safe; all its weights are read."""
    return {**describe(model).as_dict(), **surroundings(model)}


def surroundings(model: HookedModel) -> dict[str, Any]:
    """What acts on the runs of a model from outside, JSON-safe; empty where nothing does."""
    found: dict[str, Any] = {}
    if hooks := foreign_hooks(model):
        found["foreign_hooks"] = hooks
    kind = torch.device(getattr(model.cfg, "device", None) or "cpu").type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        found["autocast"] = str(torch.get_autocast_dtype(kind)).removeprefix("torch.")
    if (precision := torch.get_float32_matmul_precision()) != "highest":
        found["float32_matmul_precision"] = precision
    if (default := torch.get_default_dtype()) != torch.float32:
        found["default_dtype"] = str(default).removeprefix("torch.")
    return found


def surrounding_notes(model: HookedModel) -> list[str]:
    """What a reader must know of them before trusting a number; one sentence each."""
    found, notes = surroundings(model), []
    if hooks := found.get("foreign_hooks"):
        notes.append(
            f"Hooks that were left on the model act on every run: {_listed(hooks)}. The numbers are those of "
            "the model with them; model.reset_hooks(including_permanent=True), or the handle's remove(), "
            "takes them off."
        )
    if kind := found.get("autocast"):
        notes.append(
            f"torch.autocast is on: the model computes in {kind}, whatever its weights are. Leave the "
            "context to measure the model itself."
        )
    if precision := found.get("float32_matmul_precision"):
        notes.append(
            f"torch's float32 matrix products are set to {precision!r} precision: angles are less exact than "
            "float32 gives; torch.set_float32_matmul_precision('highest') is the default."
        )
    if default := found.get("default_dtype"):
        notes.append(
            f"torch's default dtype is {default}: what the model makes anew in a run may have it, "
            "instead of its weights' own."
        )
    return notes


def blame(model: HookedModel) -> str:
    """What outside the model may be why it does not behave as it should, to go on with a message."""
    found = surroundings(model)
    causes = [f"hooks act on it: {_listed(found['foreign_hooks'])}"] if "foreign_hooks" in found else []
    causes += [f"autocast to {found['autocast']} is on"] if "autocast" in found else []
    return " and ".join(causes)


def _listed(hooks: list[str]) -> str:
    return ", ".join(hooks[:4]) + (f" and {len(hooks) - 4} more" if len(hooks) > 4 else "")


def _hooks(model: HookedModel) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every forward hook and pre-hook with its place; of a hook point, what its user gave it."""
    seen: set[int] = set()
    for root, prefix in ((model, ""), (getattr(model, "original_model", None), "original_model.")):
        for name, part in root.named_modules() if isinstance(root, torch.nn.Module) else ():
            if id(part) in seen:
                continue
            seen.add(id(part))
            place = f"{prefix}{name}" if name else prefix.rstrip(".") or "model"
            theirs = getattr(part, "fwd_hooks", ())
            yield from ((place, handle.user_hook) for handle in theirs if handle.user_hook is not None)
            wrapped = {getattr(handle.hook, "id", None) for handle in theirs}
            for hooks in (part._forward_hooks, part._forward_pre_hooks):
                yield from ((place, hook) for key, hook in hooks.items() if key not in wrapped)
    for hooks in (torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks):
        yield from (("every torch module", hook) for hook in hooks.values())


def _function(hook: object) -> Any:
    """What was written, where a hook is a partial call, a bound method or a wrapper of it."""
    while True:
        inner = hook.func if isinstance(hook, functools.partial) else getattr(hook, "__wrapped__", None)
        if inner is None:
            return hook
        hook = inner
