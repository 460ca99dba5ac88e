"""What a study's command does beside reading options and running the study. Nothing heavy is imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, ClassVar

from laminar_lens.axes import Progress
from laminar_lens.models.hooked import HookedModel
from laminar_lens.studies.fields import Option
from laminar_lens.studies.study import Study


@dataclass(frozen=True)
class Asked:
    """What a command line asks of a study.

    Attributes:
        study: with the values of its own fields.
        texts: as `laminar_lens.studies.drive.run` takes them.
        options: those of `Options` that were given, or whose default a command has.
        own: values of what the command has beside both.
    """

    study: Study
    texts: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What a model's folder tells before the model is loaded; None where it does not.

    Attributes:
        length: tokens of a text.
        tokenizer, rows: of prompts, their tokens.
    """

    length: int | None = None
    tokenizer: Any = None
    rows: Sequence[Sequence[int]] | None = None


class Command:
    """The command of a study that needs no more than its fields.

    Attributes:
        own: options that are neither fields of the study nor shared.
    """

    own: ClassVar[Mapping[str, Option]] = {}

    def check(self, asked: Asked) -> None:
        """Refuses what cannot work with any model."""

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses what does not fit this model, as far as its folder tells."""

    def is_whole(self, asked: Asked) -> bool:
        """Whether texts are measured as a whole, so that those that repeat each other are refused."""
        return True

    def study(self, asked: Asked) -> Study:
        """The study as it is measured."""
        return asked.study

    def grid(self, model: HookedModel, asked: Asked, progress: Progress) -> Any:
        """The sensitivity grid where one was asked for."""
        return None


def command_of(study: type[Study]) -> Command:
    """What the command of a study does."""
    module, name = study.command.split(":")
    found: Command = getattr(import_module(module), name)()
    return found
