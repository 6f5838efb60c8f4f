"""Questions a second of `mmrs eval` with many questions an image.

    python -m benchmarks.evaluation --samples FOLDER --out RESULT.json

RSVQA asks 100 questions of a picture: those of the authors' excerpt, in FOLDER/rsvqa-lr-excerpt, as `mmrs eval` puts
them. The peer is one call of `generate` for each batch of questions, every question with its image, as most evaluation
scripts do it; ours encodes an image once and reads each token that questions of it share once. `tokens_a_question`
says what that can give: positions that both ways compute, image and answer included. Models have random weights, which
never end an answer, so both generate the same number of tokens: as many as "yes" or a count of RSVQA takes. Both run in
turn; the answers are compared token for token.
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
from benchmarks.real_evaluation import SOURCES, official_names
from converters.resolve import resolve
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from training.evaluation.generate import Decoding, generate_answers, plan_batches
from training.evaluation.questions import QuestionScope, load_questions, question_image
from training.evaluation.reading.prompt_tree import PromptTree, own_tokens
from training.evaluation.task import Question
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise, preset, train_tokenizer

QUIET = Progress(quiet=True)
TOKENS = 3
# Of the tiny recipe.
VOCABULARY = 1024
# Model, images, questions of a batch.
CASES = (("tiny", 8, 32), ("tiny", 8, 100), ("small", 1, 32), ("small", 1, 100))


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help=f"folder with {SOURCES['rsvqa-lr']}")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", action="append", help="only this preset; repeatable")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        data = built(given.samples, Path(folder))
        rows = [
            measured(
                name, load_questions(data, QuestionScope("train", tasks=("vqa",), limit=images)), batch, data, given
            )
            for name, images, batch in CASES
            if not given.model or name in given.model
        ]
    result = {"date": date.today().isoformat(), "machine": describe(), "threads": given.threads, "rows": rows}
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(
            f"{row['model']}, batches of {row['batch']}: {row['ratio']:.1f} x the questions/s of one `generate` a "
            f"batch, equal: {row['equal']}"
        )


def built(samples: Path, folder: Path) -> ShardSet:
    """The excerpt as a data set."""
    root = official_names(samples / SOURCES["rsvqa-lr"], folder / "raw")
    recipe = BuildRecipe.model_validate({"sources": [{"name": "rsvqa-lr"}]})
    build(plan_build(resolve(recipe, {"rsvqa-lr": root}).builds, recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return ShardSet(folder / "out")


def measured(
    name: str, questions: list[Question[Any]], batch: int, data: ShardSet, given: argparse.Namespace
) -> dict[str, Any]:
    """One row: seconds of processor time of both ways, in turn."""
    processor, model = random_model(name, [question.prompt for question in questions])
    decoding = Decoding(batch_size=batch, max_new_tokens=TOKENS)
    seconds: dict[str, list[float]] = {"one generate a batch": [], "mmrs eval": []}
    texts: dict[str, list[str]] = {}
    for _ in range(given.rounds):
        started = time.process_time()
        texts["one generate a batch"] = plainly(model, processor, data, questions, batch)
        seconds["one generate a batch"].append(time.process_time() - started)
        started = time.process_time()
        answers = generate_answers(model, processor, data, questions, decoding, lambda count: None)
        texts["mmrs eval"] = [answer.text for answer in answers]
        seconds["mmrs eval"].append(time.process_time() - started)
    rates = {way: len(questions) / min(values) for way, values in seconds.items()}
    return {
        "model": name,
        "images": len({question.record.id for question in questions}),
        "questions": len(questions),
        "tokens_an_answer": TOKENS,
        "batch": batch,
        "positions_an_image": processor.image_slots,
        "tokens_a_question": tokens_a_question(processor, questions, decoding),
        "processor_seconds": seconds,
        "questions_per_second": rates,
        "ratio": rates["mmrs eval"] / rates["one generate a batch"],
        "ratios_of_rounds": [
            plain / ours for plain, ours in zip(seconds["one generate a batch"], seconds["mmrs eval"], strict=True)
        ],
        "equal": texts["mmrs eval"] == texts["one generate a batch"],
    }


def tokens_a_question(
    processor: EarthGPTProcessor, questions: list[Question[Any]], decoding: Decoding
) -> dict[str, float]:
    """Positions that are computed for a question on average, of the image, the prompt and the answer but its last.

    `prompt` counts the tokens of prompts, `tree` those of all prompts of an image together, each once.
    """
    prefix, answer = len(processor.encode_prefix(with_image=True)), TOKENS - 1

    def encoded(question: Question[Any]) -> list[int]:
        return processor.encode_dialogue([("human", question.prompt)])[0]

    lengths = [len(encoded(question)) for question in questions]
    size = decoding.batch_size
    widest = [max(lengths[start : start + size]) for start in range(0, len(lengths), size)]
    plain = sum((prefix + width) * len(lengths[n * size : (n + 1) * size]) for n, width in enumerate(widest))
    images: dict[str, list[list[int]]] = {}
    for question in questions:
        images.setdefault(question.record.id, []).append(encoded(question))
    trees = {name: PromptTree() for name in images}
    for name, prompts in images.items():
        for prompt in prompts:
            trees[name].add(prompt)
    ours = prefix * len(images)
    for batch in plan_batches(questions, processor, decoding):
        asked: dict[str, list[list[int]]] = {}
        for question in batch.questions:
            asked.setdefault(question.record.id, []).append(encoded(question))
        own = own_tokens(list(asked.values()))
        read = [PromptTree() for _ in asked]
        for tree, prompts in zip(read, asked.values(), strict=True):
            for prompt in prompts:
                tree.add(prompt[:-own])
        ours += len(read) * max(len(tree.tokens) for tree in read) + own * len(batch.questions)
    count = len(questions)
    return {
        "prompt": sum(lengths) / count,
        "tree": sum(len(tree.tokens) for tree in trees.values()) / count,
        "one generate a batch": plain / count + answer,
        "mmrs eval": ours / count + answer,
    }


def random_model(name: str, texts: list[str]) -> tuple[EarthGPTProcessor, Any]:
    """A model of a preset with random weights that never ends an answer."""
    tokenizer = train_tokenizer(texts, VOCABULARY)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = preset(name, vocab_size=len(tokenizer), image_token_id=image_token_id, **ids)
    model = initialise(config, 0).eval()
    model.generation_config.suppress_tokens = [image_token_id, ids["eos_token_id"]]
    return EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots), model


def plainly(
    model: Any, processor: EarthGPTProcessor, data: ShardSet, questions: list[Question[Any]], size: int
) -> list[str]:
    """One call of `generate` for each batch of questions, every question with its image."""
    texts: list[str] = []
    for start in range(0, len(questions), size):
        batch = questions[start : start + size]
        inputs = processor(images=[question_image(data, q) for q in batch], text=[q.prompt for q in batch])
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        texts += processor.decode_answers(output, inputs["input_ids"].shape[1])
    return texts


if __name__ == "__main__":
    main()
