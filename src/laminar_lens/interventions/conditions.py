"""Several conditions of one study: the plain run, and beside it each set of interventions."""

from collections.abc import Iterable, Mapping, Sequence

from laminar_lens.axes import PLAIN, Progress, Wholes
from laminar_lens.errors import InputError
from laminar_lens.models.edits import Intervention, as_interventions, check_interventions
from laminar_lens.models.forward import check_reached
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.selection import increasing_layers

Conditions = dict[str, tuple[Intervention, ...]]


def as_conditions(given: object) -> Conditions:
    """The conditions of a study, "plain" first; only that one for None.

    One intervention or a list is one condition, named by its labels; a mapping names several.

    Raises:
        InputError: neither, a condition without interventions, or one that is called "plain".
    """
    if given is None:
        return {PLAIN: ()}
    if not isinstance(given, Mapping):
        changes = as_interventions(given)
        given = {" + ".join(one.label for one in changes): changes} if changes else {}
    if not given:
        raise InputError("interventions is empty; give at least one, or None for the plain run alone")
    found: Conditions = {PLAIN: ()}
    for name, changes in given.items():
        if not isinstance(name, str) or not name.strip() or name == PLAIN:
            raise InputError(
                f"interventions has a condition named {name!r}; give each a name of its own ('plain' is "
                "the run without any, which every study has)"
            )
        found[name] = as_interventions(changes, f"interventions[{name!r}]")
        if not found[name]:
            raise InputError(f"condition {name!r} has no intervention; give at least one")
    return found


def check_conditions(
    model: HookedModel, conditions: Conditions, lengths: Sequence[int], *, prepend_bos: bool, layers: Wholes
) -> None:
    """Refuses interventions that do not fit the model, texts of these lengths (BOS included) or each other,
    or that begin after the last hidden state that is measured.

    Raises:
        InputError: names the intervention.
    """
    last = increasing_layers(layers, int(model.cfg.n_layers))[-1]
    for changes in conditions.values():
        if changes:
            check_interventions(model, changes, lengths, prepend_bos=prepend_bos)
            check_reached(model, changes, last)


def notes(
    model: HookedModel, changes: tuple[Intervention, ...], rows: Iterable[Sequence[int]] = ()
) -> list[str]:
    """What a reader must know of interventions before trusting a number; `rows` are the texts' token ids."""
    starts = [row[:1] for row in rows]
    found = [note for one in changes for note in (one.note(model), one.note_of(model, starts))]
    return [note for note in found if note]


def portable(changes: tuple[Intervention, ...]) -> tuple[Intervention, ...]:
    """Those that make sense on other texts than the ones they were made for."""
    return tuple(one for one in changes if one.portable)


def named_progress(progress: Progress | None, name: str) -> Progress | None:
    """Progress that says which condition runs."""
    if progress is None or name == PLAIN:
        return progress

    def show(label: str, done: int, total: int) -> None:
        progress(f"{name}: {label}", done, total)

    return show
