"""An intervention of a user's own: a function at any hook points of the model."""

import difflib
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from laminar_lens.arguments import checked, shown, text, texts
from laminar_lens.errors import CaptureError, InputError, a_kind
from laminar_lens.models.edits import Edit, Intervention, Span
from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import describe_name
from laminar_lens.registered import qualified_name


@dataclass(frozen=True)
class _Custom(Intervention):
    name = "custom"
    does = "a function of the user's at hook points; its name is recorded, the function itself is not"
    called: str
    hooks: tuple[str, ...]
    function: Any = field(repr=False)

    @property
    def label(self) -> str:
        where = self.hooks[0] if len(self.hooks) == 1 else f"{self.hooks[0]}, … ({len(self.hooks)} hooks)"
        return f"custom({self.called!r}, {where})"

    def describe(self, model: HookedModel | None = None) -> dict[str, Any]:
        return {**super().describe(model), "function": qualified_name(self.function)}

    def check(self, model: HookedModel, length: int) -> None:
        known = model.hook_dict
        for hook in self.hooks:
            if hook not in known:
                near = difflib.get_close_matches(hook, known, n=1)
                guess = f"did you mean {near[0]!r}?" if near else "model.hook_dict has their names"
                raise InputError(f"{self.label}: {describe_name(model)} has no hook point {hook!r}; {guess}")
        for edit in self.edits(model):
            if edit.layer > int(model.cfg.n_layers):
                raise InputError(
                    f"{self.label}: {edit.hook!r} comes after the last hidden state, so that nothing "
                    "measured would change; choose one before"
                )

    def edits(self, model: HookedModel) -> list[Edit]:
        family, n_layers = family_of(model.cfg), int(model.cfg.n_layers)
        return [
            Edit(hook, family.begins(hook, n_layers), self._call, axis=family.axis(hook))
            for hook in self.hooks
        ]

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        if self == other:
            return "it is the same intervention twice"
        if other.tokens_before(model):
            return "a function at a hook counts positions from the first token of the run"
        return ""

    def _call(self, value: Tensor, span: Span) -> Tensor:
        """A function may change the value in place, or return another; a copy is what it gets."""
        given = value.clone()
        found = self.function(given, span.hook)
        found = given if found is None else found
        if not isinstance(found, Tensor) or found.shape != value.shape:
            what = list(found.shape) if isinstance(found, Tensor) else a_kind(found)
            raise CaptureError(
                f"{self.label}: its function returned {what} where {list(value.shape)} passes; return the "
                "same shape, or None for what it changed in place"
            )
        return found.to(value)


@checked(name=None)
def custom(name: object, hook_point: object, function: object) -> Intervention:
    """A function of your own at hook points of the model, labelled and recorded as the other interventions.

    >>> custom("damp", "blocks.1.hook_mlp_out", lambda value, hook: value / 2).label
    "custom('damp', blocks.1.hook_mlp_out)"

    Args:
        name: what the label and the provenance call it. The function itself is not recorded: only its name.
        hook_point: one name of `model.hook_dict`, or several.
        function: called as `function(value, hook)` as by TransformerLens, with a copy of what passes there,
            [batch pos …] or attention [batch head query key]; returns what is to go on, or None if it
            changed its copy.

    Raises:
        InputError: no name, no hook point, or nothing that can be called. Where it is used: a hook point that
            the model lacks, or that comes after everything measured; tokens before the text, by `prefix` or
            `bos`.
        CaptureError: while it runs, the hook does not fire, or the function returns another shape.
    """
    called, hooks = text("name", name), texts("hook_point", hook_point)
    if not called.strip() or not hooks:
        what = "name" if not called.strip() else "hook_point"
        raise InputError(f"{what} is {shown(name if what == 'name' else hook_point)}; give at least one")
    if not callable(function):
        raise InputError(f"function is {shown(function)}; expected a function (value, hook)")
    return _Custom(called, tuple(dict.fromkeys(hooks)), function)
