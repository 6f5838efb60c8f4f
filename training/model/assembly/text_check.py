"""Whether a tokenizer carries EarthGPT's texts: what training teaches must come back, letter by letter."""

from __future__ import annotations

import numpy as np

from mmrs.geometry import SquareFrame
from mmrs.instructions import prompts
from mmrs.instructions.answers import format_detections
from mmrs.instructions.dialects import DIALECTS
from training.model.processing import EarthGPTProcessor

_FRAME = SquareFrame(1000, 800)
_MARKUP = "a <image> b </s> <s> <|im_end|>"


def check_texts(processor: EarthGPTProcessor) -> None:
    """Encode and decode answers of every task and box dialect.

    Raises:
        ValueError: a text comes back changed, or reads as a special token.
    """
    for question, answer in sample_dialogues():
        ids, is_target = processor.encode_dialogue([("human", question), ("gpt", answer)])
        prompt = [token for token, target in zip(ids, is_target, strict=True) if not target]
        answered = [token for token, target in zip(ids, is_target, strict=True) if target]
        decoded = processor.decode_text(answered[:-1])
        if decoded != answer:
            raise ValueError(f"the tokenizer turns the answer {answer!r} into {decoded!r}; use another language model")
        written = "".join(text for text, _ in processor.form.question(question, first=True)).strip()
        asked = processor.tokenizer.decode(prompt).strip()
        if asked != written:
            raise ValueError(f"the tokenizer turns the prompt {written!r} into {asked!r}; use another language model")
    empty = set(processor.encode_dialogue([("human", "")])[0])
    special = set(processor.encode_dialogue([("human", _MARKUP)])[0]) & set(processor.tokenizer.all_special_ids) - empty
    if special:
        token = processor.tokenizer.convert_ids_to_tokens(min(special))
        raise ValueError(f"the tokenizer reads {token!r} in a text as a special token; use another language model")


def sample_dialogues() -> list[tuple[str, str]]:
    """(question, answer) pairs: each task's prompt, boxes of 4 and 8 numbers in every dialect, from edge to edge."""
    generator = np.random.default_rng(0)
    low = generator.uniform(0, 500, (12, 2))
    boxes = np.concatenate((low, low + generator.uniform(1, 300, (12, 2))), axis=1)
    boxes = np.concatenate((boxes, [[0, 0, 1000, 800]]))
    quads = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    pairs = [
        (prompts.CLASSIFICATION, "golf course"),
        (prompts.CAPTIONING, "A café, two ships (one grey) & a 12 m dock."),
    ]
    for dialect in DIALECTS.values():
        texts = {"detection-hbb": dialect.format_hbb(boxes, _FRAME), "detection-obb": dialect.format_obb(quads, _FRAME)}
        for task, text in texts.items():
            pairs.append((prompts.DETECTION_ALL[task], format_detections([("ship", 13, text), ("harbor", 1, text)])))
        one = dialect.format_hbb(boxes[:1], _FRAME)
        pairs.append((prompts.REGION_CAPTIONING.format(box=one), "The tiny vehicle"))
        pairs.append((prompts.VISUAL_GROUNDING.format(text="the left ship"), one))
    return pairs
