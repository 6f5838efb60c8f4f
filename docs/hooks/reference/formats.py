"""What is on disk and what can go wrong: columns of the side index, the schema of a record, the families of errors."""

from __future__ import annotations

import inspect
import json
from typing import Any

from docs.hooks.reference.markdown import prose, table
from docs.hooks.reference.schema import type_words


def index_page() -> str:
    """Columns of the side index, from its schema."""
    from mmrs.shards import index

    missing = [field.name for field in index.WHOLE_SCHEMA if field.name not in _COLUMNS]
    if missing:
        raise LookupError(f"column {missing[0]!r} of the index has no sentence in {__file__}")
    rows = [
        (field.name, f"`{field.type}`" + (" or null" if field.nullable else ""), _COLUMNS[field.name])
        for field in index.WHOLE_SCHEMA
    ]
    introduction = prose(inspect.getdoc(index) or "")
    return "\n".join(["# Columns of the index\n", introduction, table(("column", "type", "meaning"), rows)])


# The schema is a literal without room for sentences; a column that has none here stops the build of the site.
_COLUMNS = {
    "key": "Name of the sample in the tar, without suffix.",
    "id": "Of the record: `SOURCE/SPLIT/STEM`.",
    "image_offset": "Where the image's bytes begin in the tar.",
    "image_size": "How many bytes the image has.",
    "record_offset": "Where the record's bytes begin in the tar.",
    "record_size": "How many bytes the record has.",
    "width": "Of the stored image, in pixels.",
    "height": "Of the stored image, in pixels.",
    "scene": "What neighbouring images have in common, such as a flight; null where nothing is known.",
    "label": "Class of the scene, null where it has none.",
    "categories": "Categories of the objects, each once, sorted.",
    "objects": "Objects that appear in texts and scores.",
    "ignored_objects": "Objects that are kept and appear in neither.",
    "captions": "Captions of the image.",
    "dialogue_tasks": "Task of each dialogue, in their order in the record.",
    "dialogue_chars": "Length of each dialogue in characters, in the same order.",
    "perceptual_hash": "Fingerprint of the picture, by which `mmrs curate` finds copies; null with `validation: L0`.",
    "reencoded": "Why the stored bytes differ from the source's; null where they are the same.",
    "sha256": "Of the stored image's bytes.",
    "further_offset": "Of the images after the first, in order; absent where no sample of the shard has any.",
    "further_size": "Bytes of each of them.",
    "further_sha256": "Of the bytes of each of them.",
    "further_hash": "Their fingerprints; null with `validation: L0`.",
}


def record_page() -> str:
    """Fields of a record and of its parts, and the whole JSON schema."""
    from mmrs.record import Record

    schema = Record.model_json_schema(by_alias=True, mode="serialization")
    parts = ["# Record\n", prose(inspect.getdoc(inspect.getmodule(Record)) or ""), _part("Record", schema)]
    parts += [_part(name, part) for name, part in schema["$defs"].items()]
    parts += ["## The whole schema\n", f"```json\n{json.dumps(schema, indent=2, sort_keys=True)}\n```\n"]
    return "\n".join(parts)


def _part(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (field, type_words(what, link=True), "yes" if field in required else "")
        for field, what in schema.get("properties", {}).items()
    ]
    return f"## {name}\n\n{prose(schema.get('description', ''))}\n" + table(("field", "type", "always"), rows)


def errors_page() -> str:
    """The families of errors with their exit codes."""
    from mmrs import errors

    families = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, Exception)]
    parts = [
        "# Errors and exit codes\n",
        prose(inspect.getdoc(errors) or ""),
        table(
            ("exit code", "meaning"),
            [
                ("0", "Done."),
                ("1", "Failure: `RunFailure`, or a fault of the program."),
                ("2", "A mistake in the command or its input: `UserError`. The message ends with the next step."),
                ("75", "Training stopped by a signal after a checkpoint; the same command goes on."),
                ("130", "Interrupted; the same command goes on from what is finished."),
                ("143", "Ended by SIGTERM."),
            ],
        ),
        "`mmrs --debug ...` shows the traceback of any error.\n",
        table(("family", "is a", "meaning"), map(_family, families)),
    ]
    return "\n".join(parts) + "\n"


def _family(cls: type[Exception]) -> tuple[str, str, str]:
    meaning = (inspect.getdoc(cls) or "").partition("Args:")[0]
    return cls.__name__, f"`{cls.__mro__[1].__name__}`", meaning
