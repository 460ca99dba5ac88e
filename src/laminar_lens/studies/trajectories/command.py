"""What the command of a trajectory study refuses. Nothing heavy is imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from laminar_lens.studies.command import Asked, Known
from laminar_lens.studies.target import TargetCommand

if TYPE_CHECKING:
    from laminar_lens.studies.trajectories.study import Trajectories


class TrajectoryCommand(TargetCommand):
    """Prompts in groups are refused where one has too few, or one of them lacks the word of its group."""

    def check(self, asked: Asked) -> None:
        """Refuses a target that cannot be looked for, and groups that are none."""
        super().check(asked)
        if isinstance(asked.texts, Mapping):
            from laminar_lens.studies.trajectories.prompts import checked_groups

            checked_groups(asked.texts, cast("Trajectories", asked.study))

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses prompts that lack the target, or the word of their group."""
        if not isinstance(asked.texts, Mapping):
            super().fits(asked, known)
        elif known.rows is not None:
            from laminar_lens.studies.trajectories.prompts import own_groups

            bos = int(asked.options.get("prepend_bos", False))
            own_groups(known.tokenizer, asked.texts, cast("Trajectories", asked.study), bos=bos)
