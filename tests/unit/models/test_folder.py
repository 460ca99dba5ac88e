"""check_folder: hostile model folders are refused in one line, good ones of every form pass."""

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import laminar_lens.models.folder as folders
import laminar_lens.models.local as local
from laminar_lens.capture import capture_residuals
from laminar_lens.errors import InputError, ModelError
from laminar_lens.models import check_name, load_model
from laminar_lens.models.folder import check_folder
from tests.hostile import CASES, added, charsmap, damaged, fields

END_TO_END = (
    "config.json: deep",
    "100,000 layers",
    "token id 320 of 320",
    "weights: a FIFO",
    "weights: a link loop",
    "index of None",
    "index of []",
    "header data_offsets: ['0', '40960']",
    "bin: code",
    "panic: template",
    "padding to 10^11",
    "a billion labels",
)
LONGEST = 12  # entries of an object or a list that are tried one by one
COMMAND_LINE = (
    "config.json: deep",
    "100,000 layers",
    "token id 320 of 320",
    "weights: a FIFO",
    "weights: a folder",
    "index of None",
    "panic: prefix",
    "charsmap beyond itself",
)


@pytest.fixture
def copied(tiny_gpt2: Path, tmp_path: Path) -> Path:
    """A folder that a test may change."""
    return Path(shutil.copytree(tiny_gpt2, tmp_path / "model"))


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


def changes(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a JSON value, the first entries of a long one, with the value there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, inner in list(items)[:LONGEST]:
        yield (place,), inner
        yield from (((place, *deeper), at) for deeper, at in changes(inner))


@pytest.mark.parametrize(
    "name",
    ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "header", "index"],
)
def test_no_value_at_any_place_is_more_than_one_line(
    name: str, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a value of a wrong kind stands, the folder passes or is refused; nothing else is raised."""
    monkeypatch.setattr(folders, "try_tokenizer", lambda file: None)
    odd = (None, True, -1, 0, 10**400, 1.5, float("nan"), float("inf"), "", "\ud800", [], [[]], {}, {"a": {}})
    weights = (copied / "model.safetensors").read_bytes()
    length = int.from_bytes(weights[:8], "little")
    if name == "header":
        good = json.loads(weights[8 : 8 + length])
    elif name == "index":
        (copied / "model.safetensors").rename(copied / "all.safetensors")
        good = {"metadata": {"total_size": 1}, "weight_map": {"a": "all.safetensors", "b": "all.safetensors"}}
    else:
        good = json.loads((copied / name).read_text())
    lines = []
    for place, _ in changes(good):
        for value in odd:
            bad = copy.deepcopy(good)
            at = bad
            for step in place[:-1]:
                at = at[step]
            at[place[-1]] = value
            text = json.dumps(bad).encode()
            if name == "header":
                whole = len(text).to_bytes(8, "little") + text + weights[8 + length :]
                (copied / "model.safetensors").write_bytes(whole)
            else:
                (copied / ("model.safetensors.index.json" if name == "index" else name)).write_bytes(text)
            try:
                check_folder(copied)
            except ModelError as error:
                lines.append(str(error))
    assert all(line.isprintable() for line in lines)
    assert len(lines) > 10 or name == "generation_config.json"


@pytest.mark.parametrize("bridge", [None, True])
@pytest.mark.parametrize("name", END_TO_END)
def test_load_model_refuses_it_too(
    name: str, bridge: bool | None, tiny_gpt2: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as error:
        load_model(damaged(name, tiny_gpt2, tmp_path), bridge=bridge)
    assert all(words in str(error.value) for words in CASES[name].said)
    assert capfd.readouterr() == ("", "")
    assert not Path("code_ran").exists()


@pytest.mark.parametrize("name", COMMAND_LINE)
def test_the_command_line_refuses_it_at_once(name: str, tiny_gpt2: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from laminar_lens.cli import main; status = main(sys.argv[1:]); "
        "print(*sorted({'torch', 'transformers', 'transformer_lens'} & set(sys.modules))); sys.exit(status)"
    )
    model = damaged(name, tiny_gpt2, tmp_path)
    command = ["warmup", "--model", str(model), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "\n"), done.stderr
    assert done.stderr.startswith("laminar-lens: error: model folder ")
    assert done.stderr.count("\n") == 1
    assert all(words in done.stderr for words in CASES[name].said), done.stderr
    assert not (tmp_path / "out").exists()


def in_shards(folder: Path, model: Any) -> None:
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def as_bin(folder: Path, model: Any) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def as_bin_in_shards(folder: Path, model: Any) -> None:
    (folder / "model.safetensors").unlink()
    names = sorted(model.state_dict())
    parts = {"pytorch_model-1.bin": names[::2], "pytorch_model-2.bin": names[1::2]}
    for file, part in parts.items():
        torch.save({name: model.state_dict()[name] for name in part}, folder / file)
    table = {name: file for file, part in parts.items() for name in part}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": table}))


def in_bfloat16(folder: Path, model: Any) -> None:
    model.to(torch.bfloat16).save_pretrained(folder)


def with_buffers(folder: Path, _: Any) -> None:
    """Older GPT-2 files hold the causal mask of every layer."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors |= {f"transformer.h.{layer}.attn.bias": torch.ones(1, 1, 64, 64).tril() for layer in range(3)}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def in_a_cache(folder: Path, _: Any) -> None:
    """The Hub's cache keeps links to files that are called by their hashes."""
    blobs = folder.parent / "blobs"
    blobs.mkdir()
    for index, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(index))
        file.symlink_to(Path("..") / "blobs" / str(index))


def beside_other_things(folder: Path, _: Any) -> None:
    (folder / ".git").mkdir()
    (folder / "results.json").write_text("[1, 2]")
    (folder / "training_args.bin").write_bytes(b"whatever")
    (folder / "link").symlink_to("nowhere")
    (folder / "é \n.txt").write_text("")


def with_files_of_old(folder: Path, _: Any) -> None:
    """What Transformers 4 writes beside tokenizer.json."""
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "added_tokens.json").write_text("{}")
    (folder / "special_tokens_map.json").write_text('{"bos_token": {"content": "<|endoftext|>"}}')
    fields("tokenizer_config.json", model_max_length=10**30, pad_token=None, added_tokens_decoder={"0": {}})(
        folder
    )


def with_fields_of_others(folder: Path, _: Any) -> None:
    """Numbers that look odd and are in published configurations."""
    fields(
        "config.json",
        time_step_limit=[0.0, float("inf")],
        pad_token_id=-1,
        bos_token_id=50256,
        n_ctx=64,
        num_nextn_predict_layers=1,
        torch_dtype="float32",
        rope_scaling=None,
        layer_rope_theta=[1e4, None, 5e5],
        n_inner=128,
    )(folder)


GOOD: tuple[Callable[[Path, Any], None], ...] = (
    in_shards,
    as_bin,
    as_bin_in_shards,
    in_bfloat16,
    with_buffers,
    in_a_cache,
    beside_other_things,
    with_files_of_old,
    with_fields_of_others,
)


@pytest.mark.parametrize("kind", ["tiny_gpt2", "tiny_llama", "tiny_neox"])
@pytest.mark.parametrize("change", GOOD, ids=lambda change: change.__name__)
def test_good_folders_pass(
    change: Callable[[Path, Any], None], kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(request.getfixturevalue(kind), tmp_path / "model"))
    check_folder(folder)
    change(folder, AutoModelForCausalLM.from_pretrained(folder))
    check_folder(folder)


@pytest.mark.parametrize("change", [in_shards, as_bin, in_a_cache, with_buffers])
def test_good_folders_load_to_the_same_states(
    change: Callable[[Path, Any], None], copied: Path, tiny_gpt2: Path
) -> None:
    from transformers import AutoModelForCausalLM

    change(copied, AutoModelForCausalLM.from_pretrained(copied))
    ours, original = (
        capture_residuals(load_model(folder), "He gave her the book.").values
        for folder in (copied, tiny_gpt2)
    )
    assert torch.equal(ours, original)


def test_the_embedded_model_passes() -> None:
    check_name("novella")


def test_a_layer_may_be_run_several_times(copied: Path) -> None:
    """ALBERT and HRM count 12 and 24 layers where there are weights of one and three; of others, the tensors
    that are missing are named."""
    fields("config.json", n_layer=24)(copied)
    check_folder(copied)
    with pytest.raises(
        ModelError, match=r"the weights lack 252 of the model's tensors, first 'transformer\.h\.10"
    ):
        load_model(copied)


def test_an_untied_output_matrix_passes(make_model_folder: Any) -> None:
    check_folder(make_model_folder("gpt2", tie_word_embeddings=False))


def test_a_token_beyond_the_vocabulary_is_refused_where_a_text_holds_it(copied: Path) -> None:
    """Gemma 3's tokenizer has an image token that its text model has no embedding of."""
    content = json.loads((copied / "tokenizer.json").read_text())
    content["added_tokens"].append(content["added_tokens"][0] | {"id": 320, "content": "<image>"})
    (copied / "tokenizer.json").write_text(json.dumps(content))
    model = load_model(copied)
    capture_residuals(model, "He gave her the book.")
    with pytest.raises(
        InputError, match=r"prompt 1 \('her <image>'\) has token 320, outside the vocabulary 0 … 319"
    ):
        capture_residuals(model, ["He gave", "her <image>"])


@pytest.mark.parametrize("bridge", [None, True])
def test_a_bos_that_the_model_has_no_embedding_of_is_none(bridge: bool | None, copied: Path) -> None:
    """Transformers gives a token that tokenizer.json lacks the next id, here 320 of 320."""
    fields("tokenizer_config.json", bos_token="<start>")(copied)
    model = load_model(copied, bridge=bridge)
    assert model.tokenizer.bos_token_id >= 320
    with pytest.raises(InputError, match="no BOS token"):
        capture_residuals(model, "He gave her the book.", prepend_bos=True)


@pytest.mark.parametrize("bridge", [None, True])
def test_a_panic_while_loading_is_one_line(
    bridge: bool | None, tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no interpreter to try the tokenizer with."""
    monkeypatch.setattr(sys, "executable", "")
    folder = damaged("panic: template", tiny_gpt2, tmp_path)
    with pytest.raises(ModelError, match=r"could not be loaded: PanicException: no entry found for key$"):
        load_model(folder, bridge=bridge)


@pytest.mark.parametrize(
    "failure",
    [
        RecursionError("maximum recursion depth exceeded"),
        MemoryError(),
        KeyError("wte"),
        IndexError("index out of range\nin self"),
        AssertionError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        OverflowError("int too large"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_whatever_is_left_is_one_line(
    failure: Exception, tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(local, "load_original", fail)
    with pytest.raises(ModelError, match=f"could not be loaded: {type(failure).__name__}") as error:
        load_model(tiny_gpt2)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bridge", [None, True])
def test_weights_of_other_sizes(bridge: bool | None, copied: Path) -> None:
    """Transformers says to look at a report that it has written to its log."""
    fields("config.json", n_inner=64)(copied)
    with pytest.raises(ModelError, match=r"other sizes than config.json gives them .* must be of one model"):
        load_model(copied, bridge=bridge)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_being_stopped_is_no_failure(
    stop: type[BaseException], tiny_gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise stop

    monkeypatch.setattr(local, "load_original", fail)
    with pytest.raises(stop):
        load_model(tiny_gpt2)


def test_a_tokenizer_is_tried_once(tiny_gpt2: Path, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_folder(copied)

    def again(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(folders.trial.subprocess, "run", again)
    check_folder(copied)
    charsmap("BAAAAP////8=")(copied)
    with pytest.raises(AssertionError):
        check_folder(copied)


def test_a_tokenizer_that_never_ends(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders.trial, "LONGEST_S", 0.001)
    with pytest.raises(ModelError, match=r"tokenizer.json is no working tokenizer \(it does not end within"):
        check_folder(copied)


def test_no_code_beside_a_tokenizer_is_imported(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the working folder must not stand in for the library."""
    (copied / "tokenizers.py").write_text("open('code_ran', 'w')")
    monkeypatch.chdir(copied)
    check_folder(Path())
    assert not (copied / "code_ran").exists()


@pytest.mark.parametrize("bridge", [None, True])
def test_code_of_the_folder_runs_only_when_asked_for(
    bridge: bool | None, copied: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "code_ran"
    (copied / "code.py").write_text(f"open({str(mark)!r}, 'w')")
    fields("config.json", model_type="unheard-of", auto_map={"AutoConfig": "code.C"})(copied)
    fields("tokenizer_config.json", auto_map={"AutoTokenizer": ["code.T", None]})(copied)
    with pytest.raises(ModelError, match="allow it with trust_remote_code=True"):
        load_model(copied, bridge=bridge)
    assert not mark.exists()


class Located:
    """A path of another library."""

    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


def test_any_path_will_do(tiny_gpt2: Path) -> None:
    for path in (tiny_gpt2, str(tiny_gpt2), Located(str(tiny_gpt2)), Located(os.fsencode(tiny_gpt2))):
        check_name(path)


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    for name, said in (
        ("/" + "x" * 5000, "no such folder (File name too long)"),
        ("x" * 300, "no such folder (File name too long)"),
        ("x/" * 5000, "no such folder (File name too long)"),
        ("x/" * 1000, "no such folder; check the path"),
        ("a\0b", "no such folder (embedded null byte)"),
        ("a\nb", "not the name of a model"),
        ("~nobody-of-that-name/model", "no such folder"),
        ("\ud800", "no such folder ('utf-8' codec"),
        (str(tmp_path / "loop"), "no such folder (Too many levels of symbolic links)"),
        (str(tmp_path / "fifo"), "is a FIFO; give the Hugging Face folder"),
        ("/dev/null", "is a device; give the Hugging Face folder"),
        (tmp_path / "loop" / "x", "no such folder"),
    ):
        with pytest.raises(ModelError) as error:
            load_model(name)
        line = str(error.value)
        assert said in line
        assert line.isprintable()
        assert len(line) < 450, line


def test_an_added_token_may_have_any_content(copied: Path) -> None:
    """What a file says is shown, never sent to the terminal."""
    added("1", "\x1b]0;title\x07\n")(copied)
    with pytest.raises(ModelError) as error:
        check_folder(copied)
    assert str(error.value).isprintable()
    assert r"'\x1b]0;title\x07\n'" in str(error.value)
