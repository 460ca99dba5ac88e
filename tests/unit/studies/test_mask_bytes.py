"""Files of masks: equal masks are equal bytes, and the safetensors library reads what was written."""

import json

import pytest
import torch
from safetensors import safe_open

from laminar_lens.studies.mask_files import TokenMasks, safetensors_bytes, write_masks

TEXT = 'her "naïve" \ud83d\u202e'  # half a surrogate pair: UTF-8 cannot hold it


@pytest.fixture
def masks() -> TokenMasks:
    tokens = torch.tensor([[0, 5, 7], [3, 2, -1]])
    keep = torch.tensor([[False, True, True], [False, True, False]])
    words = [["<|endoftext|>", TEXT, "b"], ["c", "d"]]
    places = torch.tensor([[1, 2, 3], [1, 2, 0]])
    settings, notes = {"name": TEXT}, ["a note"]
    return TokenMasks(tokens, keep, ~keep & (tokens > 0), 1, (TEXT, "cd"), words, settings, notes, places)


def test_equal_masks_are_equal_bytes(masks, tmp_path):
    files = [write_masks(masks, tmp_path / name) for name in "abcdef"]
    for kind in ("masks", "json"):
        assert len({made[kind].read_bytes() for made in files}) == 1


def test_the_library_reads_what_was_written(masks, tmp_path):
    made = write_masks(masks, tmp_path)
    with safe_open(made["masks"], framework="pt") as file:
        for name in ("tokens", "keep", "sinks"):
            assert torch.equal(file.get_tensor(name), getattr(masks, name))
        metadata = file.metadata()
    assert set(metadata) == {"format", "summary"}
    assert json.loads(metadata["summary"])["settings"] == {"name": TEXT}
    assert json.loads(made["json"].read_text(encoding="utf-8"))["texts"][0]["text"] == TEXT


@pytest.mark.parametrize("names", [("a",), ("b", "a"), tuple("zyxwvutsrq")])
def test_the_header_is_in_order_and_the_tensors_stay_aligned(names):
    tensors = {"x": torch.arange(5), "y": torch.tensor([True])}
    raw = safetensors_bytes(tensors, dict.fromkeys(names, "é" * 3))
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    assert list(json.loads(raw[8 : 8 + length])["__metadata__"]) == sorted(names)
    assert raw == safetensors_bytes(tensors, dict.fromkeys(reversed(names), "é" * 3))
