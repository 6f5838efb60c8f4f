"""What a run reports: a line of JSON per step and per evaluation, TensorBoard, and the terminal."""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from PIL import Image

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.storage.atomic import write_atomic
from mmrs.storage.plain_files import open_no_link
from training.config import LogConfig
from training.data.collate import Pack
from training.report.tracker import Tracker, open_tracker

FULL_SKIP_LINES = 10
SKIP_LINE_EVERY = 100
METRICS, HELD_OUT = "metrics.jsonl", "held-out.jsonl"


@dataclass(frozen=True)
class StepReport:
    """One optimiser step of all ranks. Losses are nats per target token; rates count real tokens, never padding.

    `auxiliary_loss` has the means of the heads of `training.step.objective.auxiliary`; where they train the image side
    alone, `loss` is their sum. `learning_rates` are by the pattern of their rule. `mfu` is None where the device's peak
    is not known. `samples` and `skipped_samples` count from the start of the run. `data_wait_share` and `memory_mb` are
    those of the rank that waited longest and of the one that took most: the peak of the process, or of the GPU where
    there is one. `augmented` is the share of the images that each kind of augmentation reached, of those that the
    configuration asks for.
    """

    step: int
    epoch: int
    loss: float
    task_loss: dict[str, float]
    sensor_loss: dict[str, float]
    auxiliary_loss: dict[str, float]
    learning_rates: dict[str, float]
    gradient_norm: float
    target_tokens: int
    input_tokens: int
    images: int
    seconds: float
    target_tokens_per_second: float
    input_tokens_per_second: float
    padding_share: float
    data_wait_share: float
    mfu: float | None
    samples: int
    skipped_samples: int
    memory_mb: float
    augmented: dict[str, float]

    def to_json(self) -> str:
        """One line; the step first."""
        return json.dumps(vars(self), allow_nan=False)

    def scalars(self) -> dict[str, float]:
        """Names and values for TensorBoard."""
        flat = {name: value for name, value in vars(self).items() if isinstance(value, int | float) and name != "step"}
        rates = {f"learning_rate/{number}": rate for number, rate in enumerate(self.learning_rates.values())}
        losses = _by_name("loss", self.task_loss) | _by_name("sensor_loss", self.sensor_loss)
        losses |= _by_name("auxiliary_loss", self.auxiliary_loss)
        return flat | rates | losses | _by_name("augmented", self.augmented)


@dataclass(frozen=True)
class HeldOutReport:
    """Loss on the held-out packs after `step` steps, in nats per target token."""

    step: int
    loss: float
    task_loss: dict[str, float]
    sensor_loss: dict[str, float]
    target_tokens: int
    seconds: float

    def to_json(self) -> str:
        """One line; the step first."""
        return json.dumps(vars(self), allow_nan=False)

    def scalars(self) -> dict[str, float]:
        """Names and values for TensorBoard."""
        losses = _by_name("held_out", self.task_loss) | _by_name("held_out_sensor", self.sensor_loss)
        return {"held_out/all": self.loss} | losses


@dataclass
class Monitor:
    """Takes reports. Without files (of a rank that does not write) it does nothing.

    `tensorboard` and `tracker` are None where they are not wanted; `advance` moves a progress bar.
    """

    metrics: TextIO | None
    held_out_metrics: TextIO | None
    log_every_steps: int
    total_steps: int
    progress: Progress
    tensorboard: Any = None
    tracker: Tracker | None = None
    advance: Callable[[int], None] | None = None
    _skipped_lines: int = 0

    def step(self, report: StepReport) -> None:
        """Record one step; every `log_every_steps` of them also to TensorBoard and the terminal."""
        if self.metrics is None:
            return
        _write_line(self.metrics, report.to_json())
        if self.advance is not None:
            self.advance(1)
        if report.step % self.log_every_steps and report.step != self.total_steps:
            return
        self._scalars(report.scalars(), report.step)
        rate = max(report.learning_rates.values())
        utilisation = "" if report.mfu is None else f"  MFU {report.mfu:.1%}"
        self.progress.line(
            f"step {report.step}/{self.total_steps}  loss {report.loss:.4f}  lr {rate:.2e}  "
            f"grad {report.gradient_norm:.2f}  {report.target_tokens_per_second:.0f} target tokens/s  "
            f"padding {report.padding_share:.1%}  data wait {report.data_wait_share:.1%}{utilisation}"
        )

    def held_out(self, report: HeldOutReport, picture: Path | None = None) -> None:
        """Record one evaluation, and the picture of its answers."""
        if self.held_out_metrics is None:
            return
        _write_line(self.held_out_metrics, report.to_json())
        self._scalars(report.scalars(), report.step)
        if picture is not None and self.tensorboard is not None:
            with Image.open(picture) as image:
                pixels_HWC = np.asarray(image.convert("RGB"))
            self.tensorboard.add_image("held_out/answers", pixels_HWC, report.step, dataformats="HWC")
        tasks = ", ".join(f"{task} {loss:.4f}" for task, loss in report.task_loss.items())
        seen = f"; answers in {picture}" if picture is not None else ""
        self.progress.line(f"held-out loss after step {report.step}: {report.loss:.4f} ({tasks}){seen}")

    def skipped(self, sample_id: str, reason: str) -> None:
        """Name unreadable samples: each of the first ten, then every hundredth."""
        self._skipped_lines += 1
        if self._skipped_lines <= FULL_SKIP_LINES or self._skipped_lines % SKIP_LINE_EVERY == 0:
            self.progress.line(f"skipped sample {self._skipped_lines}: {sample_id}: {reason}")

    def ended_early(self, step: int, evaluations: int, best: float) -> None:
        """Say why a run ends before its last step."""
        self.progress.line(
            f"ended after step {step}: the held-out loss has not fallen below {best:.4f} for {evaluations} evaluations"
        )

    def _scalars(self, values: dict[str, float], step: int) -> None:
        if self.tracker is not None:
            self.tracker.log(values, step)
        if self.tensorboard is not None:
            for name, value in values.items():
                self.tensorboard.add_scalar(name, value, step)


@contextmanager
def open_monitor(
    out: Path, done_steps: int, total_steps: int, log: LogConfig, progress: Progress, writes: bool = True
) -> Iterator[Monitor]:
    """Open the run's metrics for the steps after `done_steps`; what an earlier process wrote of them is cut off.

    Args:
        writes: False on all ranks but one: their monitor takes reports and does nothing.
    """
    if not writes:
        yield Monitor(None, None, log.every_steps, total_steps, Progress(quiet=True))
        return
    with ExitStack() as stack:
        for name in (METRICS, HELD_OUT):
            truncate_metrics(out / name, done_steps)
        appended = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        metrics, held_out = (
            stack.enter_context(open(open_no_link(out / name, appended), "a")) for name in (METRICS, HELD_OUT)
        )
        monitor = Monitor(metrics, held_out, log.every_steps, total_steps, progress)
        if log.tensorboard:
            stack.enter_context(_said_in_a_line(progress))
            monitor.tensorboard = _tensorboard(out / "tensorboard", done_steps)
            stack.callback(monitor.tensorboard.close)
        monitor.tracker = open_tracker(log, out)
        if monitor.tracker is not None:
            stack.callback(monitor.tracker.close)
        # Elsewhere the lines of the log are the progress.
        if sys.stderr.isatty():
            monitor.advance = stack.enter_context(progress.stage("training", total_steps - done_steps))
        yield monitor


def truncate_metrics(path: Path, done_steps: int) -> None:
    """Keep the lines of steps 1..`done_steps`, so that each step occurs once although a run was killed and resumed."""
    if path.is_file():
        kept = [json.dumps(line, allow_nan=False) + "\n" for line in read_metrics(path) if line["step"] <= done_steps]
        write_atomic(path, "".join(kept).encode())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics file as dicts; a last line cut short by a kill is left out.

    Raises:
        UserError: another line is none of a run.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    parsed = []
    for number, line in enumerate(lines, start=1):
        try:
            parsed.append({"step": int(json.loads(line)["step"])} | json.loads(line))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            if number < len(lines):
                raise UserError(
                    f"{path}:{number} is no line of a run. Move the file away: training writes it anew from here on."
                ) from error
    return parsed


def augmented_images(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Share of all images of the lines of a metrics file that each kind of augmentation reached."""
    shares = [(line["images"], line.get("augmented", {})) for line in lines]
    kinds = sorted({kind for _, reached in shares for kind in reached})
    images = sum(count for count, _ in shares)
    return {kind: sum(count * reached.get(kind, 0) for count, reached in shares) / images for kind in kinds if images}


def skipped_samples(packs: list[Pack]) -> str:
    """Id and reason of each unreadable sample as lines of JSON, to send between ranks."""
    return "\n".join(json.dumps(pair, allow_nan=False) for pack in packs for pair in pack.skipped)


def memory_mb(device: torch.device) -> float:
    """Peak memory in MB (10^6 bytes): of the GPU, or resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _by_name(head: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{head}/{name}": value for name, value in values.items()}


def _write_line(file: TextIO, line: str) -> None:
    file.write(line + "\n")
    file.flush()


@contextmanager
def _said_in_a_line(progress: Progress) -> Iterator[None]:
    """What the thread that writes for TensorBoard meets, a full disk for instance, in a line and not as a traceback.

    The run itself goes on or ends by its own files.
    """
    before = threading.excepthook

    def said(failed: threading.ExceptHookArgs) -> None:
        if isinstance(failed.exc_value, OSError):
            progress.line(f"TensorBoard's file is not written: {failed.exc_value}")
        else:
            before(failed)

    threading.excepthook = said
    try:
        yield
    finally:
        threading.excepthook = before


def _tensorboard(folder: Path, done_steps: int) -> Any:
    # Imported here: it takes a second that a run without it need not wait.
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done_steps + 1)
