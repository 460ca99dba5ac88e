"""What ships: the wheel carries the embedded model, the page's template and nothing of the tests."""

import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 10_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as opened:
        yield {info.filename: info.file_size for info in opened.infolist()}


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"]
)
def test_novella_ships(wheel, name):
    assert f"laminar_lens/models/embedded/novella/{name}" in wheel


def test_weights_are_small(wheel):
    assert 1_000_000 < wheel["laminar_lens/models/embedded/novella/model.safetensors"] <= LIMIT_BYTES


def test_template_and_marker_ship(wheel):
    assert any(name.startswith("laminar_lens/report/") and name.endswith(".html.jinja") for name in wheel)
    assert "laminar_lens/py.typed" in wheel


def test_the_drawing_library_ships_with_its_licence_and_packed(wheel):
    assert "laminar_lens/report/plotlyjs/LICENSE" in wheel
    assert wheel["laminar_lens/report/plotlyjs/plotly-cartesian.min.js.gz"] < 500_000


def test_passages_ship(wheel):
    assert (
        wheel["laminar_lens/texts/passages.txt"]
        == (ROOT / "src/laminar_lens/texts/passages.txt").stat().st_size
    )


def test_nothing_else_ships(wheel):
    stray = {n for n in wheel if not n.startswith("laminar_lens/") and ".dist-info/" not in n}
    assert not stray
