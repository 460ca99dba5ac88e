"""What all studies share: how texts are chosen, how the model is read, what is measured beside the study."""

from dataclasses import dataclass, fields
from typing import Any

from laminar_lens.errors import InputError


@dataclass(frozen=True)
class Options:
    """Choices that mean the same in every study that takes them.

    Attributes:
        n_texts: how many passages are measured, all by default, or how many texts the model writes, the
            study's own number by default.
        length: tokens a text; None is the default, or what the context allows.
        document_starts: where documents start in packed rows; a token id, or bool [text pos].
        groups: one label a text; texts of one group count as one observation.
        prepend_bos, final_norm, layers: as in `capture_residuals`.
        seed: of every random draw.
        random_init: measure the same architecture with random weights beside it.
        backend: of the angle kernels.
        interventions: one, a list, or a mapping from names to lists.
        geometry: in which angles are measured.
        geometries: in which others the headline is measured beside it.
    """

    n_texts: int | None = None
    length: int | None = None
    document_starts: Any = None
    groups: Any = None
    prepend_bos: bool = False
    final_norm: bool = False
    layers: Any = None
    seed: int = 0
    random_init: bool = True
    backend: str = "auto"
    interventions: Any = None
    geometry: Any = "raw"
    geometries: Any = None


def options_of(study: Any, given: dict[str, Any]) -> Options:
    """The options for a study; what is not given has its default.

    Raises:
        InputError: an option that there is not, or that this study does not take.
    """
    known = {one.name for one in fields(Options)}
    for name in given:
        if name not in known or name not in study.options:
            raise InputError(
                f"{name}= is no option of a {study.kind} study; it takes {', '.join(study.options)}"
            )
    return Options(**given)
