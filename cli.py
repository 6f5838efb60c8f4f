"""The command line: parse, call one function, print. Heavy imports happen inside the commands."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import click


class _Folder(click.Path):
    """A folder of this machine; a URL is refused with what to do instead."""

    def convert(self, value, param, ctx):
        if "://" in str(value):
            self.fail(f"{value}: this needs a folder of this machine; copy the data set to one first.", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = _Folder(file_okay=False, path_type=Path)
BUILD_RECIPES = Path(__file__).resolve().parent / "mmrs" / "builder" / "recipes"
TRAIN_RECIPES = Path(__file__).resolve().parent / "training" / "recipes"
DEMO_DETECTION = {
    "images_per_split": "{train: 3000, val: 50, test: 200}",
    "objects_per_image": "[1, 1]",
    "object_sides": "[140, 280]",
    "dont_care": "false",
    "equal_classes": "true",
    "layouts": "[rotate_json]",
}
DEMO_CLASSIFICATION = {"images_per_class": "60"}


class _Commands(click.Group):
    """A group that turns every error into one readable message and an exit code: 2 for mistakes, 1 for failures."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted; the same command goes on from what is finished", err=True)
            sys.exit(130)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            self._report(error, bool(ctx.params.get("debug")))

    @staticmethod
    def _report(error: Exception, debug: bool) -> None:
        from mmrs.errors import RunFailure, UserError

        if isinstance(error, UserError | RunFailure):
            message = str(error)
        elif isinstance(error, OSError) and error.filename is not None:
            reason = error.strerror or type(error).__name__
            message = f"{error.filename}: {reason}. Check the path, its permissions and the free space."
        else:
            message = (
                f"{type(error).__name__}: {error}\nThis is a fault of the program; `mmrs --debug ...` shows where."
            )
        if debug:
            import traceback

            traceback.print_exception(error)
        click.echo(f"error: {message}", err=True)
        sys.exit(2 if isinstance(error, UserError) else 1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option("--debug", is_flag=True, help="Show the traceback of an error too.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@click.version_option(package_name="mmrs")
@click.pass_context
def main(ctx: click.Context, debug: bool, quiet: bool) -> None:
    """Remote-sensing data sets -> instruction shards -> a streaming fine-tune of EarthGPT -> scores.

    Exit codes: 0 done, 1 failure, 2 mistake in the command or its input, 75 training stopped by a signal after a
    checkpoint (run it again), 130 interrupted.
    """
    from mmrs.progress import Progress

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    ctx.obj = Progress(quiet=quiet)


def _pairs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``NAME=VALUE`` options as a mapping."""
    pairs = {}
    for value in values:
        name, separator, content = value.partition("=")
        if not separator or not name or not content:
            raise click.BadParameter(f"{value!r} must look like NAME=VALUE", context, parameter)
        pairs[name] = content
    return pairs


def _train_recipe(recipe: str) -> Path:
    """A training recipe given by path, or by the name of one of the project's."""
    shipped = TRAIN_RECIPES / f"{recipe}.yaml"
    return shipped if not Path(recipe).exists() and shipped.exists() else Path(recipe)


option_workers = click.option(
    "--workers", default=os.cpu_count() or 1, show_default=True, type=click.IntRange(1), help="Processes."
)
option_options = click.option(
    "--set",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_pairs,
    help="Option of the converter; repeatable.",
)
option_overrides = click.option(
    "--set", "overrides", multiple=True, metavar="A.B=C", help="Change a key of the recipe; repeatable."
)


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sources(name: str | None, as_json: bool) -> None:
    """List the data sets that can be converted, or show one: tasks, sensor, licence, splits, layout, options."""
    from converters.describe import describe_sources

    click.echo(describe_sources(name, as_json))


@main.command()
@click.argument("source")
@click.option("--out", type=FOLDER, required=True, help="Folder to write to; must not exist or be empty.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same files.")
@option_options
def sample(source: str, out: Path, seed: int, options: dict[str, str]) -> None:
    """Write a small generated stand-in of SOURCE in its true layout, to try a recipe without any download."""
    from converters.describe import write_sample

    click.echo(write_sample(source, out, seed, options))


@main.command()
@click.argument("source")
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--compare-layouts", is_flag=True, help="Compare all layouts found, object by object (HIT-UAV).")
@option_options
@click.pass_obj
def scan(progress, source: str, root: Path, as_json: bool, compare_layouts: bool, options: dict[str, str]) -> None:
    """Say what of SOURCE is under ROOT, what is missing, and how it compares with the published counts.

    Annotations are parsed, images are not opened, nothing is written. The layout may lie up to two folders below ROOT,
    or in parts; archives that are still packed are named with the command that unpacks them.
    """
    from converters.scan import compare, scan_source

    if compare_layouts:
        click.echo(compare(source, root, as_json))
    else:
        click.echo(scan_source(source, root, options, progress).render(as_json))


@main.command()
@click.argument("recipe")
@click.option(
    "--out",
    metavar="DIR_OR_URL",
    required=True,
    help="Folder of the data set, or a URL such as s3://BUCKET/FOLDER; an interrupted build continues there.",
)
@click.option(
    "--root", "roots", multiple=True, metavar="SOURCE=DIR", callback=_pairs, help="Where a source lies; repeatable."
)
@option_overrides
@option_workers
@click.option(
    "--engine",
    type=click.Choice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="Where shards are made; the bytes are the same.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="A Ray cluster that runs already (default RAY_ADDRESS; else one of --workers processes for this build).",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and what would be written, and stop.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print both as JSON.")
@click.pass_obj
def build(progress, recipe, out: str, roots, overrides, workers, engine, address, dry_run, as_json) -> None:
    """Build WebDataset shards from the sources of RECIPE: a YAML file, a shipped one by name, or a source."""
    from converters.resolve import find_recipe, resolve
    from mmrs.builder import run
    from mmrs.builder.summary import describe_findings, describe_plan, describe_result, plan_json
    from mmrs.storage.place import open_place

    # Mistakes in these must not wait for the survey.
    if as_json and not dry_run:
        raise click.UsageError("--json prints a plan: give --dry-run too")
    chosen = run.choose_engine(engine, workers, address)
    open_place(out)
    parsed = find_recipe(recipe, BUILD_RECIPES, overrides)
    found = resolve(parsed, {name: Path(folder) for name, folder in roots.items()})
    plan = run.plan_build(found.builds, parsed, workers, progress)
    if as_json:
        click.echo(plan_json(plan, run.inspect_output(plan, out), found.left_out))
        return
    click.echo(describe_plan(plan, found.left_out))
    if dry_run:
        click.echo(describe_findings(run.inspect_output(plan, out)))
        return

    def announce(findings) -> None:
        click.echo(describe_findings(findings))

    click.echo(describe_result(run.build(plan, parsed, out, workers, progress, chosen, announce), out))


@main.command()
@click.argument("folder", metavar="DIR_OR_URL")
@option_workers
@click.option("--repair-index", is_flag=True, help="Write an index beside each sound tar that is not ours.")
@click.pass_obj
def verify(progress, folder: str, workers: int, repair_index: bool) -> None:
    """Check every byte, member, record and image of a data set of `mmrs build`, or of any WebDataset tars.

    DIR_OR_URL is a data set, a folder of tars, or one tar; at a URL a data set only. Exit code 1 on any finding.
    """
    path = Path(folder)
    if "://" in folder or (path / "manifest.json").is_file() or (path / ".build").is_dir():
        from mmrs.verify.dataset import describe_verification, verify_dataset

        result = verify_dataset(folder, workers, progress)
        click.echo(describe_verification(result))
    else:
        from mmrs.verify.webdataset import describe_webdataset, verify_webdataset

        result = verify_webdataset(path, workers, progress, repair_index)
        click.echo(describe_webdataset(result))
    if result.findings:
        sys.exit(1)


@main.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--train-split", "train_splits", multiple=True, help="Trained on; repeatable. Default: as the data set was built."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@option_workers
@click.pass_obj
def curate(progress, folder: Path, train_splits: tuple[str, ...], as_json: bool, workers: int) -> None:
    """Find copies across all sources and splits, training images that leak into evaluation, and faults in the text.

    Writes curation.jsonl and curation.json into FOLDER. To remove the leaks, build FOLDER again with
    `--set exclude=FOLDER/curation.jsonl`: only shards that lose an image are written again. Every split that is no
    training split, and every source for evaluation only, counts as evaluated; evaluated images are never removed.
    """
    from mmrs.curation.guard import policy_of
    from mmrs.curation.report import describe_curation
    from mmrs.curation.run import curate as run_curate
    from mmrs.shards.manifest import load_manifest

    result = run_curate(folder, progress, policy_of(load_manifest(folder), train_splits), workers)
    click.echo((folder / "curation.json").read_text() if as_json else describe_curation(result, folder))


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--parquet", type=FOLDER, help="Write the tables as Parquet into this folder too.")
def stats(folder: Path, as_json: bool, parquet: Path | None) -> None:
    """Count a data set by source, sensor, task, class, image size and text length, from its indexes alone."""
    from mmrs.report.statistics import describe_statistics, statistics, to_json, write_parquet

    found = statistics(folder)
    click.echo(to_json(found).decode() if as_json else describe_statistics(found))
    if parquet:
        write_parquet(found, parquet)


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The HTML file.")
@click.option("--per-source", default=6, show_default=True, type=click.IntRange(1), help="Images of each source.")
@click.option("--seed", default=0, show_default=True, help="Which images.")
def report(folder: Path, out: Path, per_source: int, seed: int) -> None:
    """Write one self-contained HTML page: counts, plots, and images with their boxes, captions and questions."""
    from mmrs.report.page import write_report

    write_report(folder, out, per_source=per_source, seed=seed)
    click.echo(f"written: {out}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.argument("repo")
@click.option("--private", is_flag=True, help="Create the repository as private; an existing public one is refused.")
@click.option("--dry-run", is_flag=True, help="Say what would be uploaded, and stop.")
@click.option("--allow-unknown-licences", is_flag=True, help="Publish sources that state no licence.")
@click.option("--endpoint", help="Another Hub than the default.")
@click.pass_obj
def push(
    progress, folder: Path, repo: str, private: bool, dry_run: bool, allow_unknown_licences: bool, endpoint
) -> None:
    """Publish a data set on the Hugging Face Hub as REPO (ORG/NAME): shards first, manifest and card last.

    A push that was interrupted continues; a second push of the same data uploads nothing. The token is that of
    `hf auth login` or HF_TOKEN and is never printed.
    """
    from converters.describe import source_notes
    from mmrs.hub.push import describe_push
    from mmrs.hub.push import push as run_push
    from mmrs.report.plots import card_plots

    result = run_push(
        folder,
        repo,
        private=private,
        dry_run=dry_run,
        progress=progress,
        notes=source_notes(),
        plots=card_plots(folder, progress),
        allow_unknown_licences=allow_unknown_licences,
        endpoint=endpoint,
    )
    click.echo(describe_push(result))


@main.command()
@click.argument("recipe")
@option_overrides
@click.option("--fresh", is_flag=True, help="Refuse to continue a run that is already in the recipe's `out`.")
@click.option("--plan", "plan_only", is_flag=True, help="Print what an epoch holds and stop; no model is loaded.")
@click.pass_obj
def train(progress, recipe: str, overrides: tuple[str, ...], fresh: bool, plan_only: bool) -> None:
    """Train EarthGPT on shards as RECIPE says (a YAML file, or the name of one in training/recipes).

    A run that was stopped continues from its newest checkpoint when the same command is given again.
    """
    # Threads that spin for long while they wait make a busy machine many times slower; read when torch is imported.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from training.config import load_config

    if plan_only:
        from training.report.plan_preview import preview

        click.echo(preview(load_config(_train_recipe(recipe), overrides), progress))
        return
    from training.run.signals import RunStopped
    from training.run.train import describe_run
    from training.run.train import train as run_training

    try:
        result = run_training(load_config(_train_recipe(recipe), overrides), progress, fresh)
    except RunStopped as stopped:
        click.echo(stopped.message, err=True)
        raise
    if result.rank == 0:
        click.echo(describe_run(result))


@main.command()
@click.argument("out", type=FOLDER, metavar="MODEL_DIR")
@click.option(
    "--llm", required=True, help="LLaMA-2, SmolLM2 or another of that architecture: folder, GGUF or hub name."
)
@click.option("--vit", help="DINOv2: folder, original .pth, or hub name. Default: random weights of --size.")
@click.option("--cnn", help="ConvNeXt: folder, OpenCLIP or timm file, or hub name. Default: random weights of --size.")
@click.option(
    "--size", default="small", show_default=True, help="Image sizes and token merge of: tiny, small, 7b, 13b."
)
@click.option("--dtype", help="float32, bfloat16 or float16; default: that of the language model.")
@click.option("--seed", default=0, show_default=True, help="Of all random weights.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    callback=_pairs,
    help="Field of the configuration, such as token_merge=2 or fusion=sum; repeatable.",
)
def init(out: Path, llm: str, vit, cnn, size: str, dtype, seed: int, changes: dict[str, str]) -> None:
    """Assemble an EarthGPT in MODEL_DIR from a pre-trained language model and encoders, for `mmrs train`.

    Only safetensors, GGUF and weights-only checkpoints are read: no file can run code. The licence that each part
    states is shown, and written into the model card. Image sizes and the shapes of random encoders are the preset's.
    """
    import yaml

    from training.model.assembly.assemble import assemble, describe_assembly
    from training.run.determinism import quiet_transformers

    values = {name: yaml.safe_load(value) for name, value in changes.items()}
    with quiet_transformers():
        result = assemble(out, vit, cnn, llm, size=size, seed=seed, dtype=dtype, changes=values)
    click.echo(describe_assembly(result))


@main.command("inspect")
@click.argument("model")
@click.option(
    "--recipe", help="What this training recipe would train: a YAML file, or the name of one in training/recipes."
)
@option_overrides
def inspect_model(model: str, recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Show parts, licences and parameters of MODEL, a folder or a preset, and what --recipe trains at what cost."""
    from training.config import load_config
    from training.report.model_report import inspect

    if overrides and recipe is None:
        raise click.UsageError("--set changes a recipe; give --recipe too")
    click.echo(inspect(model, load_config(_train_recipe(recipe), overrides) if recipe else None))


@main.command("export-model")
@click.argument("model", type=FOLDER)
@click.argument("out", type=FOLDER)
@click.option(
    "--form",
    type=click.Choice(["folded", "llama", "delta"]),
    default="folded",
    show_default=True,
    help="A plain EarthGPT; its language model alone; or only what training changed.",
)
@click.option("--delta", type=FOLDER, help="Put this delta onto MODEL first.")
@click.option("--base", type=FOLDER, help="With --form delta: the model that training started from.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), help="Of the written weights.")
@click.option(
    "--scores",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A scores.json of `mmrs eval`, for the model card; repeatable.",
)
def export_model(model: Path, out: Path, form, delta, base, dtype, scores) -> None:
    """Write a trained MODEL, such as RUN/model, for others: tuning vectors folded, model card beside it."""
    from training.model.export.export import export
    from training.run.determinism import quiet_transformers

    with quiet_transformers():
        click.echo(export(model, out, form, delta=delta, base=base, dtype=dtype, scores=scores))


@main.command("export-checkpoint")
@click.argument("checkpoint", type=FOLDER)
@click.argument("out", type=FOLDER)
def export_checkpoint(checkpoint: Path, out: Path) -> None:
    """Write the model of CHECKPOINT, such as RUN/checkpoints/step-00000100, as OUT/model in the form of RUN/model."""
    from training.run.determinism import quiet_transformers
    from training.run.final_model import export_checkpoint as run_export

    with quiet_transformers():
        click.echo(f"written: {run_export(checkpoint, out)}")


@main.command("eval")
@click.argument("model", type=FOLDER)
@click.argument("data", type=FOLDER)
@click.option("--split", default="test", show_default=True, help="Split to score.")
@click.option(
    "--source", "sources", multiple=True, help="Only this source; repeatable. Default: all that have the split."
)
@click.option(
    "--task", "tasks", multiple=True, help="Only this task; repeatable. Default: classification, detection-hbb."
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
def evaluate(progress, model, data, split, sources, tasks, limit, batch_size, max_new_tokens, constrained, out) -> None:
    """Score MODEL on a split of DATA by greedy generation: accuracy for classes, F1 at IoU 0.5 for boxes."""
    from training.evaluation.run import EvaluationConfig, describe_scores
    from training.evaluation.run import evaluate as run_evaluation

    config = EvaluationConfig(
        model=model,
        data=data,
        split=split,
        sources=sources or None,
        tasks=tasks or ("classification", "detection-hbb"),
        limit=limit,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        constrained=constrained,
        out=out,
    )
    click.echo(describe_scores(run_evaluation(config, progress)))


@main.group()
def release() -> None:
    """The official MMRS-1M archive: read it, audit it, write it back byte for byte, compare it with a rebuild."""


@release.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=FOLDER, required=True, help="Folder for the ingested archive.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def ingest(progress, source: Path, out: Path, as_json: bool) -> None:
    """Read the archive in SOURCE: a part, the folder of its parts data.tar.gz.0, .1, ..., or an unpacked folder.

    The parts are one stream and are never unpacked to disk. Every row keeps its exact bytes beside its parsed content.
    """
    from mmrs.release.ingest import ingest as run_ingest

    click.echo(run_ingest(source, out, progress).render(as_json))


@release.command("export")
@click.argument("ingested", type=FOLDER)
@click.option("--out", type=FOLDER, required=True, help="Folder for the JSON files.")
def export_release(ingested: Path, out: Path) -> None:
    """Write the JSON files of an ingested archive back, byte for byte."""
    from mmrs.release.export import export

    click.echo(export(ingested, out).render())


@release.command()
@click.argument("ingested", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(ingested: Path, as_json: bool) -> None:
    """Compare an ingested archive with the known counts and list its known defects. Exit code 1 where they differ."""
    from mmrs.release.audit import audit as run_audit

    report = run_audit(ingested)
    click.echo(report.render(as_json))
    if not report.agrees:
        sys.exit(1)


@release.command("compare")
@click.argument("ingested", type=FOLDER)
@click.argument("dataset", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare_release(ingested: Path, dataset: Path, as_json: bool) -> None:
    """Say per source how far DATASET, a build of `mmrs build`, agrees with an ingested archive."""
    from mmrs.release.compare import compare

    click.echo(compare(ingested, dataset).render(as_json))


@main.command()
@click.option(
    "--out", type=FOLDER, default=Path("demo-output"), show_default=True, help="Folder for everything it makes."
)
@option_workers
@click.pass_context
def demo(ctx: click.Context, out: Path, workers: int) -> None:
    """The whole system in one go on generated scenes: sample, scan, build, verify, train (tiny, CPU), eval.

    Run again after an interruption, it continues: finished shards, checkpoints and samples are kept.
    """
    raw, shards, run, scores = out / "raw", out / "shards", out / "run", out / "scores"
    _demo_sample(ctx, "hit-uav", raw / "hit-uav", DEMO_DETECTION)
    _demo_sample(ctx, "ucmerced", raw / "ucmerced", DEMO_CLASSIFICATION)
    _step(ctx, scan, source="hit-uav", root=raw / "hit-uav", options={})
    overrides = (f"data_root={raw}",)
    _step(ctx, build, recipe="demo", out=str(shards), overrides=overrides, roots={}, workers=workers)
    _step(ctx, verify, folder=str(shards), workers=workers)
    _step(ctx, train, recipe="demo", overrides=(f"data.folders={shards}", f"out={run}"))
    _step(ctx, evaluate, model=run / "model", data=shards, out=scores)
    click.echo(f"\nshards        {shards}\nmodel         {run / 'model'}\nrun           {run}")
    click.echo(f"scores        {scores / 'scores.json'}\npredictions   {scores / 'predictions.png'}")


def _demo_sample(ctx: click.Context, source: str, out: Path, options: dict[str, str]) -> None:
    """Write a sample once: a marker, written last, tells a whole one from an interrupted one."""
    finished = out.with_suffix(".finished")
    if finished.exists():
        return
    if out.exists():
        shutil.rmtree(out)
    _step(ctx, sample, source=source, out=out, seed=0, options=options)
    finished.touch()


def _step(ctx: click.Context, command: click.Command, **arguments) -> None:
    """Run one command of the demo, after showing how to type it."""
    words = [arguments[name] for name in ("source", "root", "recipe", "folder", "model", "data") if name in arguments]
    options = [f"--set {value}" for value in arguments.get("overrides", ())]
    options += [f"--set '{name}={value}'" for name, value in arguments.get("options", {}).items()]
    options += [f"--out {arguments['out']}"] if "out" in arguments else []
    click.secho("\n$ " + " ".join(["mmrs", str(command.name), *map(str, words), *options]), bold=True)
    ctx.invoke(command, **arguments)


if __name__ == "__main__":
    main()
