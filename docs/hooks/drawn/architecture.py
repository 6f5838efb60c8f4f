"""The one drawing of the whole system: data plane left, model plane right, the data set between them."""

from __future__ import annotations

from docs.hooks.drawn.svg import arrow, box, drawing, rectangle, text

_LEFT, _MIDDLE, _RIGHT, _WIDTH = 20, 385, 750, 310


def architecture() -> str:
    """Boxes are what the code is made of; a heavy border marks what is written last."""
    return drawing(
        1080,
        690,
        "From sources to shards on the left, from shards to scores on the right, the manifest between",
        [*_planes(), *_data_plane(), *_data_set(), *_model_plane(), *_legend()],
    )


def _planes() -> list[str]:
    return [
        rectangle(_LEFT - 18, 8, _WIDTH + 30, 620, "plane"),
        rectangle(_RIGHT - 12, 8, _WIDTH + 30, 620, "plane"),
        text(_LEFT, 30, "Data plane: mmrs/, converters/", "title"),
        text(_MIDDLE + 2, 30, "The data set: a folder or a URL", "title"),
        text(_RIGHT, 30, "Model plane: training/", "title"),
    ]


def _data_plane() -> list[str]:
    middle = _LEFT + _WIDTH / 2
    return [
        box(_LEFT, 44, _WIDTH, 58, "Sources", ["images and annotations as their users hold them"], "data"),
        arrow([(middle, 102), (middle, 124)]),
        box(
            _LEFT,
            124,
            _WIDTH,
            96,
            "Converter, one module per source",
            [
                "`discover(root, split) -> items, findings`",
                "`read(item) -> annotations`",
                "facts with their evidence: facts/*.yaml",
            ],
            "data",
        ),
        arrow([(middle, 220), (middle, 242)]),
        box(
            _LEFT,
            242,
            _WIDTH,
            96,
            "Survey and plan (pure)",
            [
                "headers of the images -> sizes -> shards",
                "`items -> seeded order -> ShardTask`",
                "instructions/: prompts, box dialects",
            ],
            "data",
        ),
        arrow([(middle, 338), (middle, 360)]),
        box(
            _LEFT,
            360,
            _WIDTH,
            96,
            "Engine: processes or a Ray cluster",
            [
                "build one shard: check, store, render, pack",
                "a shard is the unit of work, retry and resume",
                "nothing in the output depends on the engine",
            ],
            "data",
        ),
        arrow([(_LEFT + _WIDTH, 400), (_MIDDLE, 400)]),
        box(
            _LEFT,
            500,
            _WIDTH,
            114,
            "What reads a finished data set",
            [
                "verify: every byte; curate: copies and leaks",
                "stats, report: counts, plots, images",
                "push: shards first, manifest and card last",
                "anybody's WebDataset reader, or datasets",
            ],
            "data",
        ),
        arrow([(_MIDDLE, 560), (_LEFT + _WIDTH, 560)]),
        arrow([(_LEFT + 60, 500), (_LEFT + 60, 470), (_LEFT - 11, 470), (_LEFT - 11, 290), (_LEFT, 290)], "back"),
        text(_LEFT + 68, 486, "curate: a list of images to exclude", "small"),
    ]


def _data_set() -> list[str]:
    middle = _MIDDLE + _WIDTH / 2
    return [
        box(
            _MIDDLE,
            44,
            _WIDTH,
            96,
            "Never silent",
            ["`quarantine.jsonl`", "all that was found and not stored:", "path, line, reason"],
            "store",
        ),
        arrow([(_LEFT + _WIDTH, 172), (_MIDDLE + 60, 172), (_MIDDLE + 60, 140)]),
        box(
            _MIDDLE,
            300,
            _WIDTH,
            148,
            "Shards: SOURCE/SPLIT-00000-of-00042",
            ["`.tar      KEY.jpg, KEY.json (a Record)`", "`.parquet  index: offsets, sizes, tasks`"],
            "store",
        ),
        box(
            _MIDDLE + 12,
            386,
            _WIDTH - 24,
            50,
            ".done.json",
            ["digests; without it a shard does not exist"],
            "store last",
        ),
        arrow([(middle, 448), (middle, 500)]),
        box(
            _MIDDLE,
            500,
            _WIDTH,
            114,
            "manifest.json",
            [
                "every shard, digest and count; licences",
                "tool version and recipe digest",
                "its id: the digest of its own content,",
                "the name of the data set",
            ],
            "store last",
        ),
        arrow([(_MIDDLE + _WIDTH, 560), (_RIGHT - 22, 560), (_RIGHT - 22, 88), (_RIGHT, 88)]),
        arrow([(_MIDDLE + _WIDTH, 330), (_RIGHT - 36, 330), (_RIGHT - 36, 225), (_RIGHT, 225)]),
        text(_RIGHT - 44, 284, "then images and texts", "small", "end"),
        text(_RIGHT - 44, 268, "the indexes first,", "small", "end"),
    ]


def _model_plane() -> list[str]:
    middle = _RIGHT + _WIDTH / 2
    return [
        box(
            _RIGHT,
            44,
            _WIDTH,
            96,
            "Selection and epoch plan (pure)",
            [
                "from the side indexes alone, no tar is opened",
                "`(data set id, seed, epoch, mixture,`",
                "`  token budget) -> packs`",
            ],
            "model",
        ),
        arrow([(middle, 140), (middle, 162)]),
        box(
            _RIGHT,
            162,
            _WIDTH,
            96,
            "Stream and loader",
            [
                "packs of a fixed number of tokens, in order",
                "the whole state is one pointer, valid for any",
                "number of ranks and workers",
            ],
            "model",
        ),
        arrow([(middle, 258), (middle, 280)]),
        box(
            _RIGHT,
            280,
            _WIDTH,
            96,
            "Step, on one rank or many",
            [
                "two encoders -> grid -> projector -> decoder",
                "a stage says what trains: it is data",
                "loss / targets of the whole step",
            ],
            "model",
        ),
        arrow([(middle, 376), (middle, 398)]),
        box(
            _RIGHT,
            398,
            _WIDTH,
            62,
            "Checkpoint, then model/",
            ["tensors, pointer; done.json last"],
            "model last",
        ),
        arrow(
            [(_RIGHT + _WIDTH, 430), (_RIGHT + _WIDTH + 11, 430), (_RIGHT + _WIDTH + 11, 210), (_RIGHT + _WIDTH, 210)],
            "back",
        ),
        arrow([(middle, 460), (middle, 500)]),
        text(middle + 8, 486, "others load it too", "small"),
        box(
            _RIGHT,
            500,
            _WIDTH,
            114,
            "Evaluation",
            [
                "questions of a split -> answers -> scores",
                "the truth is the record, not the rendered text",
                "every image is asked, failures count",
            ],
            "model",
        ),
    ]


def _legend() -> list[str]:
    return [
        rectangle(_LEFT - 10, 648, 22, 16, "last"),
        text(_LEFT + 22, 661, "written last: whoever reads it knows that all before it is whole", "small"),
        arrow([(_MIDDLE + 112, 656), (_MIDDLE + 142, 656)], "back"),
        text(_MIDDLE + 152, 661, "what a later run goes on from", "small"),
        text(
            _LEFT - 10,
            684,
            "Imports point one way: cli -> training, converters -> mmrs. Neither training nor mmrs knows a source.",
            "small",
        ),
    ]
