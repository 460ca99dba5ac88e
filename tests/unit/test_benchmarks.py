"""The benchmarks measure what they say: entries, parity before time, resuming, the command line."""

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import capture, capture_rows, measure, plot, registry, run, table, tables, timing
from benchmarks.competitors import competitor
from benchmarks.inputs import make_inputs
from benchmarks.registry import Entry, Group, Shape
from benchmarks.tolerance import ARCCOS
from benchmarks.truth import result_shapes, true_values
from benchmarks.verify import poisoned_memory, verify
from laminar_lens import kernels
from laminar_lens.errors import BackendError

ROOT = Path(registry.__file__).parents[1]
TINY = Shape("gpt2-xl", 3, 2, 7, 33, "tiny")
OPERATIONS = ("sequential", "rotation", "profile", "pairs", "pairwise", "histogram")


def entry(operation="sequential", backend="eager", dtype="float32", shape=TINY):
    return Entry(operation, backend, shape, dtype)


def plan_with(form_of=measure.form_of, left=1e9):
    setting = table.Setting("a machine", "2", "torch", "abc")
    return measure.Plan("cpu", setting, 0.0, lambda: left, form_of)


# --- what is measured -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["gpu", "quick", "capture"])
def test_no_entry_is_listed_twice(mode):
    entries = measure.entries_of(getattr(registry, f"{mode}_groups")())
    assert len({e.key for e in entries}) == len(entries)
    assert {e.operation for e in entries} <= set(registry.OPERATIONS)
    assert {e.backend for e in entries} <= {*registry.OURS, *registry.COMPETITORS, *registry.CAPTURE}


def test_gpu_entries_cover_models_lengths_and_competitors():
    entries = measure.entries_of(registry.gpu_groups())
    for operation in ("sequential", "profile", "rotation", "pairs"):
        for model in ("gpt2-xl", "llama-8b", "llama-70b"):
            for dtype in ("float32", "bfloat16"):
                found = {
                    e.shape.pos
                    for e in entries
                    if (e.operation, e.backend, e.shape.model, e.dtype) == (operation, "fused", model, dtype)
                }
                assert found == set(registry.LENGTHS), (operation, model, dtype)
    assert {2**7, 2**17} <= set(registry.LENGTHS)
    assert {(49, 1600), (33, 4096), (81, 8192)} <= set(registry.MODELS.values())
    for operation in ("sequential", "profile"):
        assert {e.backend for e in entries if e.operation == operation} >= set(registry.COMPETITORS)
    for operation in ("pairwise", "histogram"):
        assert {e.shape.pos for e in entries if e.operation == operation} == set(registry.LENGTHS)


def test_gpu_data_exceed_a_gigabyte_where_the_memory_is_what_is_measured():
    for e in measure.entries_of(registry.gpu_groups()):
        whole = e.shape.note == "" and e.operation in ("sequential", "profile", "rotation", "pairs")
        assert not whole or e.input_bytes >= 2**30, e.name


def test_quick_shapes_say_how_they_differ():
    for e in measure.entries_of(registry.quick_groups()):
        if e.shape.model in registry.MODELS and registry.MODELS[e.shape.model][0] != e.shape.layers:
            assert "layer" in e.shape.label, e.name
        assert e.operation == "accuracy" or e.shape.d_model == registry.MODELS[e.shape.model][1]


def test_bytes_are_one_read_and_one_write():
    shape = Shape("m", 3, 2, 8, 16)
    states = 3 * 2 * 8 * 16 * 4
    assert entry("sequential", shape=shape).bytes == states + 4 * 3 * 2 * 7
    assert entry("sequential", shape=shape, dtype="bfloat16").bytes == states // 2 + 4 * 3 * 2 * 7
    assert entry("rotation", shape=shape).bytes == states + 4 * 2 * 2 * 8
    assert entry("profile", shape=shape).bytes == states + 4 * (3 * 2 * 7 + 3 * 2 * 8 + 2 * 2 * 2 * 8)
    assert entry("pairs", shape=shape).bytes == states + 4 * 3 * 2 * 4 + 16 * 2 * 4
    assert entry("pairwise", shape=shape).bytes == states + 4 * 3 * 2 * 8 * 8
    assert entry("floor", "copy", shape=shape).bytes == 2 * states


# --- inputs -----------------------------------------------------------------------------------------------


def test_inputs_come_from_the_seed_and_their_angles_spread():
    e = entry(shape=Shape("m", 2, 3, 64, 48))
    first, second = make_inputs(e, 2, "cpu")
    again = make_inputs(e, 2, "cpu")
    assert torch.equal(first.states, again[0].states)
    assert not torch.equal(first.states, second.states)
    assert not torch.equal(first.states, make_inputs(e, 1, "cpu", seed=1)[0].states)
    angles = kernels.pairwise_angles(first.states, backend="reference")
    assert angles.std() > 0.5


def test_pairs_meet_each_position_once():
    pairs = make_inputs(entry("pairs"), 1, "cpu")[0].pairs
    assert pairs is not None
    assert pairs.shape == (2, 3, 2)
    assert all(len(set(row.flatten().tolist())) == 6 for row in pairs)
    assert (pairs[..., 0] < pairs[..., 1]).all()


def test_planted_angles_are_where_they_are_said_to_be():
    for shape in registry.accuracy_shapes():
        states = make_inputs(entry("accuracy", shape=shape), 1, "cpu")[0].states
        angles = kernels.sequential_angles(states.double(), backend="reference")
        assert (angles - shape.angle).abs().max() < 2e-7


# --- parity -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("backend", ["eager", "naive", "cosine", "normalize", "loop"])
def test_backends_and_competitors_pass(operation, backend, dtype):
    e = entry(operation, backend, dtype)
    inputs = make_inputs(e, 1, "cpu")[0]
    form = measure.form_of(e)
    verdict = verify(e, lambda: form(inputs.states, inputs.pairs), true_values(e, inputs))
    assert verdict.reason == ""
    assert operation == "histogram" or verdict.max_error < (5e-7 if backend == "eager" else ARCCOS[dtype])


@pytest.mark.parametrize("operation", ["sequential", "rotation", "profile", "pairs"])
def test_windows_lie_where_the_results_lie(operation):
    shape = Shape("m", 5, 3, 200, 16)
    e = entry(operation, shape=shape)
    inputs = make_inputs(e, 1, "cpu")[0]
    truth = true_values(e, inputs, limit_bytes=40_000)
    assert "windows" in truth.compared
    result = measure.form_of(e)(inputs.states, inputs.pairs)
    assert {w.key for w in truth.windows} == set(result_shapes(e))
    for window in truth.windows:
        got = result[window.key][window.index]
        assert got.shape == window.expected.shape
        torch.testing.assert_close(got.double(), window.expected, atol=5e-7, rtol=1e-6)
    seen = torch.zeros(result_shapes(e)[truth.windows[0].key])
    for window in truth.windows:
        if window.key == truth.windows[0].key:
            seen[window.index] = 1
    assert seen[0, 0, 0]
    assert seen[-1, -1, -1]


def planted(e, spoil):
    """The eager form with its result spoilt."""

    def form(states, pairs):
        result = dict(measure.form_of(dataclasses.replace(e, backend="eager"))(states, pairs))
        return spoil(result)

    return form


def _shift(result):
    return {key: value + (1e-5 if value.is_floating_point() else 1) for key, value in result.items()}


def _hole(result):
    for value in result.values():
        fresh = torch.empty_like(value)
        fresh.flatten()[:-1] = value.flatten()[:-1]
        result = {**result, **{k: fresh for k in result if result[k] is value}}
    return result


def _zero(result):
    for value in result.values():
        value.view(-1)[value.argmax()] = 0
    return result


def _short(result):
    return {key: value[..., :-1] for key, value in result.items()}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("spoil", [_shift, _hole, _zero, _short, lambda result: {}])
def test_a_broken_kernel_is_caught_and_gets_no_time(operation, spoil):
    group = Group(operation, TINY, "float32", ("cpu", "eager"))

    def form_of(e):
        return planted(e, spoil) if e.backend == "cpu" else measure.form_of(e)

    rows = {row["backend"]: row for row in measure.measure_group(group, plan_with(form_of))}
    assert rows["cpu"]["status"].startswith("parity failed: ")
    for column in ("p20_ms", "p50_ms", "p80_ms", "gb_per_s", "peak_extra_bytes"):
        assert not rows["cpu"].get(column)
    assert rows["eager"]["status"] == "ok"
    assert float(rows["eager"]["p50_ms"]) > 0
    assert float(rows["copy"]["percent_of_copy"]) == pytest.approx(100, abs=0.1)


def test_poison_reaches_what_torch_allocates_and_is_taken_back():
    with poisoned_memory():
        assert torch.empty(1000).isnan().all()
        assert torch.randn(3, 4).new_empty(50).isnan().all()
    assert torch.get_deterministic_debug_mode() == 0


def test_a_backend_that_refuses_or_breaks_says_why():
    def form_of(e):
        if e.backend == "fused":
            raise BackendError("no CUDA here")
        raise ValueError("two\nlines")

    group = Group("sequential", TINY, "float32", ("fused", "cpu"))
    rows = list(measure.measure_group(group, plan_with(form_of)))
    assert [row["status"] for row in rows] == ["refused: no CUDA here", "error: ValueError: two"]
    assert not any(row.get("p50_ms") for row in rows)


def test_what_does_not_fit_is_said_and_not_tried(monkeypatch):
    monkeypatch.setattr(measure, "free_bytes", lambda device: 10**9)
    huge = Shape("llama-70b", 81, 1, 131072, 8192)
    rows = list(measure.measure_group(Group("profile", huge, "float32", ("eager",)), plan_with()))
    assert [row["status"] for row in rows] == ["does not fit: 348 GB, 1 GB free"]
    matrix = Shape("m", 1, 1, 16384, 8)
    rows = list(measure.measure_group(Group("pairwise", matrix, "float32", ("cosine",)), plan_with()))
    assert rows[-1]["status"].startswith("does not fit")


def test_rows_of_a_gpu_come_one_by_one_and_only_with_parity(monkeypatch):
    """The path of --gpu without a device: its inputs lie on the CPU, its clock and its memory are made up."""
    monkeypatch.setattr(measure, "make_inputs", lambda e, count, device: make_inputs(e, count, "cpu"))
    monkeypatch.setattr(measure, "free_bytes", lambda device: 10**12)
    monkeypatch.setattr(measure, "peak_extra_bytes", lambda call, device: 17)
    monkeypatch.setattr(measure, "gpu_times", lambda call: [call(0), 1e-3, 2e-3, 3e-3][1:])

    def form_of(e):
        if e.backend == "loop":
            raise torch.cuda.OutOfMemoryError
        return planted(e, _hole) if e.backend == "fused" else measure.form_of(e)

    plan = dataclasses.replace(plan_with(form_of), device="cuda")
    group = Group("profile", TINY, "float32", ("fused", "eager", "naive", "loop"))
    rows = list(measure.measure_group(group, plan))
    assert [row["backend"] for row in rows] == ["copy", "read", "fused", "eager", "naive", "loop"]
    assert [row["status"][:6] for row in rows[2:]] == ["parity", "ok", "ok", "does n"]
    assert [row.get("p50_ms", "") for row in rows] == ["2", "2", "", "2", "2", ""]
    assert rows[3]["peak_extra_bytes"] == "17"
    assert float(rows[0]["percent_of_copy"]) == 100


def test_capture_rows_come_from_the_command(monkeypatch):
    group = registry.capture_groups()[0]
    rows = [{"backend": name, "ms_p20": "1", "ms_p50": "2", "ms_p80": "3"} for name in ("plain", "meter")]
    found = {row["backend"]: {**row, "peak_extra_bytes": "5"} for row in rows}
    monkeypatch.setattr(capture_rows, "_measured", lambda *given: (found, "error: no row"))
    made = {row["backend"]: row for row in measure.measure_group(group, plan_with())}
    assert (made["meter"]["status"], made["meter"]["p50_ms"]) == ("ok", "2")
    assert made["plain"]["peak_extra_bytes"] == "5"
    assert made["hf"]["status"] == "error: no row"
    monkeypatch.setattr(capture_rows, "find_spec", lambda name: None)
    statuses = {row["status"] for row in measure.measure_group(group, plan_with())}
    assert statuses == {"skipped: transformer-lens is not installed"}


def test_capture_of_a_small_model(monkeypatch, capsys):
    """Three blocks, through the command's own parity check; its processes for peak memory are left out."""
    monkeypatch.setattr(capture, "peak_bytes", lambda arguments, name: "5")
    monkeypatch.setitem(capture_rows.PARAMETERS, "tiny", 1e6)

    def in_process(command, **rest):
        assert command[1:3] == ["-m", "benchmarks.capture"]
        capture.main(command[3:])
        return subprocess.CompletedProcess(command, 0, capsys.readouterr().out, "")

    monkeypatch.setattr(capture_rows.subprocess, "run", in_process)
    monkeypatch.setattr(measure, "CAPTURE_S", 0.0)
    group = Group("capture", Shape("tiny", 4, 1, 16, 64), "float32", registry.CAPTURE)
    rows = list(measure.measure_group(group, plan_with()))
    assert [(row["backend"], row["status"]) for row in rows] == [(name, "ok") for name in registry.CAPTURE]
    assert all(float(row["p20_ms"]) <= float(row["p50_ms"]) <= float(row["p80_ms"]) for row in rows)
    text = tables.costs_table([dict.fromkeys(table.COLUMNS, "") | row for row in rows], "meter")
    assert "| 1.000 |" in text

    monkeypatch.setattr(
        capture, "verify", lambda *given: "rotation of the meter is 1.0e-01 rad from that of hf"
    )

    def failing(command, **rest):
        with pytest.raises(SystemExit) as stop:
            capture.main(command[3:])
        return subprocess.CompletedProcess(command, 1, capsys.readouterr().out, f"{stop.value}\n")

    monkeypatch.setattr(capture_rows.subprocess, "run", failing)
    rows = list(measure.measure_group(group, plan_with()))
    assert {row["status"][:13] for row in rows} == {"parity failed"}
    assert not any(row.get("p50_ms") for row in rows)


def test_compiling_is_skipped_with_the_reason(monkeypatch):
    group = Group("sequential", TINY, "float32", ("naive", "compile"))
    assert list(measure.measure_group(group, plan_with(left=1)))[-1]["status"] == measure.NO_TIME
    monkeypatch.setattr(measure.shutil, "which", lambda name: None)
    assert list(measure.measure_group(group, plan_with()))[-1]["status"] == "skipped: no C++ compiler"


def test_competitors_are_what_their_users_write():
    states = torch.randn(2, 3, 5, 16)
    expected = torch.nn.functional.cosine_similarity(states[:, :, 1:], states[:, :, :-1], dim=-1).arccos()
    for backend in ("naive", "cosine", "normalize", "loop"):
        got = competitor(backend, "sequential")(states, None)["sequential"]
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


# --- time and memory --------------------------------------------------------------------------------------


def test_repeats_take_turns_over_the_input_sets():
    seen = []
    times = timing.cpu_times({name: lambda turn, n=name: seen.append((n, turn)) for name in "ab"}, 0.0)
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert all(low <= middle <= high for low, middle, high in times.values())


@pytest.mark.skipif(sys.platform != "linux", reason="resident pages are read from /proc")
def test_added_memory_counts_temporaries_and_results():
    data = torch.randn(2**22)
    added = timing.peak_extra_bytes(lambda turn: (data + 1).sum(), "cpu")
    if added is None:
        pytest.skip("this system does not let a process reset its high-water mark")
    assert added == pytest.approx(2**24, rel=0.2)
    assert timing.peak_extra_bytes(lambda turn: data.sum(), "cpu") < 2**22


def test_one_thread_in_the_cache_is_measured_beside_a_sum():
    before = torch.get_num_threads()
    times = timing.one_thread_times({name: lambda turn: torch.get_num_threads() for name in "ab"}, 3)
    assert set(times) == {"a", "b"}
    assert torch.get_num_threads() == before
    seen = []

    def form_of(e):
        form = measure.form_of(e)
        return lambda states, pairs: (seen.append((e.backend, tuple(states.shape))), form(states, pairs))[1]

    group = Group("profile", Shape("m", 2, 3, 40, 2**15), "float32", ("cpu", "eager"))
    rows = {row["backend"]: row for row in measure.measure_group(group, plan_with(form_of))}
    assert seen.count(("cpu", (2, 1, 32, 2**15))) == 30  # 8 MiB of one prompt
    assert ("eager", (2, 1, 32, 2**15)) not in seen
    assert float(rows["cpu"]["cached_gb_per_s"]) > 0
    assert float(rows["cpu"]["cached_sum_gb_per_s"]) > 0
    assert not rows["eager"].get("cached_gb_per_s")
    text = tables.times_table([dict.fromkeys(table.COLUMNS, "") | row for row in rows.values()], "cpu")
    ratio = float(rows["cpu"]["cached_gb_per_s"]) / float(rows["cpu"]["cached_sum_gb_per_s"])
    assert f"({ratio:.2f}×)" in text
    assert "cached" not in tables.times_table([], "fused")


# --- the table --------------------------------------------------------------------------------------------


def tiny_groups():
    return [
        Group("sequential", TINY, "float32", ("eager", "naive")),
        Group("rotation", TINY, "float32", ("eager",)),
    ]


@pytest.fixture
def small_run(monkeypatch, tmp_path):
    """`main` with two tiny groups and a setting that a test may change; what was measured is listed."""
    monkeypatch.setattr(registry, "quick_groups", tiny_groups)
    monkeypatch.setattr(run, "SECONDS", 0.0)
    setting = {"commit": "abc"}
    monkeypatch.setattr(table, "source_version", lambda: setting["commit"])
    measured = []
    original = measure.measure_group

    def counted(group, plan):
        measured.append(group.operation)
        yield from original(group, plan)

    monkeypatch.setattr(measure, "measure_group", counted)
    return tmp_path / "quick.csv", setting, measured


def test_a_run_writes_every_column_and_goes_on_where_it_was(small_run):
    path, setting, measured = small_run
    assert run.main(["--quick", "--out", str(path)]) == 0
    rows = table.read_rows(path)
    with path.open(encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(table.COLUMNS)
    names = [f"{row['op']} {row['backend']}" for row in rows]
    assert names == [
        *("floor copy", "floor read", "sequential eager", "sequential naive", "rotation eager"),
    ]
    for row in rows:
        assert row["status"] == "ok"
        assert float(row["p20_ms"]) <= float(row["p50_ms"]) <= float(row["p80_ms"])
        assert float(row["gb_per_s"]) == pytest.approx(
            int(row["bytes"]) / float(row["p50_ms"]) / 1e6, rel=1e-3
        )
        assert row["seq_len"] == "7"
        assert row["commit"] == "abc"
    first = path.read_bytes()
    assert run.main(["--quick", "--out", str(path)]) == 0
    assert measured == ["sequential", "rotation"]
    assert path.read_bytes() == first
    table.write_rows(path, [row for row in rows if row["op"] != "rotation"])
    assert run.main(["--quick", "--out", str(path)]) == 0
    assert measured == ["sequential", "rotation", "rotation"]
    setting["commit"] = "def"
    assert run.main(["--quick", "--out", str(path)]) == 0
    assert measured[3:] == ["sequential", "rotation"]
    assert {row["commit"] for row in table.read_rows(path)} == {"def"}


def test_a_run_that_is_stopped_keeps_its_rows(small_run, monkeypatch):
    path, _, _ = small_run
    counted = measure.measure_group

    def stopped(group, plan):
        if group.operation == "rotation":
            raise KeyboardInterrupt
        yield from counted(group, plan)

    monkeypatch.setattr(measure, "measure_group", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.main(["--quick", "--out", str(path)])
    assert {row["op"] for row in table.read_rows(path)} == {"floor", "sequential"}
    assert os.listdir(path.parent) == [path.name]


def test_without_time_left_nothing_starts_and_that_is_said(small_run, capsys):
    path, _, measured = small_run
    assert run.main(["--quick", "--out", str(path), "--budget", "0"]) == 0
    assert measured == []
    assert "3 entries were not reached" in capsys.readouterr().out


def test_only_chooses_entries(small_run, capsys):
    path, _, _ = small_run
    assert run.main(["--quick", "--out", str(path), "--only", "*/naive/*"]) == 0
    assert {row["backend"] for row in table.read_rows(path)} == {"copy", "read", "naive"}
    assert run.main(["--quick", "--only", "nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_failure_of_this_package_is_the_exit_status(small_run, monkeypatch, capsys):
    path, _, _ = small_run
    form_of = measure.form_of
    monkeypatch.setattr(
        measure, "form_of", lambda e: planted(e, _shift) if e.backend == "eager" else form_of(e)
    )
    # `planted` itself asks for the eager form
    monkeypatch.setattr(
        sys.modules[__name__], "planted", lambda e, spoil: lambda x, p: spoil(dict(form_of(e)(x, p)))
    )
    assert run.main(["--quick", "--out", str(path)]) == 1
    assert "FAILED" in capsys.readouterr().err
    assert all(not row["p50_ms"] for row in table.read_rows(path) if row["backend"] == "eager")


def test_a_commit_is_marked_where_files_differ(monkeypatch):
    answers = {"rev-parse": "0123456789", "status": ""}
    monkeypatch.setattr(table, "_git", lambda name, *rest: answers[name])
    assert table.source_version() == "0123456789"
    answers["status"] = " M src/x.py"
    assert table.source_version().startswith("0123456789+")
    monkeypatch.setattr(table, "_git", lambda *arguments: None)
    assert table.source_version().startswith("sources ")


# --- the command ------------------------------------------------------------------------------------------

BLOCKED = """
import importlib.abc, json, runpy, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is not on a bare image", name=name)
sys.meta_path.insert(0, Block())
sys.argv = {argv!r}
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as stop:
    print(json.dumps([stop.code, sys.modules["laminar_lens"].__file__]))
"""
ABSENT = (
    *("transformer_lens", "transformers", "plotly", "xarray", "scipy", "sklearn", "pandas", "typer", "rich"),
    *("jinja2", "numba", "h5netcdf", "h5py", "beartype", "playwright", "tokenizers", "huggingface_hub"),
)


def test_a_bare_image_can_run_it_from_a_checkout(tmp_path):
    argv = ["benchmarks/run.py", "--quick", "--out", str(tmp_path / "o.csv")]
    argv += ["--only", "accuracy/*angle=1 *", "--only", "pairwise/naive/*"]
    script = BLOCKED.format(blocked=ABSENT, argv=argv)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TRITON_INTERPRET")}
    (tmp_path / "tests").mkdir()  # as careless projects install one
    (tmp_path / "tests" / "__init__.py").touch()
    environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    code, source = json.loads(done.stdout.splitlines()[-1])
    assert Path(source).is_relative_to(ROOT), "it measured another copy than this checkout"
    rows = {(row["op"], row["backend"]): row for row in table.read_rows(tmp_path / "o.csv")}
    assert rows["accuracy", "eager"]["status"] == "ok"
    assert rows["accuracy", "cpu"]["status"].startswith(("refused", "error")), "numba is blocked here"
    assert float(rows["pairwise", "naive"]["p50_ms"]) > 0
    assert float(rows["floor", "copy"]["gb_per_s"]) > 0
    assert code in (0, 1), done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_without_a_gpu_is_one_line_and_status_2(capsys):
    assert run.main(["--gpu"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "CUDA" in said.err


def test_the_interpreter_is_not_timed(monkeypatch, capsys):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert run.main(["--quick"]) == 2
    assert "TRITON_INTERPRET" in capsys.readouterr().err


def test_list_measures_nothing(capsys):
    assert run.main(["--quick", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(measure.entries_of(registry.quick_groups()))


# --- figures and tables -----------------------------------------------------------------------------------


def synthetic_rows(fast="cpu"):
    """A CSV's rows with round numbers, for every figure."""
    rows = []

    def add(operation, backend, shape, milliseconds, **more):
        e = Entry(operation, backend, shape, "float32")
        row = dict.fromkeys(table.COLUMNS, "") | {
            **dict(zip(("op", "backend", "shape", "dtype"), e.key, strict=True)),
        }
        row |= {"seq_len": str(shape.pos), "status": "ok", "device": "a machine", "threads": "2"}
        row |= {"versions": "torch 2", "commit": "abc", "date": "2026-01-01", "bytes": str(e.bytes)}
        if milliseconds:
            row |= dict.fromkeys(("p20_ms", "p50_ms", "p80_ms"), str(milliseconds))
            row |= {"gb_per_s": str(e.bytes / milliseconds / 1e6), "percent_of_copy": "50"}
        rows.append(row | more)

    for pos in (128, 1024, 8192):
        shape = Shape("gpt2-xl", 4, 2, pos, 1600, "4 of 49 layers")
        for backend, factor in (("copy", 0.5), ("read", 0.4)):
            add("floor", backend, shape, factor * pos)
        for backend, factor in ((fast, 1.0), ("eager", 5.0), ("naive", 20.0)):
            add("sequential", backend, shape, factor * pos, peak_extra_bytes="1000")
    for layers in (7, 49):
        for backend, size in ((fast, 1000), ("naive", 10**8)):
            shape = Shape("gpt2-xl", layers, 1, 1024, 1600)
            add("profile", backend, shape, 1.0, peak_extra_bytes=str(size * layers))
    for shape in registry.accuracy_shapes():
        for backend, error in ((fast, "1.00e-07"), ("naive", "5.00e-04")):
            add("accuracy", backend, shape, None, max_error_rad=error)
    add("sequential", "compile", Shape("m", 1, 1, 2, 3), None, status="skipped: no C++ compiler")
    return rows


def test_figures_show_what_the_rows_say():
    made = plot.figures(synthetic_rows())
    assert set(made) == {"bandwidth", "speedup", "error", "memory"}
    speed = {trace.name: list(trace.y) for trace in made["speedup"].data}
    assert speed["cpu (ours)"] == pytest.approx([20, 20, 20])
    assert speed["naive einops"] == pytest.approx([1, 1, 1])
    assert "copy (measured)" in {trace.name for trace in made["bandwidth"].data}
    memory = {trace.name: list(trace.y) for trace in made["memory"].data}
    assert memory["naive einops"] == pytest.approx([700, 4900])
    errors = {trace.name: list(trace.y) for trace in made["error"].data}
    assert set(errors["cpu (ours)"]) == {1e-7}
    assert plot.figures([row for row in synthetic_rows() if row["status"] != "ok"]) == {}


def test_figures_are_written_as_pages(tmp_path, capsys):
    path = tmp_path / "quick.csv"
    table.write_rows(path, synthetic_rows())
    assert plot.main(["--html", str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert "plotly" in (tmp_path / "quick-memory.html").read_text(encoding="utf-8").lower()


def test_tables_come_from_the_csv(tmp_path):
    text = "a\n<!-- table cpu-times -->\nold\n<!-- end -->\n<!-- table gpu-times -->\n<!-- end -->\nb\n"
    table.write_rows(tmp_path / "quick.csv", synthetic_rows())
    made = tables.rendered(text, tmp_path)
    assert "old" not in made
    assert "| sequential | gpt2-xl 4x2x128x1600 (4 of 49 layers) | float32 | 128 (128–128)" in made
    assert "2,560 (20×)" in made
    assert tables.NOT_ON_GPU in made
    assert tables.rendered(made, tmp_path) == made
    table.write_rows(tmp_path / "gpu.csv", synthetic_rows("fused"))
    assert tables.NOT_ON_GPU not in tables.rendered(text, tmp_path)


def test_the_committed_tables_are_those_of_the_committed_csv():
    assert tables.main(["--check"]) == 0


def test_the_committed_csv_has_no_time_without_parity():
    found = sorted((ROOT / "benchmarks/results").glob("*.csv"))
    assert "quick.csv" in {path.name for path in found}
    for path in found:
        for row in table.read_rows(path):
            assert row["status"] == "ok" or not row["p50_ms"]
            if row["status"] == "ok" and row["op"] not in ("floor", "histogram", "capture", "study"):
                assert math.isfinite(float(row["max_error_rad"]))
