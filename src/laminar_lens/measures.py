"""What is measured of residual states: the only list of measures, which everything else reads.

A measure is a function of one hidden state, or of two that follow each other; the meter, `angle_table` and
the command line take it by its name. Your own is `register_measure`, or an entry point of the group
`laminar_lens.measures`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from laminar_lens.arguments import checked, flag, shown, text, texts, whole
from laminar_lens.errors import InputError
from laminar_lens.registered import Registry, qualified_name

AXES = {"pos": 0, "pair": 1, "corner": 2, "other": 0}
"""Axes of tokens: a position, two that follow each other, three, a second position; and by how much such an
axis is shorter than the text."""

RESERVED = (*AXES, "layer", "batch", "prompt", "text", "token", "n_tokens", "intervention", "axis", "what")


@dataclass(frozen=True)
class Measure:
    """One thing that is measured.

    Attributes:
        name: by which it is asked for.
        function: of states [batch pos d_model], or of two such if `between_layers`, to [batch …]; None for a
            kernel.
        dims: axes after (layer, batch); None for those that what it returns tells.
        unit: of the numbers.
        long_name: what they are, in words.
        tokens: so many a text needs.
        between_layers: whether it compares a hidden state with the one before.
        kernel: the function of `laminar_lens.kernels` that computes it; "angle_profile" together with others.
    """

    name: str
    function: Callable[..., Any] | None = None
    dims: tuple[str, ...] | None = None
    unit: str = "1"
    long_name: str = ""
    tokens: int = 1
    between_layers: bool = False
    kernel: str = ""

    def describe(self) -> dict[str, Any]:
        """For the provenance, JSON-safe: a function of a user's is named, not recorded."""
        return {"name": self.name, "function": qualified_name(self.function or type(self))}

    def dims_of(self, sizes: Sequence[tuple[int, ...]], tokens: Sequence[int]) -> tuple[str, ...]:
        """Axes of results [batch …] of texts that have so many tokens: those given, or found from the sizes.

        Raises:
            InputError: another number of axes than was registered, or than between texts.
        """
        n_axes = {len(size) for size in sizes}
        if len(n_axes) > 1 or (self.dims is not None and n_axes != {len(self.dims)}):
            found = " and ".join(map(str, sorted(n_axes)))
            was = "texts differ" if self.dims is None else f"it was registered with {list(self.dims)}"
            raise InputError(f"measure {self.name!r} returned {found} axes after the texts, but {was}")
        wanted = {dim: [max(0, n - shared) for n in tokens] for dim, shared in AXES.items()}
        columns = [list(column) for column in zip(*sizes, strict=True)]
        for dim, column in zip(self.dims or (), columns, strict=self.dims is not None):
            if column != wanted.get(dim, column):
                raise InputError(
                    f"measure {self.name!r}: axis {dim!r} has {column[0]} entries in a text of {tokens[0]} "
                    f"tokens; expected {wanted[dim][0]}"
                )
        if self.dims is not None:
            return self.dims
        names: list[str] = []
        for axis, column in enumerate(columns, 1):
            fits = (dim for dim, length in wanted.items() if length == column and dim not in names)
            names.append(next(fits, f"axis_{axis}"))
        return tuple(names)


def _accepted(name: str, given: object) -> Measure:
    """A package's entry point names what `register_measure` returned, or a function."""
    if isinstance(given, Measure):
        return given
    if not callable(given):
        raise InputError(
            f"measure {name!r} is {shown(given)}; expected a function of states [batch pos d_model]"
        )
    return Measure(name, given, long_name=name)


_PROFILE: dict[str, Any] = {"kernel": "angle_profile"}
_TURNED = "angle by which a token turned since the layer before"
_MOVED = "distance that a token moved since the layer before"
_CURVED = "angle between successive differences along positions"

_SHIPPED = (
    Measure("sequential", None, ("pair",), "rad", "angle between a position and the next", 2, **_PROFILE),
    Measure("rotation", None, ("pos",), "rad", _TURNED, between_layers=True, **_PROFILE),
    Measure("norm", None, ("pos",), "1", "length of a token's vector", **_PROFILE),
    Measure("step", None, ("pos",), "1", _MOVED, between_layers=True, **_PROFILE),
    Measure("turning", None, ("corner",), "rad", _CURVED, 3, kernel="turning_angles"),
    Measure(
        "pairwise", None, ("pos", "other"), "rad", "angle between two positions", kernel="pairwise_angles"
    ),
)

MEASURES: Registry[Measure] = Registry(
    "measure", "laminar_lens.measures", {one.name: one for one in _SHIPPED}, _accepted
)

PROFILE = tuple(one.name for one in _SHIPPED if one.kernel == "angle_profile")
"""Those that one read of the states gives together."""


@checked(name=None)
def register_measure(
    name: object,
    function: object,
    between_layers: object = False,
    *,
    dims: object = None,
    unit: object = "1",
    long_name: object = "",
    tokens: object = 1,
) -> Measure:
    """A measure of your own, for `AngleMeter`, `angle_table` and, as an entry point, the command line.

    >>> spread = register_measure("spread", lambda states: states.std(-1), long_name="spread of coordinates")
    >>> spread.name, spread.between_layers
    ('spread', False)

    Args:
        name: letters, digits and _; none of the shipped ones. Registering it again replaces it.
        function: called as `function(states)` with one hidden state [batch pos d_model], or as
            `function(previous, states)` if `between_layers`; returns [batch …], of real numbers. It does not
            write into the states. Vectors of padding are NaN.
        between_layers: whether it compares a hidden state with the one before it.
        dims: names of the axes after the texts: "pos", "pair" (p, p + 1), "corner" (p, p + 1, p + 2), "other"
            (a second position) or others; found from the sizes by default.
        unit: of the numbers, such as "rad".
        long_name: what they are, in words; the name by default.
        tokens: so many a text needs.

    Raises:
        InputError: names the argument that does not fit.
    """
    if not callable(function):
        raise InputError(f"function is {shown(function)}; expected a function of states [batch pos d_model]")
    checked_name = MEASURES.checked_name(name)
    if name in RESERVED or checked_name.startswith("sequential"):
        raise InputError(f"measure {shown(name)}: tables call something else so; choose another name")
    made = Measure(
        checked_name,
        function,
        None if dims is None else texts("dims", dims),
        text("unit", unit),
        text("long_name", long_name) or checked_name,
        whole("tokens", tokens, least=1),
        flag("between_layers", between_layers),
    )
    return MEASURES.add(checked_name, made)
