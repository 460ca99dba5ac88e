"""What a model must show so that its steps can be decomposed."""

from collections.abc import Sequence

from laminar_lens.errors import ModelError
from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.steps import TERMS, has_hooks


def architecture(model: HookedModel) -> str:
    """What a model's configuration calls its architecture."""
    names = (getattr(model.cfg, name, None) for name in ("architecture", "original_architecture"))
    return str(next((name for name in names if name), "this model"))


def check_hooks(model: HookedModel, layers: Sequence[int], *, heads: bool) -> None:
    """Refuses a model without the hook points of a step, or of its heads.

    Raises:
        ModelError: names the architecture and the hook point.
    """
    blocks = [layer - 1 for layer in layers if layer > 0]
    for part in (*TERMS, *(["z"] if heads else [])):
        if not has_hooks(model, part, blocks):
            family = family_of(model.cfg)
            lacking = next(b for b in blocks if family.hook(part, b) not in model.hook_dict)
            what = "its heads cannot be told apart" if part == "z" else "its steps cannot be decomposed"
            raise ModelError(
                f"{architecture(model)} has no hook point {family.hook(part, lacking)!r}: {what}"
            )
