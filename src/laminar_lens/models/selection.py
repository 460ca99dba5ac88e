"""Which hidden states and positions a caller asks for: `layers` are hidden states, in whatever form."""

import re
from collections.abc import Iterable, Sequence

from laminar_lens.arguments import wholes
from laminar_lens.axes import Wholes
from laminar_lens.errors import InputError

MOST_LAYERS = 9999


def written_numbers(option: str, text: str, what: str, why_not: str) -> tuple[int, ...] | None:
    """`"0,3-5"` as (0, 3, 4, 5), in order and without repeats; an empty text, which is all, as None.

    Raises:
        InputError: names `option`, the part that is no `what` or range, or why a number is too large.
    """
    if not text:
        return None
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r" *([0-9]{1,9}) *(?:- *([0-9]{1,9}) *)?", part)
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if last < first:
            raise InputError(f"{option} {text!r}: {part!r} is no {what} or range; write for example 1,3-8")
        if last > MOST_LAYERS:
            raise InputError(f"{option} {text!r}: {last} is out of range, {why_not}; write for example 1,3-8")
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))


def ranges(numbers: Iterable[int], dash: str = "–") -> list[str]:
    """Whole numbers in increasing order, neighbours together.

    >>> ranges([2, 3, 4, 7])
    ['2–4', '7']
    """
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return [f"{one[0]}{dash}{one[-1]}" if len(one) > 1 else str(one[0]) for one in found]


def layer_indices(layers: Wholes, n_layers: int) -> tuple[int, ...]:
    """Hidden states as numbers 0 … n_layers, in the order given; all of them for None.

    Raises:
        InputError: names a layer that is out of range, or the range of several, and those there are.
    """
    if layers is None:
        return tuple(range(n_layers + 1))
    wanted, given = [], wholes("layers", layers)
    for layer in given:
        if not -n_layers - 1 <= layer <= n_layers:
            of = f" (of layers {', '.join(ranges(set(given)))})" if given[1:] else ""
            raise InputError(
                f"layer {layer} is out of range{of}: this model has hidden states 0 … {n_layers} "
                f"(or −1 … {-n_layers - 1} from the end)"
            )
        wanted.append(layer if layer >= 0 else n_layers + 1 + layer)
    return tuple(wanted)


def increasing_layers(layers: Wholes, n_layers: int) -> tuple[int, ...]:
    """The same in increasing order, each once."""
    return tuple(sorted(set(layer_indices(layers, n_layers))))


def with_previous(layers: Sequence[int]) -> tuple[int, ...]:
    """What is read to compare each of the layers with the one before it: both, and layer 1 for layer 0."""
    return tuple(sorted({max(layer, 1) - back for layer in layers for back in (0, 1)}))


def position_indices(positions: Wholes, longest: int) -> tuple[int, ...]:
    """Positions 0 … longest − 1, in increasing order; all of them for None.

    Raises:
        InputError: names the position that is out of range, and the range.
    """
    if positions is None:
        return tuple(range(longest))
    wanted = list(wholes("positions", positions))
    for position in wanted:
        if not 0 <= position < longest:
            raise InputError(
                f"position {position} is out of range: the longest prompt has positions 0 … {longest - 1}"
            )
    if sorted(set(wanted)) != wanted:
        raise InputError(f"positions are {wanted}; expected them in increasing order, each once")
    return tuple(wanted)


def dimension_indices(dimensions: Wholes, d_model: int) -> tuple[int, ...]:
    """Coordinates of the residual stream 0 … d_model − 1, in increasing order, each once.

    Raises:
        InputError: none, one that is out of range, or all of them.
    """
    wanted = tuple(sorted(set(wholes("dimensions", dimensions))))
    for dimension in (wanted[0], wanted[-1]):
        if not 0 <= dimension < d_model:
            raise InputError(
                f"dimension {dimension} is out of range: this model has dimensions 0 … {d_model - 1}"
            )
    if len(wanted) == d_model:
        raise InputError(f"dimensions names all {d_model} of the model: no vector would be left to compare")
    return wanted
