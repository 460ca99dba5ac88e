"""Full disks, damaged files, hostile ones: the older file survives, and HDF5 meets no damage."""

import collections
import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr

from laminar_lens.errors import ResultError
from laminar_lens.results import StudyResult, load_result
from laminar_lens.results.seal import seal_of
from laminar_lens.results.sizes import RATIO
from tests.synthetic import sequential_dataset

FORMAT = {"study": "sequential", "format": "laminar-lens/1"}
CLEAN, REFUSED = 0, 3


SOME = ["target_angle", "position_angle", "token", "claim_verdict"]  # numbers and text, plain and compressed


@pytest.fixture(scope="module")
def small() -> StudyResult:
    return StudyResult(sequential_dataset(n_layers=2, n_prompts=2)[SOME])


@pytest.fixture(scope="module")
def large() -> StudyResult:
    return StudyResult(sequential_dataset(n_layers=8, n_prompts=200)[SOME])


def sealed(path: Path) -> Path:
    path.write_bytes((raw := path.read_bytes()) + seal_of(raw))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ResultError) as error:
        load_result(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


# ------------------------------------------------------------------------------------------------- full disks


def saved_in_a_child(result: StudyResult, path: Path, limit: int | None = None) -> int:
    """Exit status of a process that saves: CLEAN, REFUSED in one line, or −signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if limit is not None:  # Python ignores SIGXFSZ: a write past the limit is an OSError
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            result.save(path)
            status = CLEAN
        except ResultError as error:
            status = REFUSED if "\n" not in str(error) else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_file_that_may_not_grow_is_one_line_and_the_earlier_one_stays(small, large, tmp_path):
    path = small.save(tmp_path / "study.nc")
    before, size = path.read_bytes(), large.save(tmp_path / "large.nc").stat().st_size
    for limit in (0, 1, 4096, size // 2, size - 1):
        assert saved_in_a_child(large, path, limit) == REFUSED
        assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["large.nc", "study.nc"]
    assert saved_in_a_child(large, path, size) == CLEAN
    assert path.read_bytes() == (tmp_path / "large.nc").read_bytes()


@pytest.fixture
def small_disk(tmp_path):
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs Linux and root")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_disk_that_fills_at_any_point_is_one_line_and_the_earlier_file_stays(small, large, small_disk):
    path = small.save(small_disk / "study.nc")
    before = path.read_bytes()
    seen = collections.Counter()
    for free in np.linspace(0, 400_000, 40).astype(int):
        disk = os.statvfs(small_disk)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(max(0, disk.f_bavail * disk.f_bsize - int(free))))
        status = saved_in_a_child(large, path)
        assert status in (CLEAN, REFUSED), free
        assert set(os.listdir(small_disk)) == {"filler", "study.nc"}
        filler.unlink()
        seen[status] += 1
        if status == REFUSED:
            assert path.read_bytes() == before
        else:
            assert load_result(path).numbers_sha256 == large.numbers_sha256
            path.unlink()
            small.save(path)
    assert seen[REFUSED] > 10


def test_a_device_that_refuses_to_keep_what_was_written_is_one_line(small, tmp_path, monkeypatch):
    path = small.save(tmp_path / "study.nc")
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultError, match="No space left on device") as error:
        small.save(path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["study.nc"]


def test_equal_results_are_equal_bytes(small, tmp_path):
    first = small.save(tmp_path / "a.nc").read_bytes()
    assert load_result(tmp_path / "a.nc").save(tmp_path / "b.nc").read_bytes() == first
    time.sleep(1.1)  # the resolution of the times that HDF5 can write
    assert small.save(tmp_path / "c.nc").read_bytes() == first


# ---------------------------------------------------------------------------------------------- damaged files


def test_every_flipped_bit_is_refused_at_once_and_before_hdf5(small, tmp_path, monkeypatch):
    path = small.save(tmp_path / "study.nc")
    raw = path.read_bytes()
    monkeypatch.setattr(xr, "load_dataset", lambda *_, **__: pytest.fail("damaged bytes were given to HDF5"))
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("damaged bytes were given to HDF5"))
    last = range(len(raw) - 200, len(raw))
    places = {*last, *range(64), *np.random.default_rng(0).integers(0, len(raw), 300).tolist()}
    for place in sorted(places):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        began = time.process_time()
        refusal(path)
        assert time.process_time() - began < 1
    for place in last:  # cut off anywhere near the end, or something after it
        path.write_bytes(raw[:place])
        refusal(path)
    path.write_bytes(raw + b"\n")
    refusal(path)


def test_a_copy_by_another_tool_is_refused_with_what_to_do(small, tmp_path):
    copy = tmp_path / "copy.nc"
    xr.load_dataset(small.save(tmp_path / "study.nc"), engine="h5netcdf").to_netcdf(copy, engine="h5netcdf")
    message = refusal(copy)
    assert "copied by another tool" in message
    assert "as save() wrote it" in message


# ---------------------------------------------------------------------------------------------- hostile files


def test_arrays_that_a_file_cannot_hold_are_refused_before_they_are_made(tmp_path):
    claims = {
        "never written": ((40_000, 40_000), {"dtype": "f4"}),
        "one chunk written": ((40_000, 40_000), {"dtype": "f4", "chunks": (100, 100)}),
        "compressed": ((10_000, 40_000), {"dtype": "f8", "chunks": (10, 10), "compression": "gzip"}),
        "text": ((300_000_000,), {"dtype": "S8"}),
        "strings": ((300_000_000,), {"dtype": h5py.string_dtype()}),
    }
    for name, (shape, how) in claims.items():
        path = tmp_path / f"{name}.nc"
        with h5netcdf.File(path, "w") as file:
            file.attrs.update(FORMAT)
            file.dimensions = {f"axis_{i}": size for i, size in enumerate(shape)}
            made = file.create_variable("x", tuple(file.dimensions), **how)
            if "chunks" in how:
                made[:10, :10] = 1
        assert path.stat().st_size < 100_000
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        message = refusal(sealed(path))
        assert "'x'" in message, name
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, f"{name}: kilobytes"


def test_strings_that_share_their_bytes_are_counted_each(tmp_path):
    path = tmp_path / "shared.nc"
    with h5py.File(path, "w") as file:
        file.attrs.update(FORMAT)
        made = file.create_dataset("x", (20_000,), h5py.string_dtype())
        made[0] = "a" * 60_000
        offset = made.id.get_offset()
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 16 * 20_000] = raw[offset : offset + 16] * 20_000  # 1.2 GB of text in 0.4 MB
    path.write_bytes(raw)
    assert "1,200,000,000 bytes of text" in refusal(sealed(path))


def test_variables_that_share_their_bytes_are_counted_each(tmp_path):
    path = tmp_path / "shared.nc"
    with h5py.File(path, "w") as file:
        file.attrs.update(FORMAT)
        file["x0"] = np.zeros(100_000)
        for index in range(1, 100):  # 80 MB of numbers in 0.8 MB
            file[f"x{index}"] = file["x0"]
    message = refusal(sealed(path))
    assert f"bytes of arrays in a file of {path.stat().st_size:,}" in message


def hostile(how: str, file: h5py.File, elsewhere: Path) -> None:
    if how == "external":
        file.create_dataset("x", (4,), "u1", external=[(str(elsewhere), 0, 4)])
    elif how == "virtual":
        layout = h5py.VirtualLayout((4,), "u1")
        layout[:] = h5py.VirtualSource(str(elsewhere), "x", (4,))
        file.create_virtual_dataset("x", layout)
    elif how == "link":
        file["x"] = h5py.ExternalLink(str(elsewhere), "/x")
    elif how == "soft":
        file["x"] = h5py.SoftLink("/nowhere")
    elif how == "group":
        file.create_group("x")
    elif how == "within":
        file.create_group("plain/answer/x/answer")
    elif how == "below":
        for depth in range(8):
            file.create_group("/".join(["plain", *["warmup"] * depth, "answer"]))
    elif how == "again":
        file.create_group("plain/answer")
        file.create_group("plain/x/answer")
        file["plain/x/y"] = file["plain/x"]
    elif how == "of another name":
        file.create_group("plain/answer")
        file.create_group("plain/'x'/answer")
    elif how == "answer of an answer":
        file.create_group("x/answer/measured")
    elif how == "filter":
        file.create_dataset("x", (4,), "i4", chunks=(4,), scaleoffset=0)
    elif how == "compound":
        file.create_dataset("x", (4,), np.dtype([("a", "i4"), ("b", "f8")]))
    elif how == "lists":
        file.create_dataset("x", (4,), h5py.vlen_dtype(np.int32))
    else:
        file.attrs.create("x", ["a"] * 4, dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    "how",
    [
        "external",
        "virtual",
        "link",
        "soft",
        "group",
        "within",
        "below",
        "again",
        "of another name",
        "answer of an answer",
        "filter",
        "compound",
        "lists",
        "attribute",
    ],
)
def test_what_save_does_not_write_is_not_read(how, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"none of its business")
    path = tmp_path / "hostile.nc"
    with h5py.File(path, "w") as file:
        file.attrs.update(FORMAT)
        hostile(how, file, tmp_path / "elsewhere")
    said = refusal(sealed(path))
    assert repr({"below": "answer", "answer of an answer": "measured"}.get(how, "x")) in said
    assert "altered after" not in said


def test_what_compresses_as_well_as_can_be_loads(tmp_path):
    nothing = np.full((50, 200, 100), np.nan)
    dataset = sequential_dataset(n_layers=2, n_prompts=2).assign(nothing=(("a", "b", "c"), nothing))
    path = StudyResult(dataset).save(tmp_path / "study.nc")
    assert nothing.nbytes > 0.9 * RATIO / 1032 * path.stat().st_size
    assert np.isnan(load_result(path).dataset["nothing"].values).all()
