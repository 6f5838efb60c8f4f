"""EarthGPT in transformers form. Importing this package registers it with the transformers Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

# Under its short name, older releases refuse it where torchvision is missing, which our image processor does not need.
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from training.model.configuration import EarthGPTConfig
from training.model.export.delta import load_delta, save_delta
from training.model.export.plain_decoder import plain_decoder
from training.model.inputs.image_processor import EarthGPTImageProcessor, pad_and_resize
from training.model.masks import PADDING, PREFIX, build_block_mask, build_position_ids
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.modeling.model import EarthGPTModel
from training.model.modeling.pretrained import EarthGPTPreTrainedModel
from training.model.origin.digest import weights_digest
from training.model.presets import initialise, preset
from training.model.processing import EarthGPTProcessor
from training.model.tokenizer import train_tokenizer
from training.model.tuning.vectors import add_tuning, fold


def register_auto_classes() -> None:
    """Make the Auto classes of transformers know EarthGPT; may be called repeatedly."""
    AutoConfig.register(EarthGPTConfig.model_type, EarthGPTConfig, exist_ok=True)
    AutoModel.register(EarthGPTConfig, EarthGPTModel, exist_ok=True)
    AutoModelForImageTextToText.register(EarthGPTConfig, EarthGPTForConditionalGeneration, exist_ok=True)
    AutoImageProcessor.register(EarthGPTConfig, image_processor_classes={"pil": EarthGPTImageProcessor}, exist_ok=True)
    AutoProcessor.register(EarthGPTConfig, EarthGPTProcessor, exist_ok=True)


register_auto_classes()

__all__ = [
    "PADDING",
    "PREFIX",
    "EarthGPTConfig",
    "EarthGPTForConditionalGeneration",
    "EarthGPTImageProcessor",
    "EarthGPTModel",
    "EarthGPTPreTrainedModel",
    "EarthGPTProcessor",
    "add_tuning",
    "build_block_mask",
    "build_position_ids",
    "fold",
    "initialise",
    "load_delta",
    "pad_and_resize",
    "plain_decoder",
    "preset",
    "register",
    "save_delta",
    "train_tokenizer",
    "weights_digest",
]
