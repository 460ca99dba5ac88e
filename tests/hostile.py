"""Model folders that somebody damaged, or wrote to do harm: changes of a good folder, and what must be said.

`CASES` maps a name to what is done to a copy of `tiny_gpt2` and the words that the refusal must hold.
"""

import json
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Change = Callable[[Path], object]
DEEP = 100_000
HUGE = 10**30


@dataclass(frozen=True)
class Case:
    """What is done to a folder, and words of the one line that must refuse it."""

    change: Change
    said: tuple[str, ...]


def write(name: str, content: bytes | str) -> Change:
    """The file has that content."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def fields(name: str, **values: Any) -> Change:
    """Fields of a JSON file are replaced."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps(content | values))

    return change


def without(name: str, *keys: str) -> Change:
    """Fields of a JSON file are taken away."""

    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({k: v for k, v in content.items() if k not in keys}))

    return change


def instead(name: str, make: Callable[[Path], object]) -> Change:
    """Something else has the file's name."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return change


def link(target: str | Path) -> Callable[[Path], None]:
    """A link to `target`."""
    return lambda path: path.symlink_to(target)


def listen(path: Path) -> None:
    """A socket of that name."""
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have 107 letters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def header(change: Callable[[dict[str, Any]], object], *, tail: bytes = b"") -> Change:
    """The safetensors header is changed; the tensors' bytes stay."""

    def changed(folder: Path) -> None:
        file = folder / "model.safetensors"
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        entries = json.loads(content[8 : 8 + length])
        entries = change(entries) or entries
        text = json.dumps(entries).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :] + tail)

    return changed


def first(**values: Any) -> Change:
    """The first tensor's entry in the header is changed."""

    def change(entries: dict[str, Any]) -> None:
        name = next(name for name in entries if name != "__metadata__")
        entries[name] = entries[name] | values

    return header(change)


def raw_header(length: int, text: bytes) -> Change:
    """A safetensors file of eight bytes and a text."""
    return write("model.safetensors", length.to_bytes(8, "little") + text)


def index(content: Any) -> Change:
    """Weights in shards, as an index says."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return change


def model_of(**values: Any) -> Change:
    """Fields of the model in tokenizer.json."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"] |= values
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return change


def token(text: str, number: Any) -> Change:
    """One more token, with any id."""

    def change(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"]["vocab"][text] = number
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return change


def added(number: Any, content: Any) -> Change:
    """One more added token."""
    entry = {"id": number, "content": content, "special": True, "normalized": False}
    return fields(
        "tokenizer.json",
        added_tokens=[entry | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)],
    )


def charsmap(text: Any) -> Change:
    """A SentencePiece normalizer."""
    return fields("tokenizer.json", normalizer={"type": "Precompiled", "precompiled_charsmap": text})


class Runs:
    """A pickle that would leave a file behind where it is loaded as Python would."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch code_ran",)


def torch_zip(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Change:
    """Weights in a zip such as torch writes, with any entries."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with zipfile.ZipFile(folder / "pytorch_model.bin", "w", compression) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)

    return change


def torch_bytes(content: bytes) -> Change:
    """Weights of those bytes."""

    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return change


def sparse(name: str, n_bytes: int) -> Change:
    """The file is enormous, and takes no place."""
    return lambda folder: os.truncate(folder / name, n_bytes)


JSON_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "model.safetensors.index.json",
)
CONTENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not valid JSON"),
    "half": (b'{"a": [1, 2', "not valid JSON"),
    "no UTF-8": (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
    "a list": (b"[]", "a list of 0; expected a JSON object"),
    "a number": (b"7", "7; expected a JSON object"),
    "null": (b"null", "null; expected a JSON object"),
    "a text": (b'"' + b"x" * 1000 + b'"', "expected a JSON object"),
    "deep": (b"[" * DEEP + b"]" * DEEP, "levels deep"),
    "deep object": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "levels deep"),
    "deep enough": (b'{"a":' * 300 + b"1" + b"}" * 300, "levels deep"),
    "a number of 10,000 digits": (b'{"a": ' + b"9" * 10_000 + b"}", "not valid JSON"),
}


def without_weights(change: Change) -> Change:
    """An index is read only where there is no single file."""

    def changed(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        change(folder)

    return changed


def _json_cases() -> dict[str, Case]:
    cases = {}
    for name in JSON_FILES:
        wrap = without_weights if "index" in name else (lambda change: change)
        for what, (content, said) in CONTENTS.items():
            cases[f"{name}: {what}"] = Case(wrap(write(name, content)), (name, said))
        for what, make, said in (
            ("a folder", Path.mkdir, "is a folder; expected a regular file"),
            ("a FIFO", os.mkfifo, "is a FIFO"),
            ("a link loop", link(name), "leads nowhere"),
            ("a dangling link", link("nowhere"), "leads nowhere"),
            ("a device", link("/dev/zero"), "is a device"),
        ):
            cases[f"{name}: {what}"] = Case(wrap(instead(name, make)), (name, said))
    return cases


WRONG = ("3", None, True, 0, -1, 2.5, [], {}, HUGE, float("nan"))


def _config_cases() -> dict[str, Case]:
    cases = {}
    for key in ("n_layer", "n_embd", "vocab_size"):
        for value in WRONG:
            said = "whole number of 1 or more" if value is not HUGE else "10^20"
            cases[f"config {key}: {value!r}"] = Case(
                fields("config.json", **{key: value}), (f"config.json: {key} is ", said)
            )
    for key, value in (
        ("n_head", "4"),
        ("n_head", [4, "4"]),
        ("n_head", HUGE),
        ("n_head", 0),
        ("num_key_value_heads", 0),
        ("head_dim", -8),
        ("n_inner", {}),
        ("n_inner", -1),
        ("n_positions", "64"),
        ("n_positions", -1),
        ("n_positions", HUGE),
        ("layer_norm_epsilon", float("inf")),
        ("layer_norm_epsilon", "1e-5"),
        ("layer_norm_epsilon", [float("nan")]),
        ("model_type", 7),
        ("auto_map", []),
        ("text_config", "x"),
        ("quantization_config", [1]),
        ("id2label", 3),
    ):
        cases[f"config {key}: {str(value)[:12]}"] = Case(
            fields("config.json", **{key: value}), (f"config.json: {key} is",)
        )
    cases |= {
        "a kernel of the Hub": Case(
            fields("config.json", _attn_implementation="somebody/kernel"),
            ("_attn_implementation is 'somebody/kernel'", "nothing was run", "take it out"),
        ),
        "100,000 layers": Case(
            fields("config.json", n_layer=100_000), ("n_layer is 100000, but the weights hold 3 layers",)
        ),
        "a wider model": Case(fields("config.json", n_embd=48), ("n_embd is 48", "no tensor")),
        "a larger vocabulary": Case(
            fields("config.json", vocab_size=50257), ("vocab_size is 50257", "no tensor")
        ),
        "a longer context": Case(
            fields("config.json", n_positions=10**6), ("n_positions is 1000000", "no tensor")
        ),
        "a table of a billion positions": Case(
            fields("config.json", model_type="bloom", rope_theta=1e4, seq_length=10**9),
            ("seq_length is 1000000000; expected a whole number from 1 to 1048576", "table"),
        ),
        "a billion labels": Case(fields("config.json", num_labels=10**9), ("num_labels is 1000000000",)),
        "a billion experts": Case(
            fields("config.json", num_local_experts=10**9), ("num_local_experts is 1000000000",)
        ),
        "layers of a part": Case(
            fields("config.json", text_config={"num_hidden_layers": 10**6}),
            ("num_hidden_layers is 1000000, but the weights hold 3 layers",),
        ),
        "other weights": Case(
            fields("config.json", transformers_weights="../model.safetensors"),
            ("transformers_weights names the weights '../model.safetensors'", "in the folder"),
        ),
        "a list of other weights": Case(
            fields("config.json", transformers_weights=["a"]), ("names the weights a list of 1",)
        ),
        "missing other weights": Case(
            fields("config.json", transformers_weights="other.safetensors"), ("other.safetensors",)
        ),
        "no config": Case(lambda folder: (folder / "config.json").unlink(), ("has no config.json",)),
        "a config of a gigabyte": Case(sparse("config.json", 2**30), ("1,073,741,824 bytes; expected",)),
    }
    return cases


def _header_cases() -> dict[str, Case]:
    cases = {
        f"header {key}: {str(value)[:24]}": Case(first(**{key: value}), ("model.safetensors: tensor", said))
        for key, value, said in (
            ("data_offsets", ["0", "40960"], "data_offsets ['0' (a text), '40960' (a text)]"),
            ("data_offsets", None, "data_offsets null"),
            ("data_offsets", [0], "two whole numbers"),
            ("data_offsets", [0, 1.5], "data_offsets [0, 1.5]"),
            ("data_offsets", [-4, 0], "data_offsets [-4, 0]"),
            ("data_offsets", [0, HUGE], "needs"),
            ("data_offsets", [True, False], "two whole numbers"),
            ("shape", None, "shape null"),
            ("shape", "32", "shape '32'"),
            ("shape", [HUGE, HUGE], "needs more than 10^20 bytes"),
            ("shape", [-1, 32], "shape [-1, 32]"),
            ("shape", [2, 2], "needs 16 bytes"),
            ("dtype", "Q7", "dtype 'Q7'"),
            ("dtype", 32, "dtype 32"),
            ("dtype", ["F32"], "dtype a list"),
            ("dtype", "F64", "F64 of shape"),
        )
    }

    def same_place(entries: dict[str, Any]) -> None:
        names = [name for name in entries if name != "__metadata__"]
        twins = [name for name in names if entries[name]["shape"] == [32]]
        entries[twins[1]] = entries[twins[0]]

    def hole(entries: dict[str, Any]) -> None:
        del entries[next(name for name in entries if name != "__metadata__")]

    return cases | {
        "header: entry is a number": Case(header(lambda entries: entries | {"x": 3}), ("tensor 'x' is 3",)),
        "header: a list": Case(raw_header(2, b"[]"), ("unreadable header", "expected a JSON object")),
        "header: no JSON": Case(raw_header(7, b"no json"), ("unreadable header",)),
        "header: deep": Case(raw_header(DEEP, b"[" * DEEP), ("unreadable header", "levels deep")),
        "header: no UTF-8": Case(raw_header(3, b"{\xff}"), ("unreadable header", "not UTF-8")),
        "header: longer than the file": Case(raw_header(2**63, b"{}"), ("half-written", "header is cut")),
        "header: 150 MB": Case(
            lambda folder: (
                write("model.safetensors", (150 * 2**20).to_bytes(8, "little"))(folder),
                sparse("model.safetensors", 2**28)(folder),
            ),
            ("header of 157,286,400 bytes",),
        ),
        "header: metadata": Case(
            header(lambda entries: entries | {"__metadata__": {"a": 1}}), ("__metadata__ is an object",)
        ),
        "header: overlap": Case(header(same_place), ("overlaps another",)),
        "header: hole": Case(header(hole), ("unused before it",)),
        "longer file": Case(header(lambda entries: None, tail=b"\0"), ("longer than its header says",)),
        "empty weights": Case(write("model.safetensors", b""), ("half-written: 0 bytes",)),
        "no tensors": Case(raw_header(2, b"{}"), ("n_layer is 3, but the weights hold 0 layers",)),
        "sparse weights": Case(sparse("model.safetensors", 2**40), ("longer than its header says",)),
        "no weights": Case(lambda folder: (folder / "model.safetensors").unlink(), ("holds no weights",)),
        **{
            f"weights: {what}": Case(instead("model.safetensors", make), ("model.safetensors", said))
            for what, make, said in (
                ("a folder", Path.mkdir, "is a folder"),
                ("a FIFO", os.mkfifo, "is a FIFO"),
                ("a socket", listen, "is a socket"),
                ("a device", link("/dev/zero"), "is a device"),
                ("a link loop", link("model.safetensors"), "leads nowhere"),
                ("a dangling link", link("blobs/0"), "leads nowhere"),
            )
        },
    }


def _index_cases() -> dict[str, Case]:
    cases = {
        f"index of {ascii(value)[:24]}": Case(index({"weight_map": value}), ("index.json", said))
        for value, said in (
            (None, "weight_map is null"),
            ([], "weight_map is a list"),
            (7, "weight_map is 7"),
            ("x", "weight_map is 'x'"),
            ({}, "weight_map is an object of 0"),
            ({"a": None}, "names the weights null"),
            ({"a": 3, "b": "x"}, "names the weights 3"),
            ({"a": ["x"]}, "names the weights a list"),
            ({"a": ""}, "names the weights ''"),
            ({"a": "../model.safetensors"}, "expected the name of a file in the folder"),
            ({"a": "/etc/passwd"}, "expected the name of a file in the folder"),
            ({"a": "sub/model.safetensors"}, "expected the name of a file in the folder"),
            ({"a": "..\\model.safetensors"}, "expected the name of a file in the folder"),
            ({"a": "x" * 5000 + ".safetensors"}, "expected the name of a file in the folder"),
            ({"a": "a\0.safetensors"}, "expected the name of a file in the folder"),
            ({"a": "\ud800.safetensors"}, "expected the name of a file in the folder"),
            ({"a": "config.json"}, "expected a .safetensors or .bin file"),
            ({"a": "."}, "expected the name of a file in the folder"),
            ({"a": "none.safetensors"}, "weights none.safetensors are missing"),
        )
    }
    for what, make, said in (
        ("a FIFO", os.mkfifo, "is a FIFO"),
        ("a folder", Path.mkdir, "is a folder"),
        ("a link loop", link("s.safetensors"), "leads nowhere"),
    ):
        cases[f"shard: {what}"] = Case(
            lambda folder, make=make: (
                index({"weight_map": {"a": "s.safetensors"}})(folder),
                make(folder / "s.safetensors"),
            ),
            ("s.safetensors", said),
        )
    return cases


def _checkpoint_cases() -> dict[str, Case]:
    data = pickle.dumps({"a": 1}, protocol=2)
    return {
        "bin: empty": Case(torch_bytes(b""), ("pytorch_model.bin is half-written",)),
        "bin: a start of a zip": Case(torch_bytes(b"PK half of a zip file"), ("half-written",)),
        "bin: a bare pickle": Case(torch_bytes(pickle.dumps(Runs())), ("not written by torch",)),
        "bin: code": Case(
            torch_zip({"archive/data.pkl": pickle.dumps(Runs(), protocol=2)}),
            ("asks for 'posix.system'", "nothing was run", "do not use this file"),
        ),
        "bin: eval": Case(
            torch_zip({"archive/data.pkl": b"cbuiltins\neval\n(X\x01\x00\x00\x001tR."}),
            ("asks for 'builtins.eval'",),
        ),
        "bin: no table": Case(torch_zip({"archive/x": data}), ("0 tables data.pkl",)),
        "bin: two tables": Case(torch_zip({"a/data.pkl": data, "b/data.pkl": data}), ("2 tables data.pkl",)),
        "bin: compressed": Case(
            torch_zip({"archive/data.pkl": data * 1000}, zipfile.ZIP_DEFLATED), ("is compressed",)
        ),
        "bin: broken pickle": Case(torch_zip({"archive/data.pkl": b"\x80\x02X"}), ("not written by torch",)),
        "bin: no tensors": Case(torch_zip({"archive/data.pkl": data}), ("hold 0 layers",)),
        "bin: a FIFO": Case(
            without_weights(lambda folder: os.mkfifo(folder / "pytorch_model.bin")), ("is a FIFO",)
        ),
    }


def _tokenizer_cases() -> dict[str, Case]:
    unigram = {"type": "Unigram", "unk_id": None, "byte_fallback": False}
    padding = {
        "direction": "Right",
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "x",
        "pad_to_multiple_of": None,
    }
    truncation = {"direction": "Right", "strategy": "LongestFirst"}
    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    file = "tokenizer.json"
    return {
        "no tokenizer": Case(
            lambda folder: [f.unlink() for f in folder.glob("token*")], ("has no tokenizer",)
        ),
        "token id 320 of 320": Case(
            token("zz", 320), ("token 'zz' has id 320; expected a whole number from 0 to 319",)
        ),
        "token id 2^32 - 1": Case(token("zz", 2**32 - 1), ("has id 4294967295",)),
        "token id -1": Case(token("zz", -1), ("has id -1",)),
        "token id text": Case(token("zz", "5"), ("has id '5' (a text)",)),
        "token id null": Case(token("zz", None), ("has id null",)),
        "token id 2.5": Case(token("zz", 2.5), ("has id 2.5",)),
        "vocabulary null": Case(model_of(vocab=None), ("model.vocab is null",)),
        "vocabulary empty": Case(model_of(vocab={}, merges=[]), ("model.vocab is empty",)),
        "vocabulary a number": Case(model_of(vocab=7), ("model.vocab is 7",)),
        "too many pieces": Case(
            fields(file, model=unigram | {"vocab": [["a", 0.0]] * 321}), ("has 321 tokens", "vocabulary 320")
        ),
        "model null": Case(fields(file, model=None), ("model is null",)),
        "model absent": Case(without(file, "model"), ("model is null",)),
        "added tokens null": Case(fields(file, added_tokens=None), ("added_tokens is null",)),
        "added token a text": Case(fields(file, added_tokens=["x"]), ("an added token is 'x'",)),
        "added token without text": Case(added(1, None), ("an added token is an object",)),
        "added token id text": Case(added("1", "x"), ("added token 'x' has id '1'",)),
        "BOS beyond the vocabulary": Case(
            added(5000, "<|endoftext|>"), ("_token '<|endoftext|>' has id 5000", "from 0 to 319")
        ),
        "padding to 10^11": Case(
            fields(file, padding=padding | {"strategy": {"Fixed": 10**11}}),
            ("padding Fixed is 100000000000",),
        ),
        "padding a text": Case(fields(file, padding="x"), ("padding is 'x'",)),
        "stride too long": Case(
            fields(file, truncation=truncation | {"max_length": 2, "stride": 5}),
            ("stride 5 and max_length 2",),
        ),
        "truncation null length": Case(fields(file, truncation=truncation), ("max_length null",)),
        "charsmap beyond itself": Case(charsmap("/////wAAAAA="), ("claims a table of 4,294,967,295",)),
        "charsmap no base64": Case(charsmap("?"), ("precompiled_charsmap of 0 bytes",)),
        "charsmap null": Case(charsmap(None), ("precompiled_charsmap of 0 bytes",)),
        "panic: prefix": Case(
            model_of(continuing_subword_prefix="##########"), ("no working tokenizer", "PanicException")
        ),
        "panic: template": Case(
            fields(
                file,
                post_processor={
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
                    "pair": [],
                    "special_tokens": {},
                },
            ),
            ("no working tokenizer", "PanicException"),
        ),
        "panic: chunks of 0": Case(
            fields(file, pre_tokenizer={"type": "FixedLength", "length": 0}), ("chunk size must be non-zero",)
        ),
        "panic: normalizer": Case(
            fields(file, normalizer={"type": "Prepend", "prepend": ""}), ("no working tokenizer",)
        ),
        "panic: a regex without end": Case(
            fields(file, pre_tokenizer=split | {"pattern": {"Regex": "(a+)+$"}}), ("no working tokenizer",)
        ),
        "a broken regex": Case(
            fields(file, pre_tokenizer=split | {"pattern": {"Regex": "(("}}), ("no working tokenizer",)
        ),
        "no unknown token": Case(
            fields(file, model=unigram | {"vocab": [["a", 0.0]]}), ("unk_id", "no working tokenizer")
        ),
        "a merge of nothing": Case(model_of(merges=[["qq", "zz"]]), ("no working tokenizer",)),
        "a number as BOS": Case(fields("tokenizer_config.json", bos_token=3), ("bos_token is 3",)),
        "a list as EOS": Case(fields("special_tokens_map.json", eos_token=[]), ("eos_token is a list",)),
        "added_tokens_decoder a list": Case(
            fields("tokenizer_config.json", added_tokens_decoder=[1]), ("added_tokens_decoder is a list",)
        ),
        "added_tokens_decoder of no id": Case(
            fields("tokenizer_config.json", added_tokens_decoder={"x": {}}), ("added_tokens_decoder has 'x'",)
        ),
        "length a text": Case(
            fields("tokenizer_config.json", model_max_length="x"), ("model_max_length is 'x'",)
        ),
        "added id a text": Case(
            fields("added_tokens.json", x="1"), ("added_tokens.json: token 'x' has id '1'",)
        ),
        "vocab.json beyond": Case(
            write("vocab.json", '{"a": 320}'), ("vocab.json: token 'a' has id 320", "from 0 to 319")
        ),
        "merges.txt a folder": Case(
            lambda folder: (folder / "merges.txt").mkdir(), ("merges.txt is a folder",)
        ),
        "a FIFO as template": Case(
            lambda folder: os.mkfifo(folder / "chat_template.jinja"),
            ("'chat_template.jinja' in it is a FIFO",),
        ),
        "a FIFO of any name": Case(lambda folder: os.mkfifo(folder / "x"), ("'x' in it is a FIFO",)),
        "a tokenizer of 2 GB": Case(sparse(file, 2**31), ("tokenizer.json has 2,147,483,648 bytes",)),
    }


CASES: dict[str, Case] = {
    **_json_cases(),
    **_config_cases(),
    **_header_cases(),
    **_index_cases(),
    **_checkpoint_cases(),
    **_tokenizer_cases(),
}


def damaged(name: str, good: Path, place: Path) -> Path:
    """A copy of a good folder, damaged as the case `name` says."""
    folder = Path(shutil.copytree(good, place / "model"))
    CASES[name].change(folder)
    return folder
