"""`mmrs init`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from mmrs.commands.options import FOLDER, filled, name_values


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What `mmrs init` was given, by the names of its options."""

    out: Path
    llm: str
    vit: str | None
    cnn: str | None
    size: str
    dtype: str | None
    seed: int
    changes: dict[str, str]


@click.command()
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
    callback=name_values,
    help="Field of the configuration, such as token_merge=2 or fusion=sum; repeatable.",
)
@filled(InitOptions)
def init(options: InitOptions) -> None:
    """Assemble an EarthGPT in MODEL_DIR from a pre-trained language model and encoders, for `mmrs train`.

    Only safetensors, GGUF and weights-only checkpoints are read: no file can run code. The licence that each part
    states is shown, and written into the model card. Image sizes and the shapes of random encoders are the preset's.
    """
    import yaml

    from training.model.assembly.assemble import assemble, describe_assembly
    from training.model.folder import quiet_transformers

    with quiet_transformers():
        result = assemble(
            options.out,
            options.vit,
            options.cnn,
            options.llm,
            size=options.size,
            seed=options.seed,
            dtype=options.dtype,
            changes={name: yaml.safe_load(value) for name, value in options.changes.items()},
        )
    click.echo(describe_assembly(result))
