"""transformers' own `ModelTesterMixin` on `EarthGPTModel` and `EarthGPTForConditionalGeneration`."""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file

from mmrs.errors import UserError
from tests.support.transformers_tests import common_tests
from training.model import EarthGPTConfig
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.model.modeling.model import EarthGPTModel

pytestmark = pytest.mark.nightly

common = common_tests("test_modeling_common")
IMAGE_TOKEN = 4
TEXT = {
    "model_type": "llama",
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
VIT = {
    "name": "vit",
    "config": {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 7,
        "image_size": 28,
        "use_mask_token": False,
    },
    "image_size": 28,
    "layers": [1, 2],
    "fusion": "mean",
}
CNN = {
    "name": "cnn",
    "config": {
        "model_type": "convnext",
        "depths": [1, 1],
        "hidden_sizes": [8, 16],
        "num_stages": 2,
        "image_size": 32,
        "layer_scale_init_value": 1.0,
    },
    "image_size": 32,
    "layers": [1, 2],
    "fusion": "concat",
}


class EarthGPTModelTester:
    """What the mixin asks for: a small configuration, and a batch that fits it."""

    # As many rows as the comparisons of attention want; rows that they would add have no image.
    batch_size = 7
    is_training = True
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 2

    def __init__(self):
        self.slots = self.get_config().image_slots
        self.seq_length = self.slots + 7

    def get_config(self):
        return EarthGPTConfig(encoders=[VIT, CNN], text_config=TEXT, token_merge=2, image_token_id=IMAGE_TOKEN)

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        ids_BL = torch.randint(IMAGE_TOKEN + 1, TEXT["vocab_size"], (self.batch_size, self.seq_length))
        ids_BL[:, 1 : 1 + self.slots] = IMAGE_TOKEN
        pixels = torch.randint(0, 256, (self.batch_size, 3, config.image_size, config.image_size), dtype=torch.uint8)
        return config, {"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL), "pixel_values": pixels}


class EarthGPTModelTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (EarthGPTModel, EarthGPTForConditionalGeneration)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True
    # The width of several encoders is no one number of a `vision_config`.
    skip_test_image_features_output_shape = True

    def setUp(self):
        self.model_tester = EarthGPTModelTester()
        # The mixin knows by transformers' own tables which class has a loss.
        for table, kind in (
            ("MODEL_MAPPING_NAMES", EarthGPTModel),
            ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", EarthGPTForConditionalGeneration),
        ):
            patched = mock.patch.dict(getattr(common, table), {"earthgpt": kind.__name__})
            patched.start()
            self.addCleanup(patched.stop)

    def _image_features_get_expected_num_hidden_states(self, model_tester=None):
        """The features of each encoder are one hidden state."""
        return len(self.model_tester.get_config().encoders)

    @unittest.skip("encoders choose among their layers, and one of the two has no attention")
    def test_get_image_features_attentions(self):
        pass

    @unittest.skip("its mixin is not in the source distribution; the folder `generation` is for it")
    def test_generation_tester_mixin_inheritance(self):
        pass

    @unittest.skip("ids of text are drawn from the whole vocabulary, image slots without an image among them")
    def test_model_rope_scaling_from_config_0_linear(self):
        pass

    test_model_rope_scaling_from_config_1_dynamic = test_model_rope_scaling_from_config_0_linear
    test_model_rope_scaling_from_config_2_yarn = test_model_rope_scaling_from_config_0_linear

    # What follows starts from a folder that lacks weights, which the mixin wants to be filled with random ones.

    def test_correct_missing_keys(self):
        with tempfile.TemporaryDirectory() as folder:
            EarthGPTModel(self.model_tester.get_config()).save_pretrained(folder)
            with self.assertRaisesRegex(UserError, "1 weights are missing, lm_head.weight first"):
                EarthGPTForConditionalGeneration.from_pretrained(folder)

    def test_base_model_prefix_loads_base_weights(self):
        with tempfile.TemporaryDirectory() as folder:
            whole = EarthGPTForConditionalGeneration(self.model_tester.get_config())
            whole.save_pretrained(folder)
            base = EarthGPTModel.from_pretrained(folder)
        wanted = whole.model.state_dict()
        self.assertEqual(set(wanted), set(base.state_dict()))
        for name, value in base.state_dict().items():
            torch.testing.assert_close(value, wanted[name])

    def test_model_weights_reload_no_missing_tied_weights(self):
        with tempfile.TemporaryDirectory() as folder:
            EarthGPTForConditionalGeneration(self.model_tester.get_config()).save_pretrained(folder)
            save_file({"tensor": torch.tensor([1, 2])}, Path(folder, "model.safetensors"), metadata={"format": "pt"})
            with self.assertRaisesRegex(UserError, "weights are missing"):
                EarthGPTForConditionalGeneration.from_pretrained(folder)

    def test_cannot_load_with_meta_device_context_manager(self):
        with tempfile.TemporaryDirectory() as folder:
            EarthGPTModel(self.model_tester.get_config()).save_pretrained(folder)
            with torch.device("meta"), self.assertRaisesRegex(UserError, "meta device context manager"):
                EarthGPTModel.from_pretrained(folder)
