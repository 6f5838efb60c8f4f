"""`mmrs eval`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import FOLDER

if TYPE_CHECKING:
    from mmrs.progress import Progress


def _or_none(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    return values or None


@click.command("eval")
@click.argument("model", type=FOLDER)
@click.argument("data", type=FOLDER)
@click.option("--split", default="test", show_default=True, help="Split to score.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    callback=_or_none,
    help="Only this source; repeatable. Default: all that have the split.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    default=("classification", "detection-hbb"),
    help="Only this task; repeatable. Default: classification, detection-hbb.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="At most this many images of each source, chosen by a fixed seed."
)
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1), help="Prompts generated at once.")
@click.option("--max-new-tokens", default=256, show_default=True, type=click.IntRange(1), help="Longest answer.")
@click.option(
    "--constrained", is_flag=True, help="Keep answers inside their grammar; not comparable with other scores."
)
@click.option("--out", type=FOLDER, required=True, help="Folder for predictions.jsonl, scores.json, predictions.png.")
@click.pass_obj
def evaluate(progress: Progress, **options: Any) -> None:
    """Score MODEL on a split of DATA by greedy generation: accuracy for classes, F1 at IoU 0.5 for boxes."""
    from training.evaluation.run import EvaluationConfig, describe_scores
    from training.evaluation.run import evaluate as run_evaluation

    click.echo(describe_scores(run_evaluation(EvaluationConfig(**options), progress)))
