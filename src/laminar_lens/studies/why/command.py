"""What the command of a why-study reads and refuses. Nothing heavy is imported."""

from typing import TYPE_CHECKING, Any, cast

from laminar_lens.errors import InputError
from laminar_lens.models.selection import written_numbers
from laminar_lens.studies.command import Asked, Command, Known

if TYPE_CHECKING:
    from laminar_lens.studies.why.study import Why


def places(flag: str, text: str) -> tuple[int, ...] | None:
    """Positions in a text, written as layers are; None where none is given."""
    found = written_numbers(flag, text, "position", "no text is so long")
    if found and found[0] < 1:
        raise InputError(
            f"{flag} 0 leaves no context before the pair: begin at 1 or later, for example 42-62"
        )
    return found


class WhyCommand(Command):
    """Places that texts do not have are refused; at places of their own, texts are measured in part."""

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses a place that texts of this length do not have."""
        at: Any = cast("Why", asked.study).at  # as `places` reads it
        length = known.length
        if length is not None and at is not None and at[-1] > length - 2:
            raise InputError(
                f"--at {at[-1]} is out of range: texts of {length} tokens have pairs 0 to {length - 2}; "
                "give less, or a greater --length"
            )

    def is_whole(self, asked: Asked) -> bool:
        """Whether every reference pair is a place."""
        return cast("Why", asked.study).at is None
