"""EarthGPT for a program of your own. Importing this module registers it with the Auto classes of transformers.

    import mmrs.model
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(FOLDER)
    processor = AutoProcessor.from_pretrained(FOLDER)

It is a door and no more: the model lies in the package `training`, whose name a project of your own may have too, so it
is found by its place. Nothing else of mmrs imports this module, which needs `pip install 'mmrs[train]'`.
"""

from __future__ import annotations

from importlib import import_module

from mmrs.installation import describe_missing, load_beside

load_beside("training")
try:
    _model = import_module("training.model")
except ModuleNotFoundError as error:
    raise ImportError(describe_missing(error) or str(error), name=error.name) from error

EarthGPTConfig = _model.EarthGPTConfig
EarthGPTForConditionalGeneration = _model.EarthGPTForConditionalGeneration
EarthGPTProcessor = _model.EarthGPTProcessor

__all__ = ["EarthGPTConfig", "EarthGPTForConditionalGeneration", "EarthGPTProcessor"]
