"""`mmrs init`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from mmrs.commands.options import FOLDER, filled, name_values
from mmrs.errors import UserError


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What `mmrs init` was given, by the names of its options."""

    out: Path
    llm: str
    encoders: dict[str, str]
    size: str
    dtype: str
    seed: int
    changes: dict[str, str]


@click.command()
@click.argument("out", type=FOLDER, metavar="MODEL_DIR")
@click.option("--llm", required=True, help="LLaMA, SmolLM, Qwen, Mistral, Gemma or Phi: folder, GGUF or hub name.")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NAME=SOURCE",
    callback=name_values,
    help="DINOv2 or 3, CLIP, SigLIP or ConvNeXt: folder, checkpoint of its authors, OpenCLIP or timm, hub name, the "
    "folder of a trained EarthGPT, or none to leave it out. The presets have vit and cnn, with random weights by "
    "default; another name is one more encoder. Repeatable.",
)
@click.option(
    "--size", default="small", show_default=True, help="Image sizes and token merge of: tiny, small, 7b, 13b."
)
@click.option("--dtype", default="", help="float32, bfloat16 or float16; default: that of the language model.")
@click.option("--seed", default=0, show_default=True, help="Of all random weights.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    callback=name_values,
    help="Field of the configuration, such as token_merge=2, fusion=sum or vit.image_size=336; repeatable.",
)
@filled(InitOptions)
def init(options: InitOptions) -> None:
    """Assemble an EarthGPT in MODEL_DIR from a pre-trained language model and encoders, for `mmrs train`.

    Only safetensors, GGUF and weights-only checkpoints are read: no file can run code. The licence that each part
    states is shown, and written into the model card. Image sizes and the shapes of random encoders are the preset's.
    """
    _check_sources({"--llm": options.llm} | {f"--encoder {name}": each for name, each in options.encoders.items()})
    import yaml

    from training.model.assembly.assemble import AssemblyRequest, assemble, describe_assembly
    from training.model.folder import quiet_transformers

    request = AssemblyRequest(
        options.out,
        options.llm,
        options.encoders,
        size=options.size,
        seed=options.seed,
        dtype=options.dtype,
        changes={name: yaml.safe_load(value) for name, value in options.changes.items()},
    )
    with quiet_transformers():
        result = assemble(request)
    click.echo(describe_assembly(result))


def _check_sources(sources: dict[str, str]) -> None:
    """Raise UserError for a URL: a hub is asked again and again for a name that it cannot have."""
    for option, source in sources.items():
        if "://" in source:
            raise UserError(
                f"{option} is a URL; give a folder, a file or a name on the Hub such as HuggingFaceTB/SmolLM2-135M, or "
                "download it first: hf download NAME --local-dir DIR."
            )
