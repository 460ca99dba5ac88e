"""What the command of a decomposition study refuses. Nothing heavy is imported."""

from typing import TYPE_CHECKING, cast

from laminar_lens.errors import InputError
from laminar_lens.studies.command import Asked, Command, Known

if TYPE_CHECKING:
    from laminar_lens.studies.decomposition.study import Decomposition


class DecompositionCommand(Command):
    """Steps that nothing writes are refused, and so are a body that texts do not have and heads that do not
    add up."""

    def check(self, asked: Asked) -> None:
        """Refuses the embedding alone, and heads in another geometry than raw."""
        if asked.options.get("layers") == (0,):
            raise InputError("--layers 0 is written by no block; give others, for example 1-3")
        geometry = asked.options.get("geometry") or "raw"
        if cast("Decomposition", asked.study).heads and geometry != "raw":
            raise InputError(
                f"--heads and --geometry {geometry} exclude each other: heads add up in raw alone"
            )

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses a body of fewer than two tokens."""
        begins = cast("Decomposition", asked.study).body_from
        bos = int(bool(asked.options.get("prepend_bos")))
        if known.length is not None and begins > known.length + bos - 2:
            raise InputError(
                f"--body-from {begins} leaves no two tokens in texts of {known.length + bos}; give less, "
                "or a greater --length"
            )
