"""Padding that only the tokenizer's pad id marks: what is text, what is not, and what is said."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.capture import ResidualStates
from laminar_lens.models.info import special_tokens
from laminar_lens.models.padding import PadToken, pad_token, real_by_pad, without_pads
from laminar_lens.studies.mask_files import token_masks
from laminar_lens.studies.masks import sink_mask

E = 0
SHARED = PadToken(E, ("BOS", "EOS"), "right")
OWN = PadToken(E, (), "right")
LEFT = PadToken(E, ("BOS", "EOS"), "left")
TEXTS = (
    "They admired her courage.",
    "A boy gave her the book; she thanked him.",
    "In the morning he drove her to the old house by the river.",
    "The company promoted her to manager.",
)


def real(rows: list[list[int]], pad: PadToken) -> tuple[list[list[int]], str]:
    ids = torch.tensor(rows)
    found, note = real_by_pad(ids, pad)
    return (torch.ones_like(ids) if found is None else found.int()).tolist(), note


class TestByPlace:
    @pytest.mark.parametrize(
        ("rows", "pad", "expected"),
        [
            pytest.param([[1, 2, 3], [1, 0, 0]], SHARED, [[1, 1, 1], [1, 0, 0]], id="right"),
            pytest.param([[1, 2, 3], [0, 0, 1]], SHARED, [[1, 1, 1], [0, 0, 1]], id="left"),
            pytest.param([[0, 1, 2], [0, 1, 0]], SHARED, [[1, 1, 1], [1, 1, 0]], id="right, with a BOS"),
            pytest.param([[0, 1, 2], [0, 0, 1]], SHARED, [[1, 1, 1], [0, 1, 1]], id="left, with a BOS"),
            pytest.param(
                [[1, 2, 0], [1, 0, 0]], SHARED, [[1, 1, 1], [1, 1, 0]], id="right, every text ends in EOS"
            ),
            pytest.param(
                [[0, 1, 2, 0], [0, 1, 0, 0]], SHARED, [[1, 1, 1, 1], [1, 1, 1, 0]], id="BOS and EOS"
            ),
            pytest.param([[1, 2, 0], [3, 4, 0]], SHARED, [[1, 1, 1], [1, 1, 1]], id="all end in EOS"),
            pytest.param([[1, 2, 0]], SHARED, [[1, 1, 1]], id="one row with its EOS"),
            pytest.param([[1, 0, 0]], SHARED, [[1, 0, 0]], id="one row, padded"),
            pytest.param([[0]], SHARED, [[1]], id="a BOS alone"),
            pytest.param(
                [[1, 2, 0], [3, 4, 5]], SHARED, [[1, 1, 0], [1, 1, 1]], id="one token, on the padded side"
            ),
            pytest.param(
                [[0, 1, 2], [3, 4, 5]], SHARED, [[1, 1, 1], [1, 1, 1]], id="one token, on the other side"
            ),
            pytest.param(
                [[0, 1, 2], [3, 4, 5]], LEFT, [[0, 1, 1], [1, 1, 1]], id="the same of a left padder"
            ),
            pytest.param([[1, 2, 0], [3, 4, 5]], LEFT, [[1, 1, 1], [1, 1, 1]], id="its other side"),
            pytest.param(
                [[0, 0, 0], [0, 1, 2]], SHARED, [[1, 0, 0], [1, 1, 1]], id="an empty text with its BOS"
            ),
            pytest.param([[0, 0, 0], [0, 1, 2]], LEFT, [[0, 0, 1], [1, 1, 1]], id="the same, left"),
            pytest.param(
                [[0, 0, 0], [1, 2, 0]], LEFT, [[0, 0, 1], [1, 1, 1]], id="an empty text with its EOS, left"
            ),
            pytest.param(
                [[0, 0, 0], [1, 2, 0]], SHARED, [[1, 0, 0], [1, 1, 1]], id="an empty text with its EOS, right"
            ),
            pytest.param([[1, 0, 2], [3, 0, 4]], SHARED, [[1, 1, 1], [1, 1, 1]], id="inside"),
            pytest.param([[1, 2, 0], [1, 0, 0]], OWN, [[1, 1, 0], [1, 0, 0]], id="an id of its own"),
            pytest.param([[0, 1, 2], [0, 0, 1]], OWN, [[0, 1, 1], [0, 0, 1]], id="of its own, left"),
            pytest.param([[0, 1, 0]], OWN, [[0, 1, 0]], id="of its own, both sides"),
            pytest.param([[0, 1, -1], [0, 1, 2]], OWN, [[1, 1, 1], [1, 1, 1]], id="−1 marks it already"),
        ],
    )
    def test_what_is_padding(self, rows: Any, pad: PadToken, expected: Any) -> None:
        assert real(rows, pad)[0] == expected

    def test_a_reading_that_could_be_another_is_said(self) -> None:
        said = real([[0, 1, 2], [0, 0, 1]], SHARED)[1]
        assert said.startswith(
            "Token 0 at the start of 1 of 2 rows is taken as padding, but for the one that every row has. It "
            "is the tokenizer's pad token, but also its BOS and EOS"
        )
        assert "mask=" in said
        assert "is taken as text" in real([[0, 1, 2], [3, 4, 5]], SHARED)[1]
        assert (
            "end of 2 of 3 rows is taken as padding. " in real([[1, 0, 0], [1, 2, 3], [3, 4, 0]], SHARED)[1]
        )

    @pytest.mark.parametrize(
        "rows", [[[0, 1, 2], [0, 3, 4]], [[1, 2, 0], [3, 4, 0]], [[1, 0, 2]], [[1, 2, 3]]]
    )
    def test_nothing_is_said_where_nothing_was_decided(self, rows: Any) -> None:
        assert real(rows, SHARED)[1] == ""

    def test_an_id_of_its_own_is_no_question(self) -> None:
        assert real([[1, 2, 3], [1, 0, 0]], OWN)[1] == ""

    def test_no_tensor_of_ids_is_left_alone(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        for prompts in ("a", ["a", "b"], torch.zeros(2, 3), torch.zeros(3, dtype=torch.long), None):
            assert without_pads(model, prompts) == (prompts, "")
        ids = torch.tensor([[1, 2, 3], [1, 0, 0]])
        assert without_pads(model, ids, torch.ones(2, 3)) == (ids, "")
        assert without_pads(model, ids)[0].tolist() == [[1, 2, 3], [1, -1, -1]]
        assert without_pads(model, ids.numpy().astype(np.uint8))[0].tolist() == [[1, 2, 3], [1, -1, -1]]


# ---------------------------------------------------------------------- the same texts as strings and as ids


def own_pad(tiny: Path, folder: Path) -> Path:
    """The folder with a pad token of its own: a token that no text has."""
    shutil.copytree(tiny, folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    word = next(word for word, token in content["model"]["vocab"].items() if token == 1)
    added = {"id": 1, "content": word, "special": True, "normalized": False}
    added |= {"single_word": False, "lstrip": False, "rstrip": False}
    content["added_tokens"].append(added)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "pad_token": word}), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module", params=["pad = EOS", "a pad token of its own"])
def model(request: pytest.FixtureRequest, tiny_gpt2: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "pad = EOS":
        made = ll.load_model(tiny_gpt2)
        assert pad_token(special_tokens(made)) == PadToken(0, ("BOS", "EOS", "unknown token"), "right")
    else:
        made = ll.load_model(own_pad(tiny_gpt2, tmp_path_factory.mktemp("own") / "model"))
        assert pad_token(special_tokens(made)) == PadToken(1, (), "right")
    return made


def padded_ids(model: Any, texts: Any, side: str, bos: bool) -> torch.Tensor:
    """A batch as TransformerLens pads it."""
    ids: torch.Tensor = model.to_tokens(list(texts), prepend_bos=bos, padding_side=side)
    pad = model.tokenizer.pad_token_id
    assert (ids == pad).sum() >= 5, "a ragged batch"
    return ids


@pytest.fixture
def quietly() -> Any:
    """What is said of a reading is tested elsewhere."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is taken as", category=UserWarning)
        yield


SIDES = pytest.mark.parametrize("side", ["right", "left"])
BOS = pytest.mark.parametrize("bos", [False, True], ids=["no BOS", "BOS"])


@pytest.mark.usefixtures("quietly")
@SIDES
@BOS
class TestSameAsStrings:
    def test_captured_vectors(self, model: Any, side: str, bos: bool) -> None:
        expected = ll.capture_residuals(model, TEXTS, prepend_bos=bos)
        found = ll.capture_residuals(model, padded_ids(model, TEXTS, side, bos))
        assert found.tokens.equal(expected.tokens)
        assert found.values.equal(expected.values) or bool(
            ((found.values == expected.values) | found.values.isnan()).all()
        )
        assert found.mask.equal(expected.mask)
        for indices, part in ll.iter_residuals(model, padded_ids(model, TEXTS, side, bos)):
            for row, index in enumerate(indices):
                n = int(expected.mask[index].sum())
                assert part.values[:, row].equal(expected.values[:, index, :n])

    def test_studies(self, model: Any, side: str, bos: bool) -> None:
        """Warm-up and sinks of the first six tokens; with a BOS, the BOS is the first of the given ids."""
        texts = [f"{'abcdefghijkl'[k]} {text}" for k, text in enumerate(TEXTS * 3)]
        ids = padded_ids(model, texts, side, bos)
        short = {"length": 6, "random_init": False}
        given = {"length": 6 + int(bos), "random_init": False}
        for study in (ll.warmup_study, ll.sink_study):
            expected = study(model, texts, prepend_bos=bos, **short).dataset
            found = study(model, ids, **given).dataset
            for name in ("angle", "norm", "received"):
                if name in expected:
                    assert found[name].values.tobytes() == expected[name].values.tobytes(), name

    def test_masks(self, model: Any, side: str, bos: bool) -> None:
        ids = padded_ids(model, TEXTS, side, bos)
        texts = token_masks(model, TEXTS, skip=2, prepend_bos=bos)
        given = token_masks(model, ids, skip=2)
        assert given.tokens.equal(texts.tokens)
        assert given.keep.equal(texts.keep)
        assert given.sinks.equal(texts.sinks)
        assert given.words == texts.words
        warm = warmed(model, bos)
        n = (texts.tokens >= 0).sum(1)
        width = ids.shape[1]
        for row, length in enumerate(n.tolist()):
            at = slice(width - length, width) if side == "left" else slice(0, length)
            kept = warm.mask(ids)[row]
            assert int(kept.sum()) == length - 2 == int(kept[at][2:].sum())
            assert not kept[at][:2].any()
            assert warm.mask(ids, model=model)[row][at].equal(texts.keep[row, :length])
            assert sink_mask(model, ids)[row][at].equal(texts.sinks[row, :length])

    def test_a_geometry_and_donors(self, model: Any, side: str, bos: bool) -> None:
        fit = {"skip": 1, "layers": [1]}
        of_texts = ll.geometry.fit_geometry(model, "centred", texts=list(TEXTS), prepend_bos=bos, **fit)
        of_ids = ll.geometry.fit_geometry(model, "centred", texts=padded_ids(model, TEXTS, side, bos), **fit)
        vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
        assert of_ids.apply(1, vectors).equal(of_texts.apply(1, vectors))


def warmed(model: Any, bos: bool) -> Any:
    """A warm-up that leaves out two tokens, measured on this model."""
    study = ll.warmup_study(model, n_texts=4, length=8, random_init=False)
    study.dataset.attrs.update(verdict="exact", skip=2, k_lo=2, k_hi=2)
    assert study.positions_to_skip() == 2
    return study


@pytest.mark.usefixtures("quietly")
@SIDES
def test_as_hugging_face_pads_and_computes(model: Any, side: str, tiny_gpt2: Path) -> None:
    """Its attention mask says which tokens are real; its hidden states of each text alone are the vectors."""
    from transformers import AutoModelForCausalLM

    theirs = model.tokenizer(
        list(TEXTS), add_special_tokens=False, padding=True, padding_side=side, return_tensors="pt"
    )
    ids = theirs["input_ids"]
    assert (without_pads(model, ids)[0] >= 0).equal(theirs["attention_mask"].bool())
    states = ll.capture_residuals(model, ids, final_norm=True)
    hf = AutoModelForCausalLM.from_pretrained(tiny_gpt2, attn_implementation="eager").eval()
    for row, text in enumerate(TEXTS):
        alone = torch.tensor([model.tokenizer(text, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            hidden = hf(alone, output_hidden_states=True).hidden_states
        n = alone.shape[1]
        assert states.tokens[row, :n].equal(alone[0])
        torch.testing.assert_close(states.values[:, row, :n], torch.cat(hidden), rtol=0, atol=1e-5)
        assert states.values[:, row, n:].isnan().all()


class TestSaid:
    def test_a_capture_warns_and_notes_it(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        ids = padded_ids(model, TEXTS, "right", False)
        with pytest.warns(UserWarning, match="Token 0 at the end of 3 of 4 rows is taken as padding"):
            states = ll.capture_residuals(model, ids)
        assert "is taken as padding" in str(states.info["padding"])
        assert "padding" not in ll.capture_residuals(model, TEXTS).info

    def test_a_mask_says_otherwise(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        ids = padded_ids(model, TEXTS, "right", False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            whole = ll.capture_residuals(model, ids, mask=torch.ones_like(ids))
            beside = torch.nn.functional.pad(ids, (0, 1), value=-1)
            assert ll.capture_residuals(model, beside).tokens.equal(ids)
        assert whole.tokens.equal(ids)
        with pytest.warns(UserWarning, match="3 of 4 texts have token 0"):
            kept = warmed(model, False).mask(ids, padding=torch.ones_like(ids))
        assert kept.sum() == ids.numel() - 2 * len(ids)

    def test_studies_and_mask_files_note_it(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        ids = padded_ids(model, TEXTS, "left", False)
        for study in (ll.warmup_study, ll.sink_study):
            said = study(model, ids, length=6, random_init=False).warnings
            assert any("is taken as padding" in note for note in said), study
        assert any("is taken as padding" in note for note in token_masks(model, ids, skip=1).notes)


class TestAlignment:
    """A mask lies as what it was made for."""

    @pytest.mark.usefixtures("quietly")
    @SIDES
    @BOS
    def test_of_states_of_tokens_and_of_both(self, model: Any, side: str, bos: bool) -> None:
        ids = padded_ids(model, TEXTS, side, False)
        warm = warmed(model, bos) if not bos else with_bos(warmed(model, False))
        states = ll.capture_residuals(model, ids, prepend_bos=bos)
        of_states = warm.mask(states=states)
        assert of_states.shape == states.mask.shape
        assert not (of_states & ~states.mask).any(), "laid out as the states: no padding is kept"
        both = warm.mask(ids, states=states)
        assert both.shape == ids.shape
        real = without_pads(model, ids)[0] >= 0
        for row in range(len(ids)):
            assert both[row][real[row]].equal(of_states[row][states.mask[row]][int(bos) :])
        assert not (both & ~real).any()
        assert both.equal(warm.mask(ids, model=model))

    def test_states_of_other_tokens(self, tiny_gpt2: Path) -> None:
        model = ll.load_model(tiny_gpt2)
        warm = warmed(model, False)
        states = ll.capture_residuals(model, TEXTS[:1])
        other = torch.roll(states.tokens, 1, 1)
        with pytest.raises(ll.errors.InputError, match="other tokens than row 0"):
            warm.mask(other, states=states)
        with pytest.raises(ll.errors.InputError, match="states are of 1 texts, tokens of 2"):
            warm.mask(torch.cat([other, other]), states=states)
        some = ll.capture_residuals(model, TEXTS[:1], positions=[0, 2])
        assert isinstance(some, ResidualStates)
        with pytest.raises(ll.errors.InputError, match="capture all positions"):
            warm.mask(states.tokens, states=some)


def with_bos(study: Any) -> Any:
    """The same answer of a study with a BOS before its texts."""
    settings = json.loads(study.dataset.attrs["settings"])
    study.dataset.attrs["settings"] = json.dumps({**settings, "prepend_bos": True})
    assert study.settings["prepend_bos"] is True
    return study
