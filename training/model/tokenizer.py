"""A small tokenizer for models that are trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD, IMAGE = "<s>", "</s>", "<pad>", "<image>"
SPECIAL_TOKENS = (BOS, EOS, PAD, IMAGE)
MINIMUM_VOCABULARY = 256 + len(SPECIAL_TOKENS)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a lossless byte-level BPE in which every digit is a token of its own, as in LLaMA-2.

    Args:
        texts: what the vocabulary is fitted to; the same texts give the same tokenizer.
        vocab_size: upper limit of the vocabulary, special tokens and the 256 bytes included.

    Returns:
        A tokenizer that pads on the left, with `<s>`, `</s>`, `<pad>` and the placeholder `<image>`.

    Raises:
        ValueError: `vocab_size` has no room for the bytes.
    """
    if vocab_size < MINIMUM_VOCABULARY:
        raise ValueError(f"vocab_size is {vocab_size}; set at least {MINIMUM_VOCABULARY}, the bytes and special tokens")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
