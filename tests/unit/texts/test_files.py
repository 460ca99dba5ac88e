"""Files of texts: JSON, JSON lines, Parquet, data sets' folders, and all of them packed."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laminar_lens.errors import InputError
from laminar_lens.prompts import read_prompts
from laminar_lens.texts import files, reading
from laminar_lens.texts.files import holds_records, read_groups, read_texts

TEXTS = ("Ovens went cold on Tuesday.", '"Walk," said Nuša — slowly.', "  two\nlines\tand\\ a 🗺️ ", "a" * 3000)


def records(field: str = "text") -> list[dict[str, Any]]:
    return [{"id": k, field: text, "other": None} for k, text in enumerate(TEXTS)]


def json_list(path: Path, rows: list[Any]) -> None:
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")


def json_lines(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def parquet(path: Path, rows: list[Any]) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def folder(path: Path, rows: list[Any]) -> None:
    pytest.importorskip("datasets").Dataset.from_list(rows).save_to_disk(str(path))


WRITERS: dict[str, Callable[[Path, list[Any]], None]] = {
    "a.json": json_list,
    "lines.json": json_lines,
    "b.jsonl": json_lines,
    "c.parquet": parquet,
    "folder": folder,
}


def refusal(path: Any) -> str:
    with pytest.raises(InputError) as error:
        read_texts(path)
    said = str(error.value)
    assert "\n" not in said
    assert len(said) < 600
    return said


@pytest.fixture(params=WRITERS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[Any]], Path]:
    """Writes records into a file of each kind."""

    def write(rows: list[Any]) -> Path:
        path = tmp_path / request.param
        WRITERS[request.param](path, rows)
        return path

    return write


def packed(path: Path) -> Path:
    found = path.with_name(f"{path.name}.gz")
    found.write_bytes(gzip.compress(path.read_bytes()))
    return found


class TestRecords:
    def test_the_field_text_by_default(self, written: Any) -> None:
        path = written(records())
        assert read_texts(path) == (TEXTS, 0)
        assert holds_records(path)
        assert read_prompts(str(path)) == TEXTS

    def test_the_field_that_is_named(self, written: Any) -> None:
        path = written(records("body"))
        assert read_texts(f"{path}:body").texts == read_texts(Path(f"{path}:body")).texts == TEXTS

    @pytest.mark.parametrize("name", [name for name in WRITERS if name != "folder"])
    def test_packed(self, tmp_path: Path, name: str) -> None:
        WRITERS[name](tmp_path / name, records())
        assert read_texts(packed(tmp_path / name)).texts == TEXTS

    def test_blank_ones_are_left_out_and_counted(self, written: Any) -> None:
        rows = [*records(), {"id": 9, "text": " \n"}, {"id": 8, "text": None}, {"id": 7, "text": ""}]
        found = read_texts(written(rows))
        assert found == (TEXTS, 3)
        assert found.note == ["3 of 7 texts are blank: left out."]

    def test_blank_prompts_are_refused(self, written: Any) -> None:
        with pytest.raises(InputError, match="has 1 blank prompts"):
            read_prompts(written([*records(), {"id": 9, "text": ""}]))

    def test_nothing_but_blank_ones(self, written: Any) -> None:
        assert "is empty: no record of it has a text" in refusal(written([{"text": " "}, {"text": ""}]))

    def test_a_missing_field_is_named_with_those_there_are(self, written: Any) -> None:
        path = written(records("body"))
        said = refusal(path)
        assert "has no field 'text'; it has id, body, other" in said
        assert f"{path}:body" in said
        assert "has no field 'boddy'; it has id, body, other" in refusal(f"{path}:boddy")

    def test_a_field_without_texts(self, written: Any) -> None:
        said = refusal(f"{written(records())}:id")
        assert "field 'id'" in said
        assert "no text: name another" in said

    def test_repeats_stay_for_the_study_to_count(self, written: Any) -> None:
        assert read_texts(written([{"text": "the same"}] * 5)).texts == ("the same",) * 5


class TestJson:
    def test_texts_without_objects(self, tmp_path: Path) -> None:
        json_list(tmp_path / "a.json", list(TEXTS))
        json_lines(tmp_path / "b.jsonl", list(TEXTS))
        assert read_texts(tmp_path / "a.json").texts == read_texts(tmp_path / "b.jsonl").texts == TEXTS
        assert "of line 1 is" in refusal(f"{tmp_path / 'b.jsonl'}:body")

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("a.jsonl", '{"text": "x"}\n{"text": ', "is not JSON at line 2"),
            ("a.jsonl", '{"text": "x"}\n\n{"text": "y"}', "is not JSON at line 2"),
            ("a.json", '[\n{"text": "x"},\n{"text" "y"}]', "is not JSON at line 3"),
            ("a.json", "{\n  'text': 'x'}", "is not JSON at line 1"),
            ("a.jsonl", '["x"]', "instead of line 1 is ['x']; expected an object"),
            ("a.json", '[{"text": "x"}, 3]', "instead of record 2 is 3; expected an object"),
            ("a.json", '[{"text": "x"}, {"txt": "y"}]', "record 2 has no field 'text'; it has txt"),
            ("a.jsonl", '{"text": "x"}\n{}', "line 2 has no field 'text'; it has none"),
            ("a.jsonl", '{"text": ["x"]}', "field 'text' of line 1 is ['x'], no text"),
            ("a.jsonl", "[" * 100_000, "is not JSON at line 1"),
            ("a.json", "[" * 100_000, "is not JSON at line 1"),
            ("a.jsonl", '{"text": ' + "1" * 5000 + "}", "is not JSON at line 1"),
            ("a.json", " \n", "is empty"),
            ("a.jsonl", "", "is empty"),
            ("a.json", "[]", "is empty"),
        ],
    )
    def test_bad_ones(self, tmp_path: Path, name: str, content: str, said: str) -> None:
        (tmp_path / name).write_text(content, encoding="utf-8")
        assert said in refusal(tmp_path / name)

    def test_many_fields_are_cut(self, tmp_path: Path) -> None:
        json_lines(tmp_path / "a.jsonl", [{f"a long\nname {k}" * 9: "x" for k in range(90)}])
        assert ", …" in refusal(tmp_path / "a.jsonl")


class TestParquet:
    def test_other_kinds_of_text(self, tmp_path: Path) -> None:
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        text = pa.array(TEXTS)
        columns = {
            "large": text.cast(pa.large_string()),
            "coded": text.dictionary_encode(),
            "n": [1, 2, 3, 4],
        }
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        for name in ("large", "coded"):
            assert read_texts(f"{tmp_path / 'a.parquet'}:{name}").texts == TEXTS
        assert "is 'of type int64', no text" in refusal(f"{tmp_path / 'a.parquet'}:n")
        assert f"{tmp_path / 'a.parquet'}:large" in refusal(tmp_path / "a.parquet")

    @pytest.mark.parametrize("content", [b"", b"PAR1", b"text", b"PAR1" + b"\0" * 60 + b"PAR1"])
    def test_no_parquet(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "a.parquet").write_bytes(content)
        assert "Parquet" in refusal(tmp_path / "a.parquet")

    def test_cut_short(self, tmp_path: Path) -> None:
        parquet(tmp_path / "a.parquet", records())
        (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-200] + b"PAR1")
        assert "cannot be read as Parquet" in refusal(tmp_path / "a.parquet")

    def test_more_than_a_gibibyte_of_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        parquet(tmp_path / "a.parquet", [{"text": "word " * 50}] * 4000)  # packs to a few kilobytes
        monkeypatch.setattr("laminar_lens.texts.records.MOST_BYTES", 100_000)
        assert "holds over 100,000 bytes of text" in refusal(tmp_path / "a.parquet")


class TestDataSets:
    def test_splits_are_named(self, tmp_path: Path) -> None:
        library = pytest.importorskip("datasets")
        both = {name: library.Dataset.from_list(records()) for name in ("train", "test")}
        library.DatasetDict(both).save_to_disk(str(tmp_path / "set"))
        said = refusal(f"{tmp_path / 'set'}:text")
        assert "holds the splits train, test" in said
        assert f"{tmp_path / 'set' / 'train'}:text" in said
        assert read_texts(tmp_path / "set" / "test").texts == TEXTS

    def test_chosen_rows_in_their_order(self, tmp_path: Path) -> None:
        rows = pytest.importorskip("datasets").Dataset.from_list(records()).select([3, 1])
        rows.with_format("torch").save_to_disk(str(tmp_path / "set"))
        assert read_texts(tmp_path / "set").texts == (TEXTS[3], TEXTS[1])

    def test_another_folder(self, tmp_path: Path) -> None:
        assert "is a folder, and only regular files are read" in refusal(tmp_path)
        assert not holds_records(tmp_path)

    def test_a_damaged_one(self, tmp_path: Path) -> None:
        folder(tmp_path / "set", records())
        for file in (tmp_path / "set").glob("*.arrow"):
            file.write_bytes(file.read_bytes()[:100])
        assert "cannot be read as a data set" in refusal(tmp_path / "set")
        (tmp_path / "set" / "dataset_info.json").write_text("{", encoding="utf-8")
        assert "dataset_info.json is not JSON" in refusal(tmp_path / "set")


class TestPlaces:
    def test_a_colon_in_a_name(self, tmp_path: Path) -> None:
        json_lines(tmp_path / "a.jsonl:body", records())
        (tmp_path / "a.jsonl:body").rename(tmp_path / "note: one.txt")
        (tmp_path / "note: one.txt").write_text("x\ny\n", encoding="utf-8")
        assert read_texts(tmp_path / "note: one.txt").texts == ("x", "y")

    def test_a_field_of_a_text_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("x", encoding="utf-8")
        assert "'a.txt' has no fields; only .json, .jsonl, .parquet" in refusal(tmp_path / "a.txt:body")

    def test_no_field_behind_the_colon(self, tmp_path: Path) -> None:
        json_lines(tmp_path / "a.jsonl", records())
        assert "ends in a colon" in refusal(f"{tmp_path / 'a.jsonl'}:")

    @pytest.mark.parametrize(
        "name", ["none.jsonl", "none.jsonl:body", "none.parquet", "none.txt", "none:body"]
    )
    def test_what_is_not_there(self, tmp_path: Path, name: str) -> None:
        assert "does not exist" in refusal(tmp_path / name)

    @pytest.mark.parametrize("given", [None, 3, ["a"], b"a"])
    def test_no_path(self, given: Any) -> None:
        assert "give its path" in refusal(given)

    def test_no_file_of_bytes_is_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"PK\3\4\0\0")
        assert "is binary (character 4 is a zero)" in refusal(tmp_path / "a.txt")
        (tmp_path / "a.jsonl").write_bytes(np.random.default_rng().bytes(300) + b"\xff")
        assert "is not UTF-8" in refusal(tmp_path / "a.jsonl")


class TestPacked:
    def test_lines(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("one\r\ntwo\n", encoding="utf-8")
        assert read_texts(packed(tmp_path / "a.txt")).texts == ("one", "two")
        assert reading.read_document(packed(tmp_path / "a.txt")) == "one\ntwo\n"

    def test_what_is_no_gzip(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt.gz").write_text("one", encoding="utf-8")
        assert "cannot be unpacked" in refusal(tmp_path / "a.txt.gz")

    def test_what_is_cut_short(self, tmp_path: Path) -> None:
        json_lines(tmp_path / "a.jsonl", records())
        path = packed(tmp_path / "a.jsonl")
        path.write_bytes(path.read_bytes()[:-12])
        assert "cannot be unpacked" in refusal(path)

    def test_what_unpacks_to_too_much(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "MOST_BYTES", 10_000)
        (tmp_path / "a.txt").write_bytes(b"a" * 100_000)
        assert "is larger than 10,000 bytes" in refusal(packed(tmp_path / "a.txt"))


@pytest.mark.parametrize(("name", "library"), [("c.parquet", "pyarrow"), ("folder", "datasets")])
def test_a_library_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str
) -> None:
    WRITERS[name](tmp_path / name, records())
    monkeypatch.setitem(sys.modules, library, None)
    assert f"pip install {library}, or give a .jsonl file" in refusal(tmp_path / name)


def test_fields_of_a_data_set_are_checked_before_anything_heavy(tmp_path: Path) -> None:
    folder(tmp_path / "set", records("body"))
    code = (
        "import sys\nfrom laminar_lens.texts.files import read_groups, read_texts\n"
        f"try: read_texts({str(tmp_path / 'set')!r})\nexcept Exception as error: print(error)\n"
        "print(sorted({'torch', 'datasets', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].endswith(f"{tmp_path / 'set'}:body")
    assert done.stdout.splitlines()[1] == "[]"


def test_readers_of_records_are_the_endings_that_are_named() -> None:
    assert {Path(name).suffix for name in WRITERS} - {""} == set(files.RECORDS)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{" her": ["x"], " him": 5}', r"group ' him' is an int; expected a list of texts$"),
        ('{" her": ["x"], "": null}', r"group '' is .*None.*; expected a list of texts$"),
        ('{" her": ["x"], " her": ["y"]}', r"has group ' her' twice: put its texts together$"),
    ],
)
def test_groups_are_lists_of_different_names(written: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    path.write_text(written)
    with pytest.raises(InputError, match=said):
        read_groups(path)
