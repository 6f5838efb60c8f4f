"""Detections of image files, asked window by window where a scene is large, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmrs.errors import RunFailure, UserError
from mmrs.geometry import as_quads
from mmrs.imaging.limits import SCENE, WHOLE_IMAGE
from mmrs.imaging.windows import plan_windows
from mmrs.instructions import prompts
from mmrs.instructions.answers import box_spans
from mmrs.instructions.dialects import Dialect
from mmrs.progress import Progress
from mmrs.record import Window
from mmrs.source import Tiling
from mmrs.text import nearest
from training.evaluation.boxes.windows import MergedBoxes, WindowBoxes, merge_windows
from training.evaluation.generate import span_log_probabilities
from training.model.inputs.conversation import Conversation
from training.serving.engine import AnswerEngine, Finished, Sampling
from training.serving.found_boxes import found_boxes
from training.serving.pictures import ImageFile, open_file
from training.serving.prediction_files import Prediction, check_own_predictions, write_predictions

DETECTIONS = tuple(prompts.DETECTION_ALL)
# The released prompt of each task that can be asked of a whole image.
_PROMPTS = {
    **prompts.DETECTION_ALL,
    "classification": prompts.CLASSIFICATION,
    "captioning": prompts.CAPTIONING,
}


@dataclass(frozen=True)
class PredictOptions:
    """What is asked and how.

    Args:
        task: whose released prompt is asked.
        category: detect this class alone.
        sensor: of all images.
        window: side in pixels of the windows of larger images; 0: always the whole image.
        overlap: pixels that neighbouring windows share.
        max_new_tokens: of one answer.
        min_confidence: boxes whose tokens are less probable are left out.
    """

    task: str = DETECTIONS[0]
    category: str = ""
    sensor: str = "optical"
    window: int = 1024
    overlap: int = 200
    max_new_tokens: int = 512
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        if self.task not in _PROMPTS:
            known = ", ".join(_PROMPTS)
            raise UserError(f"there is no task {self.task!r}{nearest(self.task, _PROMPTS)}; choose one of {known}.")
        if self.category and self.task not in DETECTIONS:
            raise UserError(f"--class goes with a detection task, not with {self.task}; leave it out")
        if self.min_confidence and self.task not in DETECTIONS:
            raise UserError(f"--min-confidence goes with a detection task, not with {self.task}; leave it out")
        if self.window and not 0 <= self.overlap < self.window:
            raise UserError(f"--overlap is {self.overlap}; set less than --window, {self.window}")

    @property
    def prompt(self) -> str:
        """The question."""
        if self.category:
            return prompts.DETECTION_CLASS[self.task].format(plural=prompts.plural(self.category))
        return _PROMPTS[self.task]


def predict(
    engine: AnswerEngine, image: ImageFile, options: PredictOptions, dialect: Dialect, advance: Callable[[int], None]
) -> Prediction:
    """Ask about one image.

    Args:
        advance: called with the number of windows that are answered.

    Raises:
        UserError: the image cannot be read.
        RunFailure: the model failed.
    """
    windows = planned(image, options)
    whole = len(windows) == 1
    pictures = iter([image.whole()]) if whole else image.windows(windows)
    found, texts = [], []
    for window, answer in zip(windows, _answers(engine, pictures, options, advance), strict=True):
        texts.append(answer.text)
        if options.task in DETECTIONS:
            found.append(_window_boxes(answer, window, options, dialect))
    if whole:
        (only,) = found or [WindowBoxes(windows[0], (), np.empty((0, 4, 2)), ())]
        boxes = MergedBoxes(tuple(only.names), as_quads(only.quads_N42), np.array(only.confidences_N, np.float64))
    else:
        boxes = merge_windows(found, image.width, image.height)
    return Prediction(image, tuple(texts), boxes)


def _window_boxes(answer: Finished, window: Window, options: PredictOptions, dialect: Dialect) -> WindowBoxes:
    """The boxes that an answer names and that are sure enough."""
    text = answer.text
    sure = span_log_probabilities(box_spans(text), answer.token_texts, answer.log_probabilities)
    named = found_boxes(text, window.width, window.height, dialect, options.category, sure)
    kept = [box for box in named if box.confidence is None or box.confidence >= options.min_confidence]
    quads_N42 = as_quads([box.quad for box in kept]) if kept else np.empty((0, 4, 2))
    confidences_N = [1.0 if box.confidence is None else box.confidence for box in kept]
    return WindowBoxes(window, [box.name for box in kept], quads_N42, confidences_N)


def planned(image: ImageFile, options: PredictOptions) -> list[Window]:
    """The windows that are asked about: one of the whole image where it is no larger than one."""
    side = max(image.width, image.height)
    if options.task not in DETECTIONS or not options.window or side <= options.window:
        return [Window(x=0, y=0, width=image.width, height=image.height)]
    return plan_windows(image.width, image.height, Tiling(size=options.window, overlap=options.overlap))


def _answers(
    engine: AnswerEngine, pictures: Iterator[Image.Image], options: PredictOptions, advance: Callable[[int], None]
) -> Iterator[Finished]:
    """The answer about each picture, in their order; as many are asked about at once as the engine runs."""
    sampling = Sampling(max_new_tokens=options.max_new_tokens, log_probabilities=options.task in DETECTIONS)
    asked: list[Iterator[Any]] = []
    for picture in pictures:
        conversation = Conversation((("human", options.prompt),), ((picture,),))
        asked.append(_begun(engine, conversation, sampling))
        if len(asked) == engine.most_running:
            yield _answer(asked.pop(0), advance)
    while asked:
        yield _answer(asked.pop(0), advance)


def _begun(engine: AnswerEngine, conversation: Conversation, sampling: Sampling) -> Iterator[Any]:
    import queue

    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    engine.submit(conversation, sampling, events.put)
    return iter(events.get, None)


def _answer(events: Iterator[Any], advance: Callable[[int], None]) -> Finished:
    for event in events:
        if isinstance(event, Finished):
            if event.reason == "failed":
                raise RunFailure(f"the model failed: {event.text}")
            advance(1)
            return event
    raise RunFailure("the engine stopped")


@dataclass(frozen=True)
class PredictSummary:
    """What a command printed of its images: `text` of those that were read, and why the `unread` ones were not."""

    text: str
    unread: tuple[str, ...] = ()


def run_predict(
    engine: AnswerEngine,
    paths: Sequence[Path],
    out: Path,
    options: PredictOptions,
    dialect: Dialect,
    progress: Progress,
) -> PredictSummary:
    """Predict every image, write all forms, and say for a person what was found.

    An image that cannot be read is named and left out; the others are asked about.

    Raises:
        UserError: not one image can be read, or two images have one name.
        FileExistsError: a file of the folder that would be replaced is somebody else's.
        RunFailure: the model failed.
    """
    limit = SCENE if options.window and options.task in DETECTIONS else WHOLE_IMAGE
    images: list[ImageFile] = []
    unread: list[str] = []

    def leave_out(error: UserError) -> None:
        unread.append(str(error))
        progress.note(f"left out: {error}")

    for path in paths:
        try:
            images.append(open_file(path, options.sensor, limit))
        except UserError as error:
            leave_out(error)
    by_stem: dict[str, Path] = {}
    for image in images:
        other = by_stem.setdefault(image.path.stem, image.path)
        if other is not image.path:
            raise UserError(
                f"{other} and {image.path} are both named {image.path.stem}, which their files would be named after; "
                "predict them into different --out folders"
            )
    check_own_predictions(out, [image.path for image in images])
    total = sum(len(planned(image, options)) for image in images)
    found = []
    with progress.stage("predict", total, "windows" if total > len(images) else "images") as advance:
        for image in images:
            try:
                found.append(predict(engine, image, options, dialect, advance))
            except UserError as error:
                leave_out(error)
    if not found:
        raise UserError(unread[0] if len(unread) == 1 else f"no image can be read; the first: {unread[0]}")
    told = write_predictions(found, out, options.prompt, options.task in DETECTIONS, total)
    return PredictSummary(told, tuple(unread))
