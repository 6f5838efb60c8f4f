"""Questions a second of `mmrs eval` with many questions an image: `python -m benchmarks.evaluation --out RESULT.json`.

RSVQA asks 100 questions of a picture. The peer is one call of `generate` for each batch of questions, every question
with its image, as most evaluation scripts do it; ours encodes an image once and reads what its questions share once.
Models have random weights, which never end an answer, so both generate the same number of tokens: as many as "yes" or a
count of RSVQA takes. Both run in turn, three times; the answers are compared token for token.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import describe
from converters.resolve import resolve
from converters.samples import write
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.instructions.dialects import dialect
from mmrs.instructions.prompts import VQA
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from training.evaluation.generate import Decoding, generate_answers
from training.evaluation.questions import question_image
from training.evaluation.task import AnswerForm, Question, Truth
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise, preset, train_tokenizer

QUIET = Progress(quiet=True)
QUESTIONS_AN_IMAGE, TOKENS, BATCH, ROUNDS = 100, 3, 32, 3
# Of the tiny recipe.
VOCABULARY = 1024


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = built(Path(folder))
        rows = [measured(name, images, data) for name, images in (("tiny", 6), ("small", 1))]
    result = {"date": date.today().isoformat(), "machine": describe(), "threads": arguments.threads, "rows": rows}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(f"{row['model']}: {row['ratio']:.1f} x the questions/s of one `generate` a batch, equal: {row['equal']}")


def built(folder: Path) -> ShardSet:
    """A small data set of generated scenes with questions."""
    write("rsvqa-lr", folder / "raw")
    recipe = BuildRecipe.model_validate({"sources": [{"name": "rsvqa-lr", "root": str(folder / "raw")}]})
    build(plan_build(resolve(recipe).builds, recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return ShardSet(folder / "out")


def measured(name: str, images: int, data: ShardSet) -> dict[str, Any]:
    """One row: seconds of both ways, in turn, for `images` pictures."""
    questions = questions_of(data, images)
    processor, model = random_model(name, [question.prompt for question in questions])
    seconds: dict[str, list[float]] = {"one generate a batch": [], "mmrs eval": []}
    texts: dict[str, list[str]] = {}
    decoding = Decoding(batch_size=BATCH, max_new_tokens=TOKENS)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        texts["one generate a batch"] = plainly(model, processor, data, questions)
        seconds["one generate a batch"].append(time.perf_counter() - started)
        started = time.perf_counter()
        answers = generate_answers(model, processor, data, questions, decoding, lambda count: None)
        texts["mmrs eval"] = [answer.text for answer in answers]
        seconds["mmrs eval"].append(time.perf_counter() - started)
    rates = {way: len(questions) / min(values) for way, values in seconds.items()}
    return {
        "model": name,
        "images": images,
        "questions": len(questions),
        "tokens_an_answer": TOKENS,
        "batch": BATCH,
        "positions_an_image": processor.image_slots,
        "mean_prompt_tokens": sum(len(processor.encode_dialogue([("human", q.prompt)])[0]) for q in questions)
        / len(questions),
        "seconds": seconds,
        "questions_per_second": rates,
        "ratio": rates["mmrs eval"] / rates["one generate a batch"],
        "equal": texts["mmrs eval"] == texts["one generate a batch"],
    }


def questions_of(data: ShardSet, images: int) -> list[Question[Any]]:
    """A hundred different questions about each of the first images."""
    rows = data.table("train").to_pylist()
    records = [data.record(row) for row in rows]
    prompts = list(dict.fromkeys(VQA.format(question=item.question) for record in records for item in record.questions))
    # RSVQA asks the same few templates of every image, of many classes; a number makes ours different.
    asked = [f"{n} {prompts[n % len(prompts)]}" for n in range(QUESTIONS_AN_IMAGE)]
    form = AnswerForm((), dialect("mmrs"))
    # Scored as classes of scenes, since only what is generated counts here.
    return [
        Question(f"{record.id}-{number}", "classification", prompt, Truth("yes"), record, form, row)
        for record, row in list(zip(records, rows, strict=True))[:images]
        for number, prompt in enumerate(asked)
    ]


def random_model(name: str, texts: list[str]) -> tuple[EarthGPTProcessor, Any]:
    """A model of a preset with random weights that never ends an answer."""
    tokenizer = train_tokenizer(texts, VOCABULARY)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = preset(name, vocab_size=len(tokenizer), image_token_id=image_token_id, **ids)
    model = initialise(config, 0).eval()
    model.generation_config.suppress_tokens = [image_token_id, ids["eos_token_id"]]
    return EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots), model


def plainly(model: Any, processor: EarthGPTProcessor, data: ShardSet, questions: list[Question[Any]]) -> list[str]:
    """One call of `generate` for each batch of questions, every question with its image."""
    texts: list[str] = []
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        inputs = processor(images=[question_image(data, q) for q in batch], text=[q.prompt for q in batch])
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        texts += processor.decode_answers(output, inputs["input_ids"].shape[1])
    return texts


if __name__ == "__main__":
    main()
