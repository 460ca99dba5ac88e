"""check_folder: hostile model folders are refused in one line, good ones of every form pass."""

from pathlib import Path

import pytest

from laminar_lens.errors import ModelError
from laminar_lens.models.folder import check_folder
from tests.hostile import CASES, damaged


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_folder_is_refused(name: str, tiny_gpt2: Path, tmp_path: Path) -> None:
    folder = damaged(name, tiny_gpt2, tmp_path)
    with pytest.raises(ModelError) as error:
        check_folder(folder)
    line = str(error.value)
    assert line.startswith(f"model folder {str(folder)!r}: ")
    assert line.isprintable()
    assert len(line) < len(str(folder)) + 330
    assert [words for words in CASES[name].said if words not in line] == [], line
