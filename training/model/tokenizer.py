"""Tokenizers: a small one for models that are trained from scratch, and those of pre-trained language models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

BOS, EOS, PAD, IMAGE = "<s>", "</s>", "<pad>", "<image>"
SPECIAL_TOKENS = (BOS, EOS, PAD, IMAGE)
MINIMUM_VOCABULARY = 256 + len(SPECIAL_TOKENS)
HUNDREDTHS = tuple(f"{number / 100:.2f}" for number in range(101))
"""What coordinates begin with that are fractions of a side, ``0.00`` to ``1.00``."""


def train_tokenizer(texts: Iterable[str], vocab_size: int, hundredths: bool = False) -> PreTrainedTokenizerFast:
    """Train a lossless byte-level BPE in which every digit is a token of its own, as in LLaMA-2.

    Args:
        texts: what the vocabulary is fitted to; the same texts give the same tokenizer.
        vocab_size: upper limit of the vocabulary, special tokens and the 256 bytes included.
        hundredths: make each of `HUNDREDTHS` one token, too, so that ``0.417`` is ``0.41`` and ``7``.

    Returns:
        A tokenizer that pads on the left, with `<s>`, `</s>`, `<pad>` and the placeholder `<image>`.

    Raises:
        ValueError: `vocab_size` has no room for the bytes.
    """
    numbers = HUNDREDTHS if hundredths else ()
    least = MINIMUM_VOCABULARY + len(numbers)
    if vocab_size < least:
        kept = "the bytes, special tokens and coordinates" if numbers else "the bytes and special tokens"
        raise ValueError(f"vocab_size is {vocab_size}; set at least {least}, {kept}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(numbers),
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(number, normalized=False) for number in numbers])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[IMAGE],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def hundredths_ids(tokenizer: PreTrainedTokenizerBase) -> Sequence[int] | None:
    """Token ids of `HUNDREDTHS` in their order, None where one of them is no token."""
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary[number] for number in HUNDREDTHS if number in vocabulary]
    return ids if len(ids) == len(HUNDREDTHS) else None


def adapt_tokenizer(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
    """Give a pre-trained model's tokenizer, in place, what `EarthGPTProcessor` needs, without a change to the model.

    `<image>` is added behind the vocabulary: it is never looked up in the embedding table and never generated, so the
    table keeps its size and text is answered as before. A missing padding token becomes the unknown token, else EOS
    (padding is masked, never read); a missing BOS becomes EOS. The tokenizer's own chat template goes: what is kept of
    it is `training.model.language.dialogue_form.chat_form`.

    Args:
        vocab_size: rows of the model's embedding table.

    Raises:
        ValueError: it has no EOS, is not backed by the tokenizers library, or has more tokens than the table rows.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} is a slow tokenizer; save it with AutoTokenizer(use_fast=True)")
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id >= vocab_size:
        raise ValueError("the tokenizer has no EOS token among the model's; set eos_token in its tokenizer_config.json")
    if tokenizer.bos_token_id is None or tokenizer.bos_token_id >= vocab_size:
        tokenizer.bos_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= vocab_size:
        tokenizer.pad_token = tokenizer.unk_token if tokenizer.unk_token_id is not None else tokenizer.eos_token
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    # Text never becomes a special token, so one without an embedding does no harm.
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    vocabulary = tokenizer.get_vocab().items()
    beyond = {token: number for token, number in vocabulary if number >= vocab_size and number not in special}
    if beyond:
        token = min(beyond, key=beyond.__getitem__)
        raise ValueError(
            f"the tokenizer's token {token!r} has id {beyond[token]} but the language model has {vocab_size} "
            "embeddings; give the tokenizer that the model was trained with"
        )
    tokenizer.padding_side = "left"
    tokenizer.clean_up_tokenization_spaces = False
    tokenizer.chat_template = None
