"""What another package's study says of itself, read from its source: a list of commands imports nobody's."""

import ast
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

FOLLOWED = 4
"""So many imports of the class from one module into another are followed."""


def about(source: str) -> str:
    """The first line of a class's documentation, or its `title`; empty where neither can be read.

    Args:
        source: "package.module:Class", as an entry point names it.
    """
    module, _, name = source.partition(":")
    try:
        return _of_class(module, name, FOLLOWED)
    except (ImportError, OSError, SyntaxError, ValueError):
        return ""


def _of_class(module: str, name: str, left: int) -> str:
    spec = _spec(module.split("."))
    if spec is None or spec.origin is None or not left:
        return ""
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            written = (ast.get_docstring(node) or "").partition("\n")[0].strip()
            return written or next(_titles(node.body), "")
        if isinstance(node, ast.ImportFrom):
            for one in node.names:
                if (one.asname or one.name) == name:
                    return _of_class(_absolute(node, package), one.name, left - 1)
    return ""


def _titles(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        named = any(isinstance(one, ast.Name) and one.id == "title" for one in targets)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """The module that is imported from, by its whole name."""
    if not node.level:
        return node.module or ""
    parts = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parts, *filter(None, [node.module])])


def _spec(parts: list[str]) -> ModuleSpec | None:
    """Where a module is, without importing the packages that it lies in."""
    spec, path, whole = None, None, ""
    for part in parts:
        whole = f"{whole}.{part}" if whole else part
        spec = PathFinder.find_spec(whole, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    return spec
