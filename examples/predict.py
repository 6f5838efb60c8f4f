"""One question about one image, asked of a trained model through transformers.

python examples/predict.py RUN/model IMAGE "Please detect all objects in this image."
"""

import sys

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import mmrs.model  # noqa: F401 registers EarthGPT with the Auto classes


def main(folder: str, image_path: str, question: str) -> None:
    """Print the answer."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    with Image.open(image_path) as image:
        inputs = processor(images=[image.convert("RGB")], text=[question])
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    print(processor.decode_answers(output, inputs["input_ids"].shape[1])[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
