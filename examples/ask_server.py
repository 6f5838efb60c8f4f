"""One question about one image, asked of `mmrs serve` by the `openai` package; the answer as it comes, then its boxes.

python examples/ask_server.py http://127.0.0.1:8000/v1 IMAGE "Please detect all objects in this image."
"""

import base64
import mimetypes
import os
import sys
from pathlib import Path

from openai import OpenAI


def main(url: str, image_path: str, question: str) -> None:
    """Print the text and, for each box, its name and its corners in pixels of the image."""
    content = base64.b64encode(Path(image_path).read_bytes()).decode()
    address = f"data:{mimetypes.guess_type(image_path)[0]};base64,{content}"
    client = OpenAI(base_url=url, api_key=os.environ.get("MMRS_SERVE_KEY", "none"))
    stream = client.chat.completions.create(
        model=client.models.list().data[0].id,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": address}},
                    {"type": "text", "text": question},
                ],
            }
        ],
        max_tokens=48,
        stream=True,
    )
    for chunk in stream:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
        if chunk.choices[0].finish_reason:
            found = chunk.model_extra["mmrs"]
    print()
    for box in found["boxes"]:
        print(box["name"], box["quad"])


if __name__ == "__main__":
    main(*sys.argv[1:])
