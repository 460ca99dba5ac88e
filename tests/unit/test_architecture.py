"""The map is the code: imports point one way, and importing costs nothing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import laminar_lens
from laminar_lens.studies.registry import STUDIES

SRC = Path(laminar_lens.__file__).parent

# A module may import, at module level, only from its own group and the groups before it.
ORDER = [
    {
        "arguments",
        "axes",
        "errors",
        "escapes",
        "files",
        "measures",
        "progress",
        "registered",
        "tables",
        "words",
    },
    {"kernels", "stats"},
    {"measuring"},
    {"texts"},
    {"prompts", "models"},
    {"interventions"},
    {"geometry"},
    {"capture"},
    {"meter"},
    {"pairs"},
    {"figures"},
    {"report"},
    {"results"},
    {"comparison"},
    {"studies"},
    {"cli"},
    {"testing"},
    {"__main__"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
# A result looks up its study's class and view, and the tool for pictures loads a result, inside a function;
# names of geometries are known without importing torch.
REACH_FORWARD = {("results", "studies"), ("report", "results"), ("registered", "geometry")}
STANDS_ALONE = SRC / "models/embedded/train"  # a folder that is copied to a bare GPU machine
HEAVY = {
    *("torch", "transformer_lens", "transformers", "triton", "ray"),
    *("plotly", "xarray", "scipy", "sklearn", "pandas"),
}


def package_imports(path: Path) -> list[tuple[str, int, bool]]:
    """The package's own modules that a file imports: name, line, and whether at module level."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module == "laminar_lens":
            names = [f"laminar_lens.{a.name}" for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("laminar_lens."):
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("laminar_lens.")]
        names += [name for name in named_modules(node) if name.startswith("laminar_lens.")]
        late = not isinstance(node, ast.Import | ast.ImportFrom)
        found += [(name, node.lineno, id(node) not in inside and not late) for name in names]
        relative = isinstance(node, ast.ImportFrom) and node.level
        alone = path.is_relative_to(STANDS_ALONE) and relative == 1
        assert alone or not relative, f"{path}:{node.lineno}: relative import"
    assert not (found and path.is_relative_to(STANDS_ALONE)), f"{path} imports the package"
    return found


def named_modules(node: ast.AST) -> list[str]:
    """Modules that are imported by their name: given to `import_module`, or in a text "module:name"."""
    if isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
        given = [ast.unparse(one).strip("f'\"") for one in node.args]
        return [name for name in given if "." in name and "{" not in name.split(".")[1]]
    text = node.value if isinstance(node, ast.Constant) else None
    return [text.split(":")[0]] if isinstance(text, str) and re.fullmatch(r"[\w.]+\.[\w.]+:\w+", text) else []


def group_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_point_one_way(path):
    here = group_of(path)
    if here == "__init__":
        return  # the lazy surface names every module
    for name, line, at_module_level in package_imports(path):
        there = name.split(".")[1]
        if there == "__version__" or ((here, there) in REACH_FORWARD and not at_module_level):
            continue
        assert there in RANK, f"{path}:{line} imports {name}, which is not on the map"
        back = RANK[there] > RANK[here] or (RANK[there] == RANK[here] > 0 and there != here)
        assert not back, f"{path}:{line}: {here} imports {there}, an arrow that points back"


ONCE = ("kernels", "stats", "figures", "report", "results", "comparison", "tables", "files")


@pytest.mark.parametrize("group", ONCE)
def test_what_is_tested_on_one_generation_knows_no_model(group):
    paths = [path for path in SRC.rglob("*.py") if group_of(path) == group]
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(import|from) (transformer_lens|transformers)", text), path
        known = {name.split(".")[1] for name, *_ in package_imports(path)}
        assert not known & {"models", "interventions", "capture", "meter"}, path


def test_every_module_is_on_the_map():
    on_disk = {group_of(p) for p in SRC.rglob("*.py")} - {"__init__"}
    assert on_disk <= set(RANK)


def texts_naming_studies(path: Path) -> list[str]:
    """Texts of a file, documentation aside, that are a study's name, begin with it or lead to its module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    texts = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in prose
    ]
    return [
        text
        for text in texts
        if any(
            part == name or part.startswith(f"{name}_")
            for part in text.split(".")
            if part.isidentifier()
            for name in STUDIES.shipped
        )
    ]


@pytest.mark.parametrize("folder", ["figures", "report", "results"])
def test_what_shows_and_keeps_results_knows_no_study_by_name(folder):
    paths = sorted((SRC / folder).rglob("*.py"))
    assert paths
    assert {
        str(path.relative_to(SRC)): found for path in paths if (found := texts_naming_studies(path))
    } == {}
    for template in (SRC / folder).rglob("*.jinja"):
        assert not [name for name in STUDIES.shipped if name in template.read_text(encoding="utf-8").split()]


REDUCTIONS = {
    *("mean", "median", "quantile", "percentile", "std", "var", "sum", "average", "histogram", "bincount"),
    *("nanmean", "nanmedian", "nanquantile", "nanpercentile", "nanstd", "nanvar", "nansum"),
    *("cumsum", "cumprod", "prod", "polyfit", "corrcoef", "cov", "fsum", "default_rng", "permutation"),
}


def reductions(source: str) -> list[str]:
    """Calls that make a statistic of numbers, or draw some."""
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [one.attr if isinstance(one, ast.Attribute) else getattr(one, "id", "") for one in calls]
    return [name for name in names if name in REDUCTIONS]


def test_figures_and_views_compute_nothing():
    """What is drawn stands in the answer's dataset, where JSON and CSV have it, too."""
    drawing = {
        path
        for path in SRC.rglob("*.py")
        if group_of(path) in ("figures", "report")
        or path.name.endswith("view.py")
        or "import plotly" in path.read_text(encoding="utf-8")
    }
    assert len(drawing) > 20
    assert {str(path): found for path in drawing if (found := reductions(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize("source", ["np.mean(x)", "x.values.sum(axis=1)", "sum(x)", "rng.permutation(3)"])
def test_a_reduction_is_seen(source):
    assert reductions(source)


LINES, STATEMENTS, PARAMETERS = 300, 40, 12
"""Of a module; of a function without signature and documentation; of a function."""
LONG_MODULES = {"kernels/_cpu_kernels.py": "numba inlines and caches what stands in one file"}
LONG_FUNCTIONS = {
    "kernels/_cpu_kernels.py:_sums": "every accumulator stays in a register of one loop",
    "kernels/cpu.py:_run": "one call into compiled code, with each array that it fills",
    "kernels/fused_kernels.py:profile_kernel": "one launch reads each vector once for every angle",
}
PUBLIC = "a public function: flat options of its own, and all that studies share"
TRITON = "a compiled kernel: pointers, strides and sizes"
WIDE_FUNCTIONS = {
    "models/load.py:load_model": "a public function: all that can be said of a model and where it comes from",
    "studies/sequential/study.py:sequential_study": PUBLIC,
    "studies/warmup/study.py:warmup_study": PUBLIC,
    "studies/why/study.py:why_study": PUBLIC,
    "studies/sinks/study.py:sink_study": PUBLIC,
    "studies/dimensions/study.py:dimension_study": PUBLIC,
    "studies/decomposition/study.py:decomposition_study": PUBLIC,
    "studies/rotation/study.py:rotation_study": PUBLIC,
    "studies/paths/study.py:path_study": PUBLIC,
    "studies/speech/study.py:speech_study": PUBLIC,
    "studies/trajectories/study.py:trajectory_study": PUBLIC,
    "studies/warmup/grid.py:sensitivity_grid": PUBLIC,
    "kernels/_cpu_kernels.py:chosen": "numbers that numba keeps in registers",
    "kernels/fused_kernels.py:profile_kernel": TRITON,
    "kernels/fused_kernels.py:pair_kernel": TRITON,
    "kernels/fused_kernels.py:turning_kernel": TRITON,
    "kernels/fused_rows.py:between": TRITON,
    "kernels/fused_tiles.py:pairwise_kernel": TRITON,
}


def functions(path: Path) -> list[tuple[str, int, int]]:
    """Name, lines of statements, and number of parameters of each function."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            given = node.args
            every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            n = len([one for one in every if one.arg not in ("self", "cls")])
            found.append((node.name, (node.end_lineno or 0) - body[0].lineno + 1, n))
    return found


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_modules_and_functions_are_small(path):
    """What is longer, or takes more, is named above, with the reason."""
    name = str(path.relative_to(SRC))
    assert (len(path.read_text(encoding="utf-8").splitlines()) > LINES) == (name in LONG_MODULES)
    for function, lines, parameters in functions(path):
        assert (lines > STATEMENTS) == (f"{name}:{function}" in LONG_FUNCTIONS), (function, lines)
        assert (parameters > PARAMETERS) == (f"{name}:{function}" in WIDE_FUNCTIONS), (function, parameters)


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_types_get_their_article_in_one_place(path):
    """An int, not a int: see `laminar_lens.errors.with_article`."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\ban? \{[^}]*__name__", text)


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
    # 40, four doors through which users bring what is their own, what a study of theirs is written with, a
    # progress that prints lines, results side by side, and the five studies along the layers
    assert len(laminar_lens.__all__) <= 59
    for name in laminar_lens.__all__:
        assert getattr(laminar_lens, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = laminar_lens.nonsense


@pytest.mark.parametrize(
    "source",
    [
        'importlib.import_module("laminar_lens.cli.run")',
        'import_module(f"laminar_lens.cli.{name}")',
        'VIEW = "laminar_lens.cli.run:execute"',
    ],
)
def test_names_of_modules_in_texts_are_imports(source, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert [name.split(".")[1] for name, *_ in package_imports(path)] == ["cli"]


def names_of_studies(source: str) -> set[str]:
    """Studies that code imports, calls or asks for by name; words of documents are none."""
    kinds = "|".join(STUDIES.shipped)
    tree, found = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= set(re.findall(rf"\bstudies\.({kinds})\b", node.module))
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            found |= set(
                re.findall(rf"^({kinds}|sink|dimension|path|trajectory)_study$|^({kinds})result$", name, re.I)
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("STUDIES.get", "study_of")):
            found |= {ast.unparse(one).strip("'") for one in node.args} & set(STUDIES.shipped)
        elif isinstance(node, ast.Compare) and re.search("kind|study", ast.unparse(node.left)):
            found |= {ast.unparse(one).strip("'") for one in node.comparators} & set(STUDIES.shipped)
    return {"".join(one) for one in found}


def test_no_study_is_named_outside_its_folder():
    """A study's name stands in its folder, in those of studies that are made of it, and in the registry."""
    for path in SRC.rglob("*.py"):
        parts = path.relative_to(SRC).parts
        own = parts[0] == "studies" and parts[1] in (*STUDIES.shipped, "registry.py")
        if not own and parts != ("__init__.py",):
            assert not names_of_studies(path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    "source",
    [
        "from laminar_lens.studies.why.study import why_study",
        "found = ll.sink_study(model)",
        'STUDIES.get("warmup")',
        'if study.kind == "why": pass',
    ],
)
def test_a_name_of_a_study_is_seen(source):
    assert names_of_studies(source)
