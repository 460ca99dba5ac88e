"""What the command of a warm-up study reads, refuses and adds. Nothing heavy is imported."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.command import Asked, Command, Known
from laminar_lens.studies.fields import Option, named, switch

if TYPE_CHECKING:
    from laminar_lens.studies.warmup.study import Warmup

WINDOWS = ("last third", "last half", "last quarter")


def window(flag: str, text: str) -> str | tuple[int, int] | None:
    """`"42-62"`, both ends included, as the half-open (42, 63); "last-half" by name; empty, None."""
    if not text:
        return None
    name = text.strip().lower().replace("-", " ")
    if name in WINDOWS:
        return name
    match = re.fullmatch(r" *([0-9]{1,6}) *- *([0-9]{1,6}) *", text)
    if match is None or int(match[2]) < int(match[1]):
        raise InputError(
            f"{flag} {text!r} is no window of pairs: write first-last, for example 42-62, or one of "
            f"{', '.join(WINDOWS)}"
        )
    return int(match[1]), int(match[2]) + 1


class WithGrid(Command):
    """The command of a study with a sensitivity grid beside it."""

    own: ClassVar[Mapping[str, Option]] = named(
        {"grid": switch("Also the sensitivity grid: BOS × final norm × tolerance × reference window.")}
    )

    def choices(self, asked: Asked) -> dict[str, Any]:
        """Arguments of `sensitivity_grid` that are the study's; `tau` is among its tolerances."""
        raise NotImplementedError

    def grid(self, model: HookedModel, asked: Asked, progress: Progress) -> Any:
        """The grid, by `sensitivity_grid`."""
        if not asked.own.get("grid"):
            return None
        from laminar_lens.studies.warmup.grid import TOLERANCES, sensitivity_grid

        names = ("n_texts", "layers", "backend", "seed", "geometry", "length")
        chosen = {name: asked.options[name] for name in names if name in asked.options}
        chosen |= self.choices(asked)
        chosen["tau"] = sorted({*TOLERANCES, chosen["tau"]})
        return sensitivity_grid(model, **chosen, progress=progress)


class WarmupCommand(WithGrid):
    """With a grid; a reference that texts do not have is refused."""

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses a reference that leaves no pair before it, or goes beyond the texts."""
        reference = _study(asked).reference
        if not isinstance(reference, tuple):
            return
        first, stop = reference
        given = f"--reference {first}-{stop - 1}"
        if first < 1:
            raise InputError(f"{given} leaves no pair to test: begin at 1 or later, for example 42-62")
        length, bos = known.length, int(asked.options.get("prepend_bos", False))
        if length is not None and stop > (pairs := length + bos - 1):
            raise InputError(
                f"{given} is out of range: texts of {length} tokens have pairs 0 to {pairs - 1}; end there "
                "or earlier, or give a greater --length"
            )

    def choices(self, asked: Asked) -> dict[str, Any]:
        """A tolerance or reference that was asked for is among those of the grid."""
        study = _study(asked)
        chosen = {"texts": asked.texts, "tau": study.tau}
        if study.reference not in (None, *WINDOWS):
            chosen["reference"] = (*WINDOWS, study.reference)
        return chosen


def _study(asked: Asked) -> "Warmup":
    return cast("Warmup", asked.study)
