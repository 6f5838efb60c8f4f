"""Memory of training beside the formulas, on a GPU: `python -m benchmarks.memory --preset 7b --out RESULT.json`.

Random bf16 weights are made on the GPU. For each stage one pack goes forward and backward, and what the allocator says
is compared with `training.model.accounting`: weights, what autograd keeps after the forward pass, and the peak.
Checked besides, on the same model: adding tuning vectors leaves the logits bit-identical, and greedy generation with a
KV cache for a left-padded batch, images and text-only prompts mixed, takes the tokens of each prompt alone.
"""

from __future__ import annotations

import argparse
import gc
import json
from datetime import date
from pathlib import Path

import torch
from torch.nn import functional

from benchmarks.machine import describe
from training.config import StageConfig
from training.model import EarthGPTForConditionalGeneration, preset
from training.model.accounting import activation_memory, state_memory
from training.stages.stage import add_tuned_parameters, apply_stage

IDS = {"vocab_size": 32_000, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "image_token_id": 32_000}
STAGES = {
    "projector": (None, ["projector"]),
    "stage b": ("bias-scale", ["vectors"]),
    "stage b, norms, projector": ("bias-scale", ["vectors", "norms", "projector"]),
    "stage b, bias alone": ("bias", ["vectors"]),
}


def main() -> None:
    """Measure every stage, with and without activation checkpointing, and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="7b")
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--targets", type=int, default=1024)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [
        measure(given.preset, name, given.tokens, given.images, given.targets, checkpointing)
        for name in STAGES
        for checkpointing in (False, True)
    ]
    result = {
        "date": date.today().isoformat(),
        "machine": describe() | {"gpu": torch.cuda.get_device_name()},
        "settings": {key: value for key, value in vars(given).items() if key != "out"},
        "memory": rows,
        "checks": check(given.preset),
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def build(name: str) -> EarthGPTForConditionalGeneration:
    """The preset with random bf16 weights on the GPU."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            return EarthGPTForConditionalGeneration(preset(name, **IDS))
    finally:
        torch.set_default_dtype(default)


def measure(name: str, stage_name: str, tokens: int, images: int, targets: int, checkpointing: bool) -> dict:
    """Bytes measured and by formula for one stage."""
    kind, sets = STAGES[stage_name]
    model = build(name).train()
    rules = [{"set": each, "learning_rate": 1e-4} for each in sets]
    stage = StageConfig.model_validate({"tuning": {"kind": kind} if kind else None, "trainable": rules})
    add_tuned_parameters(model, stage, 0)
    apply_stage(model, stage, torch.bfloat16)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids_1L, pixels_NCHW = inputs(model, tokens, images)
    positions_T = torch.arange(tokens - targets, tokens, device="cuda")
    torch.cuda.synchronize()
    weights = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda", torch.bfloat16):
        states_TD = model.hidden_states(ids_1L, pixels_NCHW)[0].index_select(0, positions_T)
        loss = functional.cross_entropy(model.lm_head(states_TD).float(), ids_1L[0, positions_T])
    kept = torch.cuda.memory_allocated() - weights
    loss.backward()
    formula = activation_memory(model, tokens, images, targets, torch.bfloat16, checkpointing)
    recomputed = formula.pop("recomputed", 0)
    row = {
        "stage": stage_name,
        "checkpointing": checkpointing,
        "weights": weights,
        "weights_formula": state_memory(model).weights,
        "kept_after_forward": kept,
        "kept_formula": sum(formula.values()),
        "recomputed_formula": recomputed,
        "peak_above_weights": torch.cuda.max_memory_allocated() - weights,
    }
    row["formula_by_measured"] = round(row["kept_formula"] / kept, 4)
    print(json.dumps(row), flush=True)
    return row


def inputs(model: EarthGPTForConditionalGeneration, tokens: int, images: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (1, L) with the images first, and pixels."""
    slots, size = model.config.image_slots * images, model.config.image_size
    text = torch.randint(3, 32_000, (tokens - slots - 1,)).tolist()
    ids_1L = torch.tensor([[1, *[32_000] * slots, *text]], device="cuda")
    return ids_1L, torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8, device="cuda")


@torch.inference_mode()
def check(name: str) -> dict:
    """Step 0 of stage B, and generation from a mixed batch beside each prompt alone."""
    model = build(name).eval()
    ids_1L, pixels_NCHW = inputs(model, 1200, 1)
    before = model(ids_1L, pixel_values=pixels_NCHW, logits_to_keep=64).logits
    stage = StageConfig.model_validate(
        {"tuning": {"kind": "bias-scale"}, "trainable": [{"set": "vectors", "learning_rate": 1e-4}]}
    )
    add_tuned_parameters(model, stage, 0)
    apply_stage(model, stage, torch.bfloat16)
    identical = torch.equal(model(ids_1L, pixel_values=pixels_NCHW, logits_to_keep=64).logits, before)
    return {"step_0_bit_identical": identical, **check_generation(model.float())}


def check_generation(model: EarthGPTForConditionalGeneration, steps: int = 8) -> dict:
    """In fp32: tokens of a left-padded batch with a cache, beside each prompt alone without one."""
    slots, size = model.config.image_slots, model.config.image_size
    rows = [[1, *[32_000] * slots, 5, 6, 7], [1, 11, 12, 13, 14, 15], [1, *[32_000] * slots, 21, 22]]
    length = max(map(len, rows))
    ids_BL = torch.tensor([[0] * (length - len(row)) + row for row in rows], device="cuda")
    mask_BL = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows], device="cuda")
    pixels_NCHW = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, device="cuda")
    options = {"max_new_tokens": steps, "min_new_tokens": steps, "do_sample": False}
    together = model.generate(ids_BL, attention_mask=mask_BL, pixel_values=pixels_NCHW, **options)[:, length:]
    images = [pixels_NCHW[:1], None, pixels_NCHW[1:]]
    equal = 0
    for row, image, got in zip(rows, images, together.tolist(), strict=True):
        alone = model.generate(torch.tensor([row], device="cuda"), pixel_values=image, use_cache=False, **options)
        equal += sum(first == second for first, second in zip(alone[0, len(row) :].tolist(), got, strict=True))
    return {"generated_tokens": 3 * steps, "tokens_equal_to_prompt_alone_without_cache": equal}


if __name__ == "__main__":
    main()
