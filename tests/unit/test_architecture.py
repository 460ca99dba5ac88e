"""The map is the code: imports point one way, and importing costs nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import laminar_lens

SRC = Path(laminar_lens.__file__).parent

# A module may import, at module level, only from its own group and the groups before it.
ORDER = [
    {"axes", "errors"},
    {"kernels", "stats"},
    {"prompts", "models"},
    {"capture"},
    {"pairs"},
    {"results"},
    {"studies"},
    {"figures"},
    {"report"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
# `result.figures()`, `result.report()` and `load_result` reach forward, inside a function body, and nothing else does.
REACH_FORWARD = {("results", "figures"), ("results", "report"), ("results", "studies")}
HEAVY = {
    "torch",
    "transformer_lens",
    "transformers",
    "triton",
    "ray",
    "plotly",
    "xarray",
    "scipy",
    "sklearn",
    "pandas",
}


def package_imports(path: Path) -> list[tuple[str, int]]:
    """The package's own modules that a file imports, anywhere in it."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("laminar_lens"):
            names = (
                [node.module]
                if node.module != "laminar_lens"
                else [f"laminar_lens.{a.name}" for a in node.names]
            )
            found += [(name, node.lineno) for name in names]
        elif isinstance(node, ast.Import):
            found += [(a.name, node.lineno) for a in node.names if a.name.startswith("laminar_lens.")]
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}: relative import"
    return found


def group_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_one_way(path):
    here = group_of(path)
    if here == "__init__":
        return  # the lazy surface names every module
    for name, line in package_imports(path):
        there = (name.split(".") + ["__init__"])[1]
        if there == "__version__" or (here, there) in REACH_FORWARD:
            continue
        assert there in RANK, f"{path}:{line} imports {name}, which is not on the map"
        assert RANK[there] <= RANK[here], f"{path}:{line}: {here} imports {there}, an arrow that points back"
        if RANK[there] == RANK[here]:
            assert there == here or here == "prompts" or {here, there} == {"axes", "errors"}, f"{path}:{line}"


def test_every_module_is_on_the_map():
    on_disk = {group_of(p) for p in SRC.rglob("*.py")} - {"__init__"}
    assert on_disk <= set(RANK)


def loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_import_is_light():
    assert not HEAVY & loaded_after("import laminar_lens; dir(laminar_lens)")


def test_help_is_light():
    code = "from laminar_lens.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    assert not HEAVY & loaded_after(code)


def test_public_names_exist_and_are_few():
    assert len(laminar_lens.__all__) <= 40
    for name in laminar_lens.__all__:
        assert getattr(laminar_lens, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = laminar_lens.nonsense
