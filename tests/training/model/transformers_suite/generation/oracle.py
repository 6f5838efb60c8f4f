"""Greedy answers without `generate`, without a cache and without padding: what others are held against."""

import torch


def next_logits(model, ids_BL, pixels):
    """Logits (B, K) behind rows of one length, with what `generate` never chooses at minus infinity."""
    logits_BK = model(input_ids=ids_BL, pixel_values=pixels, use_cache=False).logits[:, -1]
    logits_BK[:, model.config.image_token_id] = -torch.inf
    return logits_BK


@torch.no_grad()
def greedy_by_hand(model, inputs, tokens, with_end=False):
    """The tokens (tokens,) that follow the one row of `inputs`; the end token only where it may come."""
    ids_1L = inputs["input_ids"]
    for _ in range(tokens):
        logits_1K = next_logits(model, ids_1L, inputs["pixel_values"])
        if not with_end:
            logits_1K[:, model.config.text.eos_token_id] = -torch.inf
        ids_1L = torch.cat((ids_1L, logits_1K.argmax(-1, keepdim=True)), dim=1)
    return ids_1L[0, inputs["input_ids"].shape[1] :]


def answered(inputs, sequences):
    """What was generated behind the prompts."""
    return sequences[:, inputs["input_ids"].shape[1] :]


def fixed(tokens, **options):
    """Options for answers of exactly so many tokens, the most probable ones unless told otherwise."""
    return {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False} | options
