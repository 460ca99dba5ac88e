"""A training run: its steps, checkpoints, log and bar."""

import dataclasses
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import check_finite, diverged, save_checkpoint
from .config import Config, TrainError
from .files import write_whole
from .gpt2 import init_params, loss_of, validation_loss
from .tokens import Data, batch_at

if TYPE_CHECKING:
    import torch


class Progress:
    """A bar with the time left on a terminal, a line every half minute elsewhere."""

    def __init__(self, steps: int) -> None:
        self.steps, self.shown, self.live = steps, 0.0, sys.stderr.isatty()

    def show(self, step: int, rate: float, left_s: float, loss: float) -> None:
        """Draws the bar, unless it was drawn just now."""
        now = time.monotonic()
        if now - self.shown < (0.2 if self.live else 30) and step < self.steps:
            return
        self.shown = now
        done = 30 * step // self.steps
        bar = "#" * done + "." * (30 - done)
        left = f"{int(left_s) // 3600}:{int(left_s) // 60 % 60:02}:{int(left_s) % 60:02}"
        line = f"[{bar}] {step}/{self.steps}  loss {loss:.3f}  {rate:,.0f} tokens/s  {left} left"
        print("\r" + line if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar's line."""
        if self.live:
            print(file=sys.stderr)


def step_of(line: bytes) -> float:
    """The step of a log line; infinity for a line that was not written to its end."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return math.inf


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Signals to stop that came; a step is finished first."""
    stopped: list[int] = []
    signals = (signal.SIGTERM, signal.SIGINT)
    handlers = {s: signal.signal(s, lambda number, _: stopped.append(number)) for s in signals}
    try:
        yield stopped
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def checked(loss: float, what: str, step: int) -> float:
    """The loss, or TrainError if it is not finite."""
    if not math.isfinite(loss):
        raise diverged(what, step)
    return loss


class Run:
    """A training run: parameters and optimizer on the device, and a folder with its checkpoint and log."""

    def __init__(self, cfg: Config, data: Data, out: Path, device: str, compiled: bool) -> None:
        import torch

        self.cfg, self.data, self.out, self.device, self.step, self.seconds = cfg, data, out, device, 0, 0.0
        if len(data.train) <= cfg.context + 1:
            raise TrainError(
                f"training text of {len(data.train)} tokens: too short for --context {cfg.context}"
            )
        self.tokens = torch.from_numpy(data.train.astype("int32")).to(device)
        self.val = torch.from_numpy(data.val.astype("int32")).to(device)
        self.params = {n: p.to(device).requires_grad_() for n, p in init_params(cfg, data.vocab).items()}
        matrices = [p for p in self.params.values() if p.ndim > 1]
        vectors = [p for p in self.params.values() if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": cfg.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=cfg.lr, betas=(0.9, 0.95), fused=True)
        self.loss: Callable[..., torch.Tensor] = loss_of
        if compiled:
            self.loss = torch.compile(loss_of, dynamic=False)

    def restore(self, state: dict[str, Any]) -> None:
        """Takes up a checkpoint; log lines written after it, or only in part, are dropped."""
        import torch

        with torch.no_grad():
            for name, p in self.params.items():
                p.copy_(state["params"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        for group, decay in zip(self.optimizer.param_groups, (self.cfg.weight_decay, 0.0), strict=True):
            group["weight_decay"] = decay
        self.step, self.seconds = state["step"], state["seconds"]
        log = self.out / "log.jsonl"
        if log.exists():
            kept = [line for line in log.read_bytes().splitlines() if step_of(line) <= self.step]
            write_whole(log, b"".join(line + b"\n" for line in kept))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "config": dataclasses.asdict(self.cfg),
            "params": {n: p.detach().cpu() for n, p in self.params.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "tokens": self.step * self.cfg.batch * self.cfg.context,
            "seconds": self.seconds,
            "meta": self.data.meta,
        }

    def save(self) -> None:
        """Writes the checkpoint, never over a good one when training has diverged."""
        state = self.state()
        check_finite(state)
        save_checkpoint(self.out / "checkpoint.pt", state)

    def record(self, **numbers: float | int) -> None:
        """Appends a line to the log."""
        with (self.out / "log.jsonl").open("a") as log:
            seen = self.step * self.cfg.batch * self.cfg.context
            log.write(json.dumps({"step": self.step, "tokens": seen, **numbers}) + "\n")

    def advance(self) -> "torch.Tensor":
        """One optimizer step; the loss stays on the device."""
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.cfg.lr_at(self.step)
        windows = batch_at(self.cfg, self.tokens, self.data.bos, self.step)
        with torch.autocast(self.device, dtype=torch.bfloat16):
            loss = self.loss(self.params, windows, self.cfg.layers, self.cfg.heads)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.params.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()

    def train(self, minutes: float | None, checkpoint_s: float = 180.0, log_every: int = 50) -> bool:
        """Trains to the end of the schedule (True), or until time is up or a signal comes (False)."""
        progress = Progress(self.cfg.steps)
        begin = saved = mark = time.monotonic()
        before, first = self.seconds, self.step
        with stop_signals() as stopped:
            try:
                while self.step < self.cfg.steps and not stopped:
                    loss = self.advance()
                    now = time.monotonic()
                    self.seconds = before + now - begin
                    if self.step % log_every == 0 or self.step == self.cfg.steps:
                        value = checked(float(loss), "loss is", self.step)
                        now = time.monotonic()
                        size = self.cfg.batch * self.cfg.context
                        rate = ((self.step - 1) % log_every + 1) * size / (now - mark)
                        mark = now
                        left = (self.cfg.steps - self.step) * (now - begin) / (self.step - first)
                        self.record(loss=value, lr=self.cfg.lr_at(self.step - 1), tokens_per_s=round(rate))
                        progress.show(self.step, rate, left, value)
                    if self.step % (20 * log_every) == 0:
                        self.validate()
                    if now - saved > checkpoint_s:
                        self.save()
                        saved = now
                    if minutes is not None and now - begin > 60 * minutes:
                        break
            finally:
                progress.close()
        self.save()
        return self.step >= self.cfg.steps

    def validate(self) -> None:
        """Logs the loss on a part of the held-out text."""
        val = validation_loss(self.params, self.cfg, self.val, most=128)
        checked(val, "validation loss is", self.step)
        self.record(val_loss=val, bits_per_byte=val / math.log(2) / self.data.bytes_per_token)
