"""What the command of a sequential study reads, refuses and adds: its warm-up part is measured on as many
texts, and with such a tolerance, as were asked for. Nothing heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from laminar_lens.errors import InputError
from laminar_lens.studies.command import Asked, Known
from laminar_lens.studies.fields import Option, choice, declared
from laminar_lens.studies.options import counted
from laminar_lens.studies.target import check_found, check_sought
from laminar_lens.studies.warmup.command import WithGrid
from laminar_lens.studies.warmup.study import Warmup

if TYPE_CHECKING:
    from laminar_lens.studies.sequential.study import Sequential


def baseline(flag: str, name: str) -> str:
    """The name of a baseline."""
    from laminar_lens.pairs import BASELINES

    return choice(flag, name, BASELINES)


def part(flag: str, wanted: bool) -> bool | None:
    """A warm-up as the study takes it: none, or one of its own."""
    return None if wanted else False


def texts_outside(flag: str, name: str) -> str | tuple[str, ...]:
    """Donors as the study takes them: by name, or the texts of a file."""
    from laminar_lens.texts.files import read_texts
    from laminar_lens.texts.passages import NAMED

    return name if name in NAMED else read_texts(name, f"{flag} file").texts


@dataclass(frozen=True)
class Part:
    """How the warm-up part is run.

    Attributes:
        study: with its tolerance.
        n_texts: as in every study.
    """

    study: Warmup = field(default_factory=Warmup)
    n_texts: int | None = None


class SequentialCommand(WithGrid):
    """With a grid, and the options of the warm-up part."""

    own: ClassVar[Mapping[str, Option]] = {
        "tau": declared(Warmup)["tau"],
        "n_texts": counted(Warmup.n_texts),
        **WithGrid.own,
    }

    def check(self, asked: Asked) -> None:
        """Refuses a target that cannot be looked for, and a grid of a baseline that it does not have."""
        study = _study(asked)
        check_sought(study)
        if asked.own.get("grid") and study.baseline == "matched":
            raise InputError(
                "--grid has no donor texts for --baseline matched: choose another baseline, or leave out "
                "--grid"
            )

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses a target that is absent, is a text's first token, or that the skip leaves no pair of, and
        prompts that mostly repeat each other."""
        check_found(asked, known, skip=_study(asked).skip)

    def study(self, asked: Asked) -> "Sequential":
        """The study; its warm-up part, unless it is left out, as it is asked for."""
        study, own = _study(asked), asked.own
        if study.warmup is False:
            return study
        return replace(study, warmup=Part(Warmup(own["tau"]), own.get("n_texts")))

    def choices(self, asked: Asked) -> dict[str, Any]:
        """The prompts with the study's choices; of `own`, how the warm-up is answered."""
        study = _study(asked)
        names = ("target", "occurrence", "regex", "baseline", "skip")
        own = {name: value for name, value in asked.own.items() if name != "grid"}
        return {"prompts": asked.texts, **own, **{name: getattr(study, name) for name in names}}


def _study(asked: Asked) -> "Sequential":
    return cast("Sequential", asked.study)
