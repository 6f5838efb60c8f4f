"""`mmrs eval` and `mmrs score`: answers of a model, and the scores of any answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmrs.commands.options import FILE, FOLDER, LOCATION

if TYPE_CHECKING:
    from mmrs.progress import Progress


def _or_none(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    return values or None


SCOPE_OPTIONS = (
    click.option("--split", default="test", show_default=True, help="Split to score."),
    click.option(
        "--source",
        "sources",
        multiple=True,
        callback=_or_none,
        help="Only this source; repeatable. Default: all that have the split.",
    ),
    click.option("--task", "tasks", multiple=True, help="Only this task; repeatable. Default: all that have a scorer."),
    click.option(
        "--limit", type=click.IntRange(1), help="At most this many images of each source, chosen by a fixed seed."
    ),
    click.option(
        "--dialect",
        default="",
        metavar="NAME",
        help="How boxes are written in the answers. Default: as in the data set.",
    ),
    click.option(
        "--protocol",
        "protocols",
        multiple=True,
        metavar="NAME",
        help="How a task is scored, such as detection-hbb/f1-25; repeatable. Default: the first of each task.",
    ),
)


def scope_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which questions are asked and how they are scored, alike in both commands."""
    for option in reversed(SCOPE_OPTIONS):
        command = option(command)
    return command


class _ModelLocation(click.ParamType):
    """A model's folder as `Path`, or the address of an API as text."""

    name = "MODEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith(("http://", "https://")):
            return value
        return FOLDER.convert(value, param, ctx)


@click.command("eval")
@click.argument("model", type=_ModelLocation())
@click.argument("data", metavar="DIR_OR_URL", type=LOCATION)
@scope_options
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1), help="Prompts generated at once.")
@click.option(
    "--max-new-tokens", default=0, type=click.IntRange(0), help="Longest answer. Default: what each task needs."
)
@click.option(
    "--constrained", is_flag=True, help="Keep answers inside their grammar; not comparable with other scores."
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Of the model; auto: bfloat16 on a GPU.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes that share the questions, on this machine's GPUs in turn. Under torchrun its ranks do.",
)
@click.option(
    "--suite",
    default="",
    metavar="NAME",
    help="Benchmarks with published values: paper, sensors, zero-shot, a file.",
)
@click.option(
    "--trained-on",
    multiple=True,
    metavar="DIR_OR_URL",
    type=LOCATION,
    help="With --suite: data that the model was trained on, to look for copies in; repeatable.",
)
@click.option(
    "--adapter",
    default="",
    metavar="NAME",
    help="How another model writes boxes: qwen3-vl, qwen2.5-vl, internvl, llava, mmrs. Default: by its kind.",
)
@click.option("--model", "model_name", default="", metavar="NAME", help="Of an endpoint: which of its models is asked.")
@click.option(
    "--concurrency", default=8, show_default=True, type=click.IntRange(1, 256), help="Of an endpoint: requests at once."
)
@click.option(
    "--token-variable",
    default="OPENAI_API_KEY",
    show_default=True,
    metavar="NAME",
    help="Of an endpoint: the environment variable that holds the token.",
)
@click.option(
    "--log-probabilities/--no-log-probabilities",
    default=True,
    help="Of an endpoint: ask for those of the tokens, which rank boxes.",
)
@click.option(
    "--out", type=FOLDER, required=True, help="Folder for answers.jsonl, scores.json, evaluation.html, predictions.png."
)
@click.pass_obj
def evaluate(progress: Progress, model: Path | str, data: Path | str, out: Path, **options: Any) -> None:
    """Score MODEL on a split of a data set by greedy generation, each task by its protocol.

    MODEL is a folder of ours, a folder of any image-text-to-text checkpoint of transformers, or https://HOST/v1 of an
    OpenAI-compatible server.

    Every image of the split is asked. A row says what a constant answer would get, and how many answers could not be
    read whole; all stay in the denominator. Started again with the same --out, a stopped evaluation goes on. A suite
    says itself what is asked, and writes suite.json beside a folder for each split.
    """
    from training.evaluation.generate import Decoding
    from training.evaluation.models.endpoint import Endpoint
    from training.evaluation.questions import QuestionScope
    from training.evaluation.run import EvaluationConfig
    from training.evaluation.run import evaluate as run_evaluation
    from training.evaluation.score_file import describe_scores

    scope = QuestionScope(**_taken(options, "split", "sources", "tasks", "limit", "dialect"))
    decoding = Decoding(**_taken(options, "batch_size", "max_new_tokens", "constrained", "precision"))
    endpoint = Endpoint(options["model_name"], **_taken(options, "concurrency", "token_variable", "log_probabilities"))
    config = EvaluationConfig(
        model, data, out, scope, decoding, **_taken(options, "protocols", "workers", "adapter"), endpoint=endpoint
    )
    if options["suite"]:
        from training.evaluation.suites.of_model import evaluate_suite

        click.echo(evaluate_suite(options["suite"], config, options["trained_on"], progress))
        return
    result = run_evaluation(config, progress)
    if result is not None:
        click.echo(describe_scores(result))


@click.command()
@click.argument("answers", type=FILE)
@click.argument("data", metavar="[DIR_OR_URL]", type=LOCATION, required=False)
@scope_options
@click.option(
    "--layout",
    default="mmrs",
    show_default=True,
    metavar="NAME",
    help="Whose file it is: mmrs, geochat (both with DIR_OR_URL), earthdial or vrsbench (they carry their truth).",
)
@click.option(
    "--adapter",
    default="",
    metavar="NAME",
    help="Of lines in our layout: whose own words they are in, as qwen3-vl. Default: in ours.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder for scores.json, evaluation.html, predictions.png.")
def score(answers: Path, data: Path | str | None, out: Path, **options: Any) -> None:
    """Score ANSWERS, an answers.jsonl of `mmrs eval` or of anybody, to questions about a split of a data set.

    A line is {"id": "<record id>#<task>", "text": "..."}. Questions that nobody answered count as wrong. Files of other
    projects are read by --layout.
    """
    from training.evaluation.questions import QuestionScope
    from training.evaluation.rescore import RescoreConfig, rescore
    from training.evaluation.score_file import describe_scores

    scope = QuestionScope(**_taken(options, "split", "sources", "tasks", "limit", "dialect"))
    config = RescoreConfig(answers, data, out, scope, **_taken(options, "protocols", "layout", "adapter"))
    click.echo(describe_scores(rescore(config)))


@click.command()
@click.argument("first", type=FOLDER)
@click.argument("second", type=FOLDER)
@click.argument("data", metavar="DIR_OR_URL", type=LOCATION)
@click.option("--out", type=FILE, required=True, help="The page, an HTML file.")
def compare(first: Path, second: Path, data: Path | str, out: Path) -> None:
    """Compare two runs of `mmrs eval` or `mmrs score` on the same questions of a data set.

    Differences are drawn over the images of both runs at once; the page shows the answers on which they differ most.
    """
    from training.evaluation.comparison.compare import compare as compare_runs
    from training.evaluation.comparison.compare import describe_comparison

    click.echo(describe_comparison(compare_runs(first, second, data, out)))


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names}
