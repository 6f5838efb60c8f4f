"""Prompts of MMRS-1M, as recovered from projects that parse the release (oriented boxes and regions: our wording)."""

from __future__ import annotations

CLASSIFICATION = "What is the category of this remote sensing image? Answer the question using a single word or phrase."
# The released question with the closed list that zero-shot classification is asked with.
CLASSIFICATION_LISTED = CLASSIFICATION + " Reference categories include: {categories}."
CAPTIONING = "Please provide an one-sentence caption for the provided remote sensing image in details."
DETECTION_ALL = {
    "detection-hbb": "Please detect all objects in this image.",
    # The release's oriented prompt is not known; this one names the box kind, so that one image can have both.
    "detection-obb": "Please detect all objects in this image using oriented bounding boxes.",
}
DETECTION_CLASS = {
    "detection-hbb": "Detect {plural} shown in the image using horizontal bounding boxes.",
    "detection-obb": "Detect {plural} shown in the image using oriented bounding boxes.",
}
# A class with more objects than one dialogue may list is asked for by region. Not of the release.
DETECTION_REGION = {
    "detection-hbb": (
        "Detect {plural} whose centres lie in the region {box} of this image using horizontal bounding boxes."
    ),
    "detection-obb": (
        "Detect {plural} whose centres lie in the region {box} of this image using oriented bounding boxes."
    ),
}
# Question type of whole prompts that a user's data bring along: nothing may be added to them.
VERBATIM = "verbatim"
# The release's questions are seen with and without this tail; which, is not known for the archive.
VQA = "{question} Answer the question using a single word or phrase."
# Spacing as in the release: none after the first colon, a blank before the second.
VISUAL_GROUNDING = (
    "Please provide the horizontal bounding box coordinate of the region which is described as:{text} "
    "in this remote sensing image"
)
REGION_CAPTIONING = "Please provide a short description for this region in this remote sensing image :{box}"
# Not of the release: evaluation alone asks it.
COUNTING = "How many {plural} are there in this remote sensing image? Answer the question using a single number."


def plural(category: str) -> str:
    """The release's naive plural: one ``s`` at the end, whatever the word."""
    return category + "s"
