"""What a run reports: a line of JSON per step, TensorBoard, the terminal, and a plot at the end."""

from __future__ import annotations

import io
import json
import math
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch

from mmrs.files import write_atomic
from mmrs.progress import Progress
from training.data.collate import Pack

FULL_SKIP_LINES = 10
SKIP_LINE_EVERY = 100


@dataclass(frozen=True)
class StepReport:
    """One optimiser step. Losses are nats per target token; rates count real tokens only, never padding.

    `skipped_samples` and `samples` count from the start of the run; `memory_mb` is the peak of the process, or of the
    GPU where there is one.
    """

    step: int
    epoch: int
    loss: float
    task_loss: dict[str, float]
    learning_rate: float
    gradient_norm: float
    target_tokens: int
    input_tokens: int
    seconds: float
    target_tokens_per_second: float
    input_tokens_per_second: float
    padding_share: float
    data_wait_share: float
    samples: int
    skipped_samples: int
    memory_mb: float

    def to_json(self) -> str:
        """One line; the step first."""
        return json.dumps(vars(self), allow_nan=False)

    def scalars(self) -> dict[str, float]:
        """Names and values for TensorBoard."""
        flat = {name: value for name, value in vars(self).items() if name not in ("step", "task_loss")}
        return flat | {f"loss/{task}": value for task, value in self.task_loss.items()}


@dataclass
class Monitor:
    """Takes step reports. `tensorboard` is None where it is not wanted; `advance` moves a progress bar."""

    metrics: TextIO | None
    log_every_steps: int
    total_steps: int
    progress: Progress
    tensorboard: Any = None
    advance: Callable[[int], None] | None = None
    _skipped_lines: int = 0

    def step(self, report: StepReport) -> None:
        """Record one step; every `log_every_steps` of them also to TensorBoard and the terminal."""
        if self.metrics is None:
            return
        self.metrics.write(report.to_json() + "\n")
        self.metrics.flush()
        if self.advance is not None:
            self.advance(1)
        if report.step % self.log_every_steps and report.step != self.total_steps:
            return
        if self.tensorboard is not None:
            for name, value in report.scalars().items():
                self.tensorboard.add_scalar(name, value, report.step)
        self.say(
            f"step {report.step}/{self.total_steps}  loss {report.loss:.4f}  lr {report.learning_rate:.2e}  "
            f"grad {report.gradient_norm:.2f}  {report.target_tokens_per_second:.0f} target tokens/s  "
            f"padding {report.padding_share:.1%}  data wait {report.data_wait_share:.1%}"
        )

    def skipped(self, pack: Pack) -> None:
        """Name unreadable samples: each of the first ten, then every hundredth."""
        for sample_id, reason in pack.skipped:
            self._skipped_lines += 1
            if self._skipped_lines <= FULL_SKIP_LINES or self._skipped_lines % SKIP_LINE_EVERY == 0:
                self.say(f"skipped sample {self._skipped_lines}: {sample_id}: {reason}")

    def say(self, line: str) -> None:
        """One line on standard error, above the progress bar where there is one."""
        say(self.progress, line)


@contextmanager
def open_monitor(
    out: Path,
    done_steps: int,
    total_steps: int,
    log_every_steps: int,
    tensorboard: bool,
    progress: Progress,
    writes: bool = True,
) -> Iterator[Monitor]:
    """Open the run's metrics for the steps after `done_steps`; what an earlier process wrote of them is cut off.

    Args:
        writes: False on all ranks but one: their monitor takes reports and does nothing.
    """
    if not writes:
        yield Monitor(None, log_every_steps, total_steps, progress)
        return
    truncate_metrics(out / "metrics.jsonl", done_steps)
    with ExitStack() as stack:
        metrics = stack.enter_context((out / "metrics.jsonl").open("a"))
        monitor = Monitor(metrics, log_every_steps, total_steps, progress)
        if tensorboard:
            monitor.tensorboard = _tensorboard(out / "tensorboard", done_steps)
            stack.callback(monitor.tensorboard.close)
        # Elsewhere the lines of the log are the progress.
        if sys.stderr.isatty():
            monitor.advance = stack.enter_context(progress.stage("training", total_steps - done_steps))
        yield monitor


def say(progress: Progress, line: str) -> None:
    """One line for the person who waits, on standard error: results go to standard output, progress does not."""
    if not progress.quiet:
        print(line, file=sys.stderr, flush=True)


def truncate_metrics(path: Path, done_steps: int) -> None:
    """Keep the lines of steps 1..`done_steps`, so that each step occurs once although a run was killed and resumed."""
    if path.is_file():
        kept = [json.dumps(line) + "\n" for line in read_metrics(path) if line["step"] <= done_steps]
        write_atomic(path, "".join(kept).encode())


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics file as dicts; a last line cut short by a kill is left out."""
    lines = path.read_text().splitlines() if path.is_file() else []
    parsed = []
    for number, line in enumerate(lines, start=1):
        try:
            parsed.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise
    return parsed


def plot_loss(metrics: Path, image: Path) -> None:
    """Draw loss over steps, in total and per task, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_metrics(metrics)
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for task in sorted({task for line in lines for task in line["task_loss"]}):
        points = [(line["step"], line["task_loss"][task]) for line in lines if task in line["task_loss"]]
        axes.plot(*zip(*points, strict=True), linewidth=0.8, alpha=0.7, label=task)
    axes.plot([line["step"] for line in lines], [line["loss"] for line in lines], color="black", label="all tasks")
    axes.set(xlabel="optimiser step", ylabel="loss in nats per target token", title="training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    pyplot.close(figure)
    write_atomic(image, drawn.getvalue())


def memory_mb(device: torch.device) -> float:
    """Peak memory in MB (10^6 bytes): of the GPU, or resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def task_means(sums: torch.Tensor, counts: torch.Tensor, tasks: tuple[str, ...]) -> dict[str, float]:
    """Mean loss of each task that has target tokens in the step."""
    pairs = zip(tasks, sums.tolist(), counts.tolist(), strict=True)
    return {task: total / count for task, total, count in pairs if count and math.isfinite(total)}


def _tensorboard(folder: Path, done_steps: int) -> Any:
    # Imported here: it takes a second that a run without it need not wait.
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=done_steps + 1)
