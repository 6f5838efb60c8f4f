"""TRL on exported chat messages: the rows that its trainers take, and the batch that its collator makes of them.

mmrs export SHARDS --format messages --out EXPORT
python examples/train_with_trl.py EXPORT MODEL
"""

import sys

import datasets
from transformers import AutoProcessor
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

import mmrs.model  # noqa: F401  (its processor; a model of the Hub needs none)


def main(export: str, model: str) -> None:
    """Print the first question as the model's template writes it, and the shapes of a batch of two dialogues."""
    rows = datasets.load_dataset(export, split="train")
    processor = AutoProcessor.from_pretrained(model)
    print(processor.apply_chat_template(rows[0]["messages"], tokenize=False))
    batch = DataCollatorForVisionLanguageModeling(processor)([rows[0], rows[1]])
    for name, values in batch.items():
        print(f"{name}: {tuple(values.shape)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
