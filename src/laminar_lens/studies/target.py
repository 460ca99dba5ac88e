"""A study of a target token in prompts: its options, its texts, and what its command refuses.

Nothing heavy is imported.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.axes import Prompts
from laminar_lens.errors import InputError
from laminar_lens.prompts import OCCURRENCES, check_target, find_targets, her_prompts
from laminar_lens.studies.command import Asked, Command, Known
from laminar_lens.studies.fields import TEXT, listed, one_of, option
from laminar_lens.studies.study import Study

if TYPE_CHECKING:
    from laminar_lens.studies.run import Run
    from laminar_lens.studies.target_prompts import TargetPrompts

WHOLE_PROMPTS: Mapping[str, str] = {
    "n_texts": "all prompts are measured",
    "length": "prompts are measured as long as they are",
    "document_starts": "a prompt is one document",
    "groups": "each prompt is one observation",
}
"""Options of texts that prompts do not have."""
SOUGHT = ("target", "occurrence", "regex")
"""Fields that decide where a target stands."""


@dataclass(frozen=True)
class AtTarget(Study):
    """A study of prompts, each with a target."""

    without: ClassVar[Mapping[str, str]] = WHOLE_PROMPTS
    remeasured: ClassVar[tuple[str, ...]] = SOUGHT

    target: Any = option(" her", "The token whose turn is measured.", "TEXT", panel=TEXT)
    occurrence: Any = option(
        "error",
        f"A target that occurs more than once: {listed(OCCURRENCES)}.",
        "CHOICE",
        one_of(*OCCURRENCES),
        panel=TEXT,
    )
    regex: bool = option(False, "--target is a regular expression.", panel=TEXT, negated=False)

    def texts(self, run: "Run", given: Prompts) -> "TargetPrompts":
        """The prompts that are observations, each with its target's place."""
        plan = self.plan(run, her_prompts() if given is None else given)
        if len(plan.prompts) < 2:
            raise InputError(
                "prompts holds one prompt, but each is one observation: give at least 2, better 50"
            )
        alarms = [note for note in plan.notes if note in plan.checked.alarms]
        run.notes[:0] = alarms
        run.notes.extend(note for note in plan.notes if note not in alarms)
        return plan

    def plan(self, run: "Run", given: Prompts) -> "TargetPrompts":
        """Where each prompt's target stands, and what else the study settles before it is measured."""
        from laminar_lens.prompts import check_prompts
        from laminar_lens.studies.target_prompts import target_prompts

        tokenizer, bos = getattr(run.model, "tokenizer", None), int(run.options.prepend_bos)
        found = target_prompts(
            tokenizer, check_prompts(given), self.target, self.occurrence, self.regex, bos=bos
        )
        found.checked.tell(found.notes)
        return found


class TargetCommand(Command):
    """The command of such a study."""

    def check(self, asked: Asked) -> None:
        """Refuses a target that cannot be looked for."""
        check_sought(asked.study)

    def fits(self, asked: Asked, known: Known) -> None:
        """Refuses prompts that lack the target, begin with it, or mostly repeat each other."""
        check_found(asked, known)


def check_sought(study: Study) -> None:
    """Refuses a target that cannot be looked for."""
    assert isinstance(study, AtTarget)
    target, regex = study.target, study.regex
    if regex and target.strip():
        try:
            re.compile(target)
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(
                f"--target {target!r} is not a regular expression ({error}): mend it, or leave out "
                "--regex to look for the text as it is"
            ) from None
    check_target(target, study.occurrence, regex)


def check_found(asked: Asked, known: Known, *, skip: object = 0) -> None:
    """Refuses a target that is absent, is a text's first token, or that the skip leaves no pair of, and
    prompts that mostly repeat each other."""
    if known.rows is None:
        return
    from laminar_lens.pairs import target_pairs
    from laminar_lens.studies.observations import prompt_observations

    study = asked.study
    assert isinstance(study, AtTarget)
    targets = find_targets(known.tokenizer, asked.texts, study.target, study.occurrence, study.regex)
    target_pairs(targets, skip=skip, bos=int(asked.options.get("prepend_bos", False)))
    prompt_observations(known.rows, known.tokenizer, targets)
