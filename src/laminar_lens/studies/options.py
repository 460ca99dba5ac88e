"""What all studies share: how texts are chosen, how the model is read, what is measured beside the study."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from laminar_lens.arguments import BY_NAME, LARGEST
from laminar_lens.axes import Labels, Names, Starts, Wholes
from laminar_lens.errors import InputError, nearest
from laminar_lens.models.selection import written_numbers
from laminar_lens.registered import GEOMETRIES
from laminar_lens.studies.fields import (
    MODEL,
    TEXT,
    Option,
    at_least,
    between,
    choice,
    declared,
    listed,
    no_option,
    one_of,
    option,
)

if TYPE_CHECKING:
    from laminar_lens.geometry import GeometryLike as GeometryLike
    from laminar_lens.models.edits import Interventions as Interventions
    from laminar_lens.studies.study import Study
else:  # torch is imported once there is work
    GeometryLike = Interventions = Any

BACKENDS = ("auto", "reference", "eager", "cpu", "fused")
LONGEST, SHORTEST = 64, 4
"""Tokens of a text, where no length says otherwise, and at least."""
MOST = 9_999_999
"""Tokens of a text, or positions to skip: no text is so long."""
MOST_TEXTS = 1_000_000
"""The studies, too, count how many texts would decide up to a million."""
USUAL_TEXTS = 1200
"""Enough for an answer at every position of 9 layers at once, where angles scatter by up to about 0.28
rad."""


def written_layers(flag: str, text: str) -> tuple[int, ...] | None:
    """`"0,3-5"` as (0, 3, 4, 5), in order and without repeats; an empty text, all layers, as None."""
    return written_numbers(flag, text, "layer", "no model has so many hidden states")


def labels(flag: str, path: str) -> tuple[str, ...]:
    """The groups of texts, in the order of the texts."""
    from laminar_lens.texts.files import read_texts

    return read_texts(path, f"{flag} file", "label").texts


def counted(default: int, least: int = 2) -> Option:
    """How many texts the model writes: enough for an interval, and no more than was ever needed."""

    def read(flag: str, value: int) -> int:
        if value > MOST_TEXTS:
            raise InputError(f"{flag} {value} is too large: give {MOST_TEXTS} or less, usually {USUAL_TEXTS}")
        return at_least(flag, value, least)

    words = (
        "How many texts: passages (default: all that no geometry is fitted on), or what the model writes "
        f"(default: {default})."
    )
    return Option(words, "N", read, int, None, "--n-texts", TEXT)


@dataclass(frozen=True)
class Options:
    """Choices that mean the same in every study that takes them; each says as an option what it is, and what
    more Python takes is said in `warmup_study`."""

    n_texts: int | None = None
    length: int | None = option(
        None,
        "Tokens a text. Default: 64, or what the context holds.",
        "N",
        between(SHORTEST, MOST),
        panel=TEXT,
    )
    document_starts: Starts = option(
        None,
        "Id of the token that starts a document: packed texts are cut there.",
        "ID",
        between(0, MOST),
        kind=int,
        panel=TEXT,
    )
    groups: Labels = option(
        None,
        "One label a text, one a line, or a field of records; texts of one group count as one observation.",
        "FILE[:FIELD]",
        labels,
        panel=TEXT,
    )
    prepend_bos: bool = option(
        False, "Put the beginning-of-text token in front; it then is position 0.", flag="--bos", panel=MODEL
    )
    final_norm: bool = option(False, "Last state after the final LayerNorm.", panel=MODEL, negated=False)
    layers: Wholes = option(
        None,
        "Hidden states, for example 0,3-8 (0 is the embedding). Default: all.",
        "LIST",
        written_layers,
        panel=MODEL,
    )
    seed: int = option(0, "Same seed, same numbers.", "N", between(0, LARGEST))
    random_init: bool = option(True, "Also the same with random weights.", flag="--random")
    backend: str = option(
        "auto", f"Angle kernels: {listed(BACKENDS)}.", "NAME", one_of(*BACKENDS), panel=MODEL
    )
    interventions: Interventions = no_option(None, "objects, given in Python")
    geometry: GeometryLike = option(
        "raw",
        f"In which angles and lengths are measured: {listed(GEOMETRIES.shipped)}.",
        "NAME",
        lambda flag, name: choice(flag, name, GEOMETRIES.names()),
    )
    geometries: Names = option(
        None, "Also how the headline changes in each geometry.", kind=bool, default=True
    )

    @property
    def geometry_name(self) -> str:
        """What the geometry is called."""
        return self.geometry if isinstance(self.geometry, str) else str(self.geometry.name)


def some(*names: str) -> dict[str, Option]:
    """The options of these names."""
    every = declared(Options)
    return {name: every[name] for name in names}


def shared(study: "Study | type[Study]") -> dict[str, Option]:
    """The options of a command that its study shares with others."""
    options = declared(Options) | {"n_texts": counted(study.n_texts, study.least)}
    return {name: one for name, one in options.items() if name not in study.without}


def flags_of(kind: str) -> dict[str, str]:
    """How what a study takes is written as an option, by its name; of a study that is not known, what all
    take."""
    from laminar_lens.studies.registry import study_of

    study = study_of(kind)
    own = declared(study) if study else {}
    texts = "--prompts" if study and "n_texts" in study.without else "--texts"
    return {"texts": texts} | {name: one.flag for name, one in {**declared(Options), **own}.items()}


def options_of(study: "Study | type[Study]", given: dict[str, Any]) -> Options:
    """The options for a study; what is not given has its default.

    Raises:
        InputError: an option that there is not, or that this study does not take.
    """
    known = [one.name for one in fields(Options) if one.name not in study.without]
    for name in given:
        if name not in known:
            why = study.without.get(name) or nearest(name, known)
            raise InputError(f"{name}= is no option of a {study.kind} study: {why}")
    checks = {name: one for name, one in BY_NAME.items() if one is not None and given.get(name) is not None}
    return Options(**given | {name: check(name, given[name]) for name, check in checks.items()})
