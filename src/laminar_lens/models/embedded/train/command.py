"""The command line."""

import argparse
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .checkpoint import load_checkpoint
from .config import CHANGEABLE, Config, TrainError, say
from .corpus import corpus_sha256
from .export import finish
from .run import Run
from .tokens import VOCAB, Data, load_data, prepare


def positive(kind: Callable[[str], Any], *, zero: bool = False) -> Callable[[str], Any]:
    """An argument type: a finite number above 0, or 0 as well."""

    def convert(text: str) -> Any:
        try:
            value = kind(text.replace("_", ""))
        except ValueError:
            value = -1
        if not (value > 0 or (zero and value == 0)) or math.isinf(value):
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} {'of at least' if zero else 'above'} 0")
        return value

    return convert


class Parser(argparse.ArgumentParser):
    """Without a usage box."""

    def error(self, message: str) -> Any:
        """One line for `main` to print."""
        raise TrainError(message)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = Parser(prog="train", description="Trains novella, a small GPT-2, on novels.", allow_abbrev=False)
    p.add_argument("--corpus", type=Path, metavar="DIR", help="folder of *.txt.gz, one paragraph a line")
    p.add_argument("--data", type=Path, metavar="FILE", help="token file of --prepare, instead of --corpus")
    p.add_argument("--prepare", type=Path, metavar="FILE", help="only write the token file of --corpus")
    p.add_argument(
        "--export", type=Path, metavar="CKPT", help="only write the model of a checkpoint to --out"
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="checkpoint, log, and at the end the model")
    p.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.add_argument("--minutes", type=positive(float), metavar="M", help="save and stop after M minutes")
    p.add_argument("--threads", type=positive(int), metavar="N", help="CPU threads")
    p.add_argument("--compile", action=argparse.BooleanOptionalAction, help="default: on CUDA only")
    p.add_argument("--vocab", type=positive(int), help=f"size of the tokenizer (default {VOCAB})")
    p.add_argument("--checkpoint-minutes", type=positive(float), default=3.0, metavar="M")
    p.add_argument("--log-every", type=positive(int), default=50, metavar="STEPS")
    for field in dataclasses.fields(Config):
        kind = positive(field.type, zero=field.name in ("seed", "weight_decay", "warmup"))  # type: ignore[arg-type]
        p.add_argument("--" + field.name.replace("_", "-"), type=kind, help=f"default {field.default}")
    return p


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments, checked with the standard library alone."""
    a = parser().parse_args(argv)
    if a.export is None and (a.corpus is None) == (a.data is None):
        raise TrainError("give one of --corpus DIR and --data FILE")
    if a.prepare is not None and a.corpus is None:
        raise TrainError("--prepare needs --corpus DIR")
    if a.prepare is None and a.out is None:
        raise TrainError("--out DIR is missing")
    if a.corpus is not None and not a.corpus.is_dir():
        raise TrainError(f"--corpus {a.corpus}: no such folder")
    for name in ("data", "export"):
        if getattr(a, name) is not None and not getattr(a, name).is_file():
            raise TrainError(f"--{name} {getattr(a, name)}: no such file")
    if a.vocab is not None and not 257 <= a.vocab <= 65_536:
        raise TrainError(f"--vocab {a.vocab}: must be from 257 to 65,536")
    if a.prepare is None and a.export is None:
        checkpoint = a.out / "checkpoint.pt"
        if a.resume and not checkpoint.is_file():
            raise TrainError(f"--resume: no checkpoint in {a.out}")
        if not a.resume and checkpoint.exists():
            raise TrainError(f"--out {a.out} holds a run already: add --resume, or choose another folder")
    width, heads = a.width or Config.width, a.heads or Config.heads
    if not a.resume and width % heads:
        raise TrainError(f"--width {width} is not a multiple of --heads {heads}")
    return a


def device_of(name: str) -> str:
    """The device to train on."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise TrainError("--device cuda: torch sees no CUDA device here")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def config_of(a: argparse.Namespace, device: str, state: dict[str, Any] | None) -> Config:
    """The run's configuration: the checkpoint's if there is one, and what was given by name."""
    given = {f.name: getattr(a, f.name) for f in dataclasses.fields(Config) if getattr(a, f.name) is not None}
    if state is None:
        return Config(**({"batch": 512} if device == "cuda" else {}) | given)
    for name, value in given.items():
        if name not in CHANGEABLE and value != state["config"][name]:
            raise TrainError(f"--{name} {value}: the checkpoint has {state['config'][name]}")
    return Config(**state["config"] | given)


def check_data(a: argparse.Namespace, data: Data, file: Path, state: dict[str, Any] | None) -> None:
    """That the token file is the one that the checkpoint and the other arguments mean."""
    if state is not None and state["meta"] != data.meta:
        raise TrainError(f"the checkpoint was trained from another token file than {file}: give that one")
    if a.vocab is not None and str(a.vocab) != data.meta["vocab"]:
        raise TrainError(f"--vocab {a.vocab}: {file} was made with {data.meta['vocab']}: leave it out")
    if a.corpus is not None and corpus_sha256(a.corpus) != data.meta["corpus_sha256"]:
        raise TrainError(
            f"--corpus {a.corpus}: {file} was made from other novels: give those, or leave it out"
        )


def run(a: argparse.Namespace) -> None:
    """Does what the arguments say."""
    import torch

    if a.threads:
        torch.set_num_threads(a.threads)
    if a.prepare is not None:
        return prepare(a.corpus, a.prepare, a.vocab or VOCAB)
    if a.export is not None:
        trained, held = load_checkpoint(a.export), load_data(a.data) if a.data else None
        if held is not None:
            check_data(a, held, a.data, trained)
        finish(trained, held, a.out)
        return None
    a.out.mkdir(parents=True, exist_ok=True)
    file = a.data or a.out / "novella.tokens"
    if a.corpus is not None and not (a.resume and file.exists()):
        prepare(a.corpus, file, a.vocab or VOCAB)
    device = device_of(a.device)
    torch.set_float32_matmul_precision("high")
    data, checkpoint = load_data(file), a.out / "checkpoint.pt"
    state = load_checkpoint(checkpoint) if a.resume else None
    check_data(a, data, file, state)
    cfg = config_of(a, device, state)
    job = Run(cfg, data, a.out, device, a.compile if a.compile is not None else device == "cuda")
    if state is not None:
        job.restore(state)
    count = sum(p.numel() for p in job.params.values())
    say(f"{count:,} parameters, {len(data.train):,} training tokens, {cfg.steps:,} steps on {device}")
    if job.train(a.minutes, 60 * a.checkpoint_minutes, a.log_every):
        measured = finish(job.state(), data, a.out / "novella")
        job.record(**{name: value for name, value in measured.items() if name.startswith("final")})
    else:
        say(f"stopped at step {job.step} of {cfg.steps}; --resume goes on")
    return None


def main(argv: list[str] | None = None) -> int:
    """The command; its exit status."""
    try:
        run(parse(argv))
    except TrainError as problem:
        say(f"train: {problem}")
        return 2
    except OSError as problem:
        say(f"train: {problem.filename}: {problem.strerror}" if problem.filename else f"train: {problem}")
        return 2
    return 0
