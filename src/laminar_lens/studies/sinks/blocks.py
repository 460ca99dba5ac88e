"""What is said where blocks do not let attention patterns or writes be seen."""

from collections.abc import Sequence, Set

from laminar_lens.models.families import family_of
from laminar_lens.models.hooked import HookedModel

ATTENTION = "pattern"


def silent(model: HookedModel, kind: str, blocks: Sequence[int], fired: Set[tuple[str, int]]) -> str:
    """What to say where that hook point fired in some of the blocks only; empty where in all of them."""
    missing = [block for block in blocks if (kind, block) not in fired]
    if not missing:
        return ""
    what = "attention is not measured" if kind == ATTENTION else "steps are not decomposed into their writes"
    return f"The model has no hook {family_of(model.cfg).hook(kind, missing[0])} that fires: {what}."
