"""What users name: the shipped ones, those that installed packages bring, and those registered while running.

Reading names loads nothing: a shipped entry may be "module:name", and a package's entry point is loaded when
its name is first asked for.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name.

    Attributes:
        shipped: names that the package itself has, in its order.
    """

    def __init__(
        self, what: str, group: str, shipped: Mapping[str, T | str], accept: Callable[[str, Any], T]
    ) -> None:
        """A kind of things.

        Args:
            what: what one of them is called in a message.
            group: of the entry points by which other packages bring some.
            shipped: the package's own; as "module:name" where importing it takes time.
            accept: called as (name, thing) with what a user or a package gave; refuses what is none.
        """
        self.shipped, self._what, self._group, self._accept = tuple(shipped), what, group, accept
        self._known: dict[str, T | str] = dict(shipped)

    def names(self) -> tuple[str, ...]:
        """Every name that can be given."""
        return tuple(dict.fromkeys([*self._known, *self._points()]))

    def __contains__(self, name: object) -> bool:
        """Whether a name can be given; what is installed is looked up last."""
        return name in self._known or name in self._points()

    def find(self, name: str) -> T | None:
        """What a name means, if that can be told without loading a package of others."""
        return self.get(name) if name in self._known else None

    def source(self, name: str) -> str:
        """Where what a package or a user named comes from, without loading it."""
        points = self._points()
        return points[name].value if name in points else qualified_name(self._known.get(name))

    def get(self, name: object) -> T:
        """What a name means.

        Raises:
            InputError: nothing has that name, or the package that brings it cannot be loaded.
        """
        if not isinstance(name, str) or name not in self:
            known = ", ".join(self.names())
            raise InputError(f"{self._what} {shown(name)} is unknown; choose from {known}")
        if name not in self._known:
            found = self._loaded(self._points()[name])
            self._known.setdefault(name, self._accept(name, found))
        thing = self._known[name]
        if isinstance(thing, str):
            module, _, attribute = thing.partition(":")
            thing = self._known[name] = getattr(import_module(module), attribute)
        return thing

    def add(self, name: object, thing: object) -> T:
        """Gives a thing a name, in this process; one that was registered before is replaced.

        Raises:
            InputError: not such a thing, not a name, or one of the package's own names.
        """
        name = self.checked_name(name)
        accepted = self._known[name] = self._accept(name, thing)
        return accepted

    def checked_name(self, name: object) -> str:
        """A name that a user may give to something; errors as `add`."""
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(
                f"{self._what} {shown(name)}: a name has letters, digits and _, such as 'my_own'"
            )
        if name in self.shipped:
            raise InputError(f"{self._what} {name!r} is shipped with Laminar Lens; choose another name")
        return name

    def remove(self, name: str) -> None:
        """Forgets a name that was registered."""
        if name not in self.shipped:
            self._known.pop(name, None)

    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self._group)}

    def _loaded(self, point: EntryPoint) -> Any:
        try:
            return point.load()
        except Exception as error:  # a package's module may raise anything
            raise InputError(
                f"{self._what} {point.name!r} cannot be loaded from {point.value!r}: "
                f"{type(error).__name__}: {error}"
            ) from error


def qualified_name(thing: object) -> str:
    """How a function or class is found again: "package.module.name"; the type's where it has no name."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def _accepted_geometry(name: str, given: Any) -> Any:
    """Told without importing torch: by the name of the class that it comes from, and of its `map`."""
    bases = map(qualified_name, given.__mro__) if isinstance(given, type) else ()
    if "laminar_lens.geometry.base.Geometry" not in bases or given.map.__qualname__ == "Geometry.map":
        raise InputError(
            f"geometry {name!r} is {shown(given)}; expected a subclass of laminar_lens.geometry.Geometry "
            "with a map(layer, state)"
        )
    if given.name != name:
        raise InputError(f"geometry {name!r} calls itself {shown(given.name)}: give both the same name")
    return given


GEOMETRIES: Registry[Any] = Registry(
    "geometry",
    "laminar_lens.geometries",
    {
        "raw": "laminar_lens.geometry.shipped:Raw",
        "centred": "laminar_lens.geometry.shipped:Centred",
        "mean_over_d_model": "laminar_lens.geometry.shipped:MeanOverDModel",
        "standardised": "laminar_lens.geometry.shipped:Standardised",
        "without_dimensions": "laminar_lens.geometry.shipped:WithoutDimensions",
        "layernormed": "laminar_lens.geometry.shipped:LayerNormed",
    },
    _accepted_geometry,
)
"""Classes of geometries; importing one takes torch, so that their names stand here."""
