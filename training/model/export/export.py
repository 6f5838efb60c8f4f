"""A trained model in the form that another program wants: what `mmrs export-model` calls.

- ``folded``: a plain EarthGPT; tuning vectors are folded into weights and biases;
- ``language-model``: the language model alone, in the plain form of its kind, with its tokenizer;
- ``delta``: only what training changed, to be put onto the base again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import torch

from mmrs.errors import UserError
from mmrs.storage.atomic import atomic_folder
from mmrs.text import nearest, not_empty
from training.model.export.delta import load_delta, save_delta
from training.model.export.plain_decoder import plain_decoder
from training.model.folder import check_model_folder, check_processor, sound_model
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.origin.card import LANGUAGE_MODEL, licence_of_parts, model_card
from training.model.origin.digest import weights_digest
from training.model.origin.notes import note_scores
from training.model.processing import EarthGPTProcessor
from training.model.tuning.vectors import fold

ExportForm = Literal["folded", "language-model", "delta"]
FORMS: tuple[ExportForm, ...] = ("folded", "language-model", "delta")


def export(
    folder: Path,
    out: Path,
    form: ExportForm = "folded",
    *,
    delta: Path | None = None,
    base: Path | None = None,
    dtype: str | None = None,
    scores: Sequence[Path] = (),
) -> str:
    """Write `out` and say for a person what it is.

    Args:
        folder: a model folder, `mmrs train`'s ``RUN/model`` or `mmrs init`'s.
        out: new or empty folder.
        form: see the module.
        delta: a delta checkpoint to put onto `folder` first.
        base: for form delta, the folder that training started from.
        dtype: of the written weights, rounded once after folding in fp32. By default as they are.
        scores: ``scores.json`` files of `mmrs eval`, for the model card.

    Raises:
        UserError: no model, no such form, a base that does not fit, or vectors that cannot be folded.
    """
    _check(folder, out, form, base, dtype)
    model = _load(folder)
    if delta is not None:
        load_delta(delta, model, str(folder))
    if scores:
        note_scores(model.config, [row for path in scores for row in read_scores(path)])
    # A base is given for a delta and for no other form.
    if base is not None:
        return _export_delta(model, folder, base, out)
    if dtype == "float32":
        # Before folding: the folded weights of a bf16 model would be rounded to bf16.
        model.float()
    if model.config.tuning is not None:
        try:
            fold(model)
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from error
    if dtype:
        model.to(getattr(torch, dtype))
    processor = EarthGPTProcessor.from_pretrained(folder)
    check_processor(processor, model.config, str(folder))
    if form == "language-model":
        return _export_language_model(model, processor, folder, out)
    with atomic_folder(out) as temporary:
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)
    return f"{out}: EarthGPT, {_size(model)}. Publish it with: hf upload ORG/NAME {out}"


def read_scores(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``scores.json`` of `mmrs eval`, as the model card shows them.

    Raises:
        UserError: the file is no such file.
    """
    try:
        content = json.loads(path.read_text())
        return [
            {
                **{name: str(row[name]) for name in ("source", "task", "protocol", "metric")},
                **{name: _number(row[name]) for name in ("value", "constant_value")},
                **{name: int(row[name]) for name in ("images", "questions", "failed")},
                "interval_95": None if row["interval_95"] is None else [float(end) for end in row["interval_95"]],
                "split": str(content["split"]),
                "data_set_id": str(content["data_set"]),
            }
            for row in content["rows"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no scores.json of `mmrs eval`: {type(error).__name__} {error}") from error


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _check(folder: Path, out: Path, form: str, base: Path | None, dtype: str | None) -> None:
    for given in (folder, base):
        if given is not None:
            check_model_folder(given)
    if form not in FORMS:
        raise UserError(f"there is no form {form!r}{nearest(form, FORMS)}; choose one of {', '.join(FORMS)}")
    if (form == "delta") != (base is not None):
        raise UserError("--base FOLDER, the model that training started from, goes with --form delta and no other")
    if form == "delta" and dtype is not None:
        raise UserError("a delta keeps the dtype that was trained; leave out --dtype")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(not_empty(out))


def _load(folder: Path) -> EarthGPTForConditionalGeneration:
    model = EarthGPTForConditionalGeneration.from_pretrained(folder, dtype="auto").eval()
    with sound_model(folder):
        # Written again beside what is exported: better to know now that its notes cannot be.
        model_card(model.config)
    return model


def _export_delta(model: EarthGPTForConditionalGeneration, folder: Path, base: Path, out: Path) -> str:
    original = _load(base)
    before, after = original.state_dict(), dict(model.named_parameters())
    if model.config.tuning is None:
        raise UserError(f"{folder} has no tuning vectors, so there is no delta; share the whole folder")
    changed = [name for name, value in after.items() if name in before and not _equal(before[name], value)]
    foreign = sorted(before.keys() - model.state_dict().keys()) or [
        name for name in changed if before[name].shape != after[name].shape
    ]
    if foreign:
        raise UserError(f"{base} is not what {folder} was trained from: {foreign[0]} does not fit")
    save_delta(out, model, weights_digest(original), base.resolve().name, also=changed)
    also = f" and {len(changed)} further tensors" if changed else ""
    return (
        f"{out}: tuning vectors{also} for {base}. Put them on with: "
        f"`mmrs export-model {quote(str(base))} OUT --delta {quote(str(out))}`"
    )


def _equal(first: torch.Tensor, second: torch.Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second.to(first.dtype))


def _export_language_model(
    model: EarthGPTForConditionalGeneration, processor: EarthGPTProcessor, folder: Path, out: Path
) -> str:
    try:
        plain = plain_decoder(model)
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from error
    alone, name = plain.model(), plain.causal_class.__name__
    parts = [part for part in (model.config.origin or {}).get("parts", []) if part["role"] == LANGUAGE_MODEL]
    with atomic_folder(out) as temporary:
        alone.save_pretrained(temporary)
        processor.tokenizer.save_pretrained(temporary)
        (temporary / "README.md").write_text(
            f"# Language model of an EarthGPT\n\nA plain `{name}`. Licence of what it was trained from: "
            f"{licence_of_parts(parts) or 'not known'}.\n",
            encoding="utf-8",
        )
    return f"{out}: {name}, {_size(alone)}"


def _size(model: torch.nn.Module) -> str:
    return f"{sum(value.numel() for value in model.parameters()):,} parameters, {next(model.parameters()).dtype}"
