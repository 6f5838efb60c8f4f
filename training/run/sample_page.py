"""What a model will see, as one HTML page: `mmrs train RECIPE --sample N`. No model is loaded, no weight is read.

The first packs of the run are read as training reads them. Of each image the page shows the square that the encoders
get, after augmentation, its tokens as they stand in the pack, which of them the loss is on and with what weight, and
who sees whom (whatever window a decoder has besides). All of it lies in the page: it opens without a network, and what
comes from the data is escaped.

Shape suffixes: C channels, H W pixels, L tokens of one image with its dialogues, T targets.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path

import torch
from PIL import Image

from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.storage.atomic import write_atomic
from training.config import TrainConfig
from training.data.collate import Pack
from training.data.loader import plain_failures
from training.data.open import open_training_selection, plan_stream
from training.data.planning.pointer import Position
from training.data.stream import Stream
from training.data.webdataset import open_webdataset
from training.evaluation.page.markup import POLICY, STYLE
from training.model import PREFIX, EarthGPTProcessor, build_block_mask
from training.stages.initial_model import preview_start_model, read_start_model
from training.step.objective.balance import check_loss_tasks, step_weights
from training.step.ranks import Ranks

_STYLE = """
.sample { display: grid; grid-template-columns: minmax(0, 260px) minmax(0, 1fr); gap: 1rem; margin: 0 0 2rem;
  padding-top: 1rem; border-top: 1px solid var(--line); }
@media (max-width: 720px) { .sample { grid-template-columns: minmax(0, 1fr); } }
.sample img { width: 100%; max-width: 260px; height: auto; display: block; margin-bottom: .5rem; }
.sample img.mask { image-rendering: pixelated; border: 1px solid var(--line); }
.tokens { font: 13px/1.9 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; margin: .2rem 0 .8rem; }
.tokens span { border: 1px solid var(--line); border-radius: 3px; padding: 0 .15em; white-space: pre-wrap; }
.tokens span.loss { border-bottom: 3px solid #ff7f0e; background: rgba(255, 127, 14, .16); font-weight: 600; }
.tokens span.special { font-style: italic; opacity: .75; }
"""


@dataclass(frozen=True)
class _Token:
    """One position: its token, and the weight of the loss on it, None where there is none."""

    text: str
    is_special: bool
    position: int
    weight: float | None


@dataclass(frozen=True)
class _Part:
    """A run of positions: the prefix of an image, or one of its dialogues with its task."""

    title: str
    tokens: Sequence[_Token]


@dataclass(frozen=True)
class _Sample:
    sample_id: str
    where: str
    pixels_NCHW: torch.Tensor
    mask_LL: torch.Tensor
    parts: Sequence[_Part]


def draw_samples(config: TrainConfig, count: int, progress: Progress) -> Path:
    """Write ``OUT-samples.html`` with the first `count` images of the run; returns its path.

    Raises:
        UserError: data, tokenizer and configuration do not fit together, or no image can be read.
    """
    stream, processor = _open(config, progress)
    check_loss_tasks(config.loss, stream.tasks)
    samples = list(islice(_samples(config, stream, processor), count))
    if not samples:
        raise UserError(f"no image of the run's {stream.total_steps} steps can be read, so there is nothing to draw.")
    page = config.out.with_name(f"{config.out.name}-samples.html")
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(page, _page(config, samples).encode())
    return page


def _open(config: TrainConfig, progress: Progress) -> tuple[Stream, EarthGPTProcessor]:
    if config.data.webdataset:
        if config.model.path is None:
            raise UserError("data.webdataset shows no text to train a tokenizer on: --set model.path=MODEL_FOLDER")
        start_model = read_start_model(config.model.path, config.model.dialogue)
        stream: Stream = open_webdataset(config, start_model.processor, start_model.max_positions)
        return stream, start_model.processor
    selection = open_training_selection(config)
    start_model = preview_start_model(config.out / "model-init", config.model, selection)
    stream = plan_stream(config, selection, start_model.processor, start_model.max_positions, progress)
    return stream, start_model.processor


def _samples(config: TrainConfig, stream: Stream, processor: EarthGPTProcessor) -> Iterator[_Sample]:
    """Image by image, step by step: the weights of a loss are those of a whole step."""
    packs = plain_failures(iter(stream.loader(Position(0, stream.start()), Ranks())))
    for step in range(1, stream.total_steps + 1):
        own = list(islice(packs, config.packs_per_step))
        weights = step_weights(config.loss, stream.tasks, own, Ranks())
        for number, pack in enumerate(own, start=1):
            where = f"step {step}, pack {number} of {len(own)}"
            yield from _of_pack(pack, weights.of(pack), stream.tasks, processor, where)


def _of_pack(
    pack: Pack, weights_T: torch.Tensor, tasks: Sequence[str], processor: EarthGPTProcessor, where: str
) -> Iterator[_Sample]:
    # The token behind the position that predicts it.
    places = (pack.target_positions_T + 1).tolist()
    weight = dict(zip(places, weights_T.tolist(), strict=True))
    task = {place: tasks[number] for place, number in zip(places, pack.target_tasks_T.tolist(), strict=True)}
    first = 0
    for image, sample_id in enumerate(pack.sample_ids):
        own_L = (pack.image_segment_L == image).nonzero()[:, 0]
        segments_L = pack.dialogue_segment_L[own_L]
        parts = []
        for segment in segments_L.unique().tolist():
            run = own_L[segments_L == segment].tolist()
            title = (
                "prefix" if segment == PREFIX else next((task[place] for place in run if place in task), "no target")
            )
            parts.append(_Part(title, _tokens(pack, run, weight, processor)))
        mask_LL = build_block_mask(torch.zeros_like(segments_L)[None], segments_L[None])[0, 0]
        shown = int((pack.input_ids_L[own_L] == processor.image_token_id).sum()) // processor.image_slots
        yield _Sample(sample_id, where, pack.pixel_values_NCHW[first : first + shown], mask_LL, parts)
        first += shown


def _tokens(pack: Pack, run: Sequence[int], weight: dict[int, float], processor: EarthGPTProcessor) -> list[_Token]:
    tokenizer, tokens = processor.tokenizer, []
    special = set(tokenizer.all_special_ids) | {processor.image_token_id}
    slots = 0
    for place in run:
        number, position = int(pack.input_ids_L[place]), int(pack.position_ids_L[place])
        if number == processor.image_token_id:
            slots += 1
            continue
        if slots:
            tokens.append(_Token(f"{slots} positions of the image", True, position - slots, None))
            slots = 0
        text = tokenizer.decode([number]) or str(tokenizer.convert_ids_to_tokens(number))
        tokens.append(_Token(text, number in special, position, weight.get(place)))
    if slots:
        tokens.append(_Token(f"{slots} positions of the image", True, position - slots + 1, None))
    return tokens


def _page(config: TrainConfig, samples: Sequence[_Sample]) -> str:
    shown = "".join(_sample_html(sample) for sample in samples)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>What {escape(config.out.name)} will see</title><style>{STYLE}{_STYLE}</style></head><body>
<h1>What {escape(config.out.name)} will see</h1>
<p>The first {len(samples)} images of the run, as the model gets them: the padded square after augmentation, and its
tokens. <span class="tokens"><span class="loss">Marked</span></span> tokens are learnt: the output before each
predicts it. The dark cells of the square of tokens say which earlier ones (columns) each one (row) sees. Point at a
token for its position and its weight in the loss of the step.</p>
{shown}</body></html>
"""


def _sample_html(sample: _Sample) -> str:
    parts = "".join(
        f"<h3>{escape(part.title)}</h3><p class='tokens'>{' '.join(map(_token_html, part.tokens))}</p>"
        for part in sample.parts
    )
    squares = "".join(
        f"<img src='{_picture(_image(pixels_CHW))}' alt='{escape(sample.sample_id)}'>"
        for pixels_CHW in sample.pixels_NCHW
    )
    mask = _picture(_mask_image(sample.mask_LL))
    return (
        f"<section class='sample'><div>{squares}"
        f"<img class='mask' src='{mask}' alt='which tokens see which'></div>"
        f"<div><h2 class='text'>{escape(sample.sample_id)}</h2><p class='note'>{escape(sample.where)}</p>{parts}</div>"
        "</section>"
    )


def _token_html(token: _Token) -> str:
    kinds = [name for name, holds in (("loss", token.weight is not None), ("special", token.is_special)) if holds]
    told = f"position {token.position}" + ("" if token.weight is None else f", weight {token.weight:.3g}")
    text = escape(token.text).replace("\n", "↵") or "·"
    return f"<span class='{' '.join(kinds)}' title='{told}'>{text}</span>"


def _image(pixels_CHW: torch.Tensor) -> Image.Image:
    return Image.fromarray(pixels_CHW.permute(1, 2, 0).numpy())


def _mask_image(mask_LL: torch.Tensor) -> Image.Image:
    return Image.fromarray((~mask_LL).numpy().astype("uint8") * 215 + 30)


def _picture(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
