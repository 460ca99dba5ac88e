"""What a study is: its options, what it measures, and what it answers from that.

Nothing heavy is imported here, so that a command can be built from a study's fields.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from laminar_lens.axes import Prompts

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.geometry import Geometry
    from laminar_lens.results import StudyResult
    from laminar_lens.studies.claim import Claim
    from laminar_lens.studies.run import Run
    from laminar_lens.studies.texts import Chosen

BY_ITSELF = {
    "random_init": "it measures no random weights",
    "geometries": "it compares no geometries",
}
"""Options that `Run` and `drive` do not do for a study: it does, by `Run.twin` and `Run.beside`."""


@dataclass(frozen=True)
class Answer:
    """What a study says of what was measured.

    Attributes:
        data: estimates, bounds and verdicts by layer.
        sentence: the answer in plain words.
        claims: by name, such as "S1".
        notes: what a reader must know beside what was noted while measuring.
    """

    data: "xr.Dataset"
    sentence: str
    claims: "Mapping[str, Claim]" = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def dataset(self) -> "xr.Dataset":
        """The data with the claims as variables `claim_…`."""
        from laminar_lens.studies.claim import claim_columns

        return self.data.assign(claim_columns(self.claims))


@dataclass(frozen=True)
class Study(ABC):
    """A study: fields are its own options, `measure` runs the model and decides nothing, `answer` decides and
    runs nothing.

    A subclass is a frozen dataclass. What every study shares (texts, BOS, layers, geometry, interventions,
    seed) is no field, see `laminar_lens.studies.options.Options`; `without` names what of that it does not
    take, and why. Its command has an option for every field, see `laminar_lens.studies.fields`; its
    documentation up to "Attributes:" is the command's help.
    """

    kind: ClassVar[str]
    """Name of the study: of its command, its files, and of the kind in a result."""
    title: ClassVar[str] = ""
    """Heading of its page; "<kind> study" without one."""
    view: ClassVar[str] = ""
    """"module:NAME" of its figures and tables; a curve with its band without one."""
    result: ClassVar[str] = "laminar_lens.results:StudyResult"
    """"module:Class" of its results."""
    without: ClassVar[Mapping[str, str]] = BY_ITSELF
    """Shared options that it does not take, each with the reason."""
    n_texts: ClassVar[int] = 200
    """How many texts the model writes where nobody says it."""
    spare: ClassVar[int] = 0
    """How many passages are then not measured, so that geometries are fitted on them."""
    together: ClassVar[str] = ""
    """Why measurements of some texts each make none of all; empty where they do."""
    in_groups: ClassVar[bool] = False
    """Whether prompts may be given by the word of their group."""
    least: ClassVar[int] = 2
    """How many texts are enough."""
    command: ClassVar[str] = "laminar_lens.studies.command:Command"
    """"module:Class" of what its command does beside running it."""
    remeasured: ClassVar[tuple[str, ...]] = ()
    """Fields that decide what is measured: with another value the model must run again."""
    local: ClassVar[tuple[str, ...]] = ()
    """Those of `remeasured` that may name a place on this machine: no result keeps them."""

    def texts(self, run: "Run", given: Prompts) -> "Chosen":
        """The texts that are measured; appends what a reader must know to `run.notes`."""
        from laminar_lens.studies.texts import chosen_texts

        return chosen_texts(
            run.model, given, run.options, run.notes, run.progress, usual=self.n_texts, spare=self.spare
        )

    def accepts(self, run: "Run") -> None:  # noqa: B027 (most studies take any model)
        """Refuses what does not fit the model, before texts are chosen; called for every condition."""

    def geometry(self, run: "Run") -> "Geometry":
        """In which angles are measured; fitted on texts of its own where it is a name that needs any."""
        from laminar_lens.geometry import named_geometry

        how = run.options
        if isinstance(how.geometry, str) and how.geometry in run.beside:
            return run.beside[how.geometry]
        return named_geometry(
            run.model,
            how.geometry,
            prepend_bos=how.prepend_bos,
            final_norm=how.final_norm,
            seed=how.seed,
            progress=run.progress,
        )

    def notes(self, run: "Run") -> list[str]:
        """What a reader must know of the study as it is asked for."""
        from laminar_lens.geometry import geometry_note

        return [note for note in [geometry_note(run.options.geometry)] if note]

    def check(self, run: "Run") -> None:  # noqa: B027 (most studies have nothing to refuse)
        """Refuses what does not fit, before any text is run; called for every condition."""

    @abstractmethod
    def measure(self, run: "Run") -> "xr.Dataset":
        """Forward passes: numbers by text, with named axes."""

    def joined(self, measured: "xr.Dataset", parts: "Mapping[str, xr.Dataset]") -> "xr.Dataset":
        """The measurement with what its answer takes over from `parts`, the answers of the studies that it
        rests on, by their kinds (`Run.parts`)."""
        return measured

    @abstractmethod
    def answer(self, measured: "xr.Dataset") -> Answer:
        """Statistics, claims and the sentence; needs no model."""

    @classmethod
    def merge(cls, parts: "Sequence[xr.Dataset]") -> "xr.Dataset":
        """The measurement of all texts from measurements of some each: texts one after another."""
        from laminar_lens.studies.merge import by_text

        return by_text(cls, parts, {})

    def settings(self, measured: "xr.Dataset") -> dict[str, Any]:
        """The study's own options as they were used, JSON-safe."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def result_class(cls) -> "type[StudyResult]":
        """Class of its results."""
        module, name = cls.result.split(":")
        found: type[StudyResult] = getattr(importlib.import_module(module), name)
        return found
