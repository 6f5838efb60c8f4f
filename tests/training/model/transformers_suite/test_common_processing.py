"""transformers' own `ProcessorTesterMixin` on `EarthGPTProcessor`."""

import unittest

import numpy as np
import pytest

from tests.support.transformers_tests import common_tests
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, train_tokenizer

pytestmark = pytest.mark.nightly

common = common_tests("test_processing_common")
CORPUS = [
    "Human: Please detect all objects in this image.\nAssistant: There is <p>one car</p>[0.412,0.300,0.655,0.511]."
]


class EarthGPTProcessorTest(common.ProcessorTesterMixin, unittest.TestCase):
    processor_class = EarthGPTProcessor

    @classmethod
    def _setup_image_processor(cls):
        return EarthGPTImageProcessor(image_size=32)

    @classmethod
    def _setup_tokenizer(cls):
        return train_tokenizer(CORPUS, 320)

    @classmethod
    def prepare_processor_dict(cls):
        return {"image_slots": 6}

    def test_get_num_multimodal_tokens_matches_processor_call(self):
        """As in the mixin, with placeholders in front: elsewhere in a question they are text."""
        processor, sizes = self.get_processor(), [(100, 100), (300, 100), (500, 30), (213, 167)]
        images = [np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
        for count in (1, 2):
            text = [f"{self.image_token * count}How many images are these?"] * len(images)
            inputs = processor(
                text=text, images=images * count, padding=True, return_mm_token_type_ids=True, return_tensors="pt"
            )
            planned = processor._get_num_multimodal_tokens(image_sizes=sizes * count)["num_image_tokens"]
            self.assertEqual(int(inputs.mm_token_type_ids.sum()), sum(planned))

    def test_if_input_has_mismatching_tokens_and_mm_data(self):
        with self.assertRaisesRegex(ValueError, "4 images for 3 prompts"):
            self.get_processor()(
                images=[[image] for image in self.prepare_images_inputs(batch_size=4)],
                text=self.prepare_text_inputs(batch_size=3, modalities=["image"]),
            )

    @unittest.skip("the format has no system turn; tests/training/model/inputs says what a chat may hold")
    def test_apply_chat_template_image_0(self):
        pass

    test_apply_chat_template_image_1 = test_apply_chat_template_image_0

    @unittest.skip("tools are refused")
    def test_apply_chat_template_tool_calls_no_content(self):
        pass

    @unittest.skip("tokens are those of training, whatever the template: another one is refused")
    def test_apply_chat_template_assistant_mask(self):
        pass

    @unittest.skip("the template is the model's format, not a setting")
    def test_chat_template_save_loading(self):
        pass

    @unittest.skip("pixels are rescaled and normalised in the model, for each encoder apart: do_rescale is refused")
    def test_doubly_passed_kwargs_0_images(self):
        pass

    test_kwargs_overrides_default_subprocessor_kwargs_0_images = test_doubly_passed_kwargs_0_images
    test_structured_kwargs_nested_from_dict_0_images = test_doubly_passed_kwargs_0_images
    test_subprocessor_defaults_0_images = test_doubly_passed_kwargs_0_images
    test_subprocessor_defaults_preserved_by_kwargs_0_images = test_doubly_passed_kwargs_0_images
    test_unstructured_kwargs_0_images = test_doubly_passed_kwargs_0_images
    test_unstructured_kwargs_batched_0_images = test_doubly_passed_kwargs_0_images

    @unittest.skip("a question is framed as in training, and not what the tokenizer alone would make of it")
    def test_subprocessor_defaults_0_text(self):
        pass

    def test_replacement_offsets(self):
        """As in the mixin, with rendered prompts; of others offsets are refused."""
        processor = self.get_processor()
        texts = [f"{processor.tokenizer.bos_token}{self.image_token * count}What is this?" for count in (1, 2)]
        inputs = processor(
            text=texts,
            images=self.prepare_images_inputs(batch_size=3),
            return_text_replacement_offsets=True,
            padding=False,
            return_tensors=None,
        )
        for ids, offsets in zip(inputs["input_ids"], inputs["text_replacement_offsets"], strict=True):
            text = processor.tokenizer.decode(ids, skip_special_tokens=False)
            for each in offsets:
                start, end = each["new_span"]
                self.assertEqual(text[start:end], each["replacement"])
        with self.assertRaisesRegex(ValueError, "rendered alone"):
            processor(text="What is this?", return_text_replacement_offsets=True)
