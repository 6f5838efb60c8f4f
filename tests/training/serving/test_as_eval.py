"""The engine behind chat, predictions and the server answers as an evaluation does."""

from mmrs.shards.reader import ShardSet
from training.evaluation.generate import Decoding, generate_answers
from training.evaluation.questions import QuestionScope, load_questions, question_image
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.inputs.conversation import Conversation
from training.serving.engine import Sampling
from training.serving.load import open_engine


def test_answers_of_the_engine_are_those_of_an_evaluation(shards, model_folder):
    data = ShardSet(shards)
    questions = load_questions(data, QuestionScope(split="train", tasks=("classification",)))[:12]
    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval()
    decoding = Decoding(batch_size=5, max_new_tokens=12)
    processor = EarthGPTProcessor.from_pretrained(model_folder)
    expected = generate_answers(model, processor, data, questions, decoding, lambda done: None)
    engine = open_engine(model_folder, "cpu")
    try:
        for question, answer in zip(questions, expected, strict=True):
            conversation = Conversation((("human", question.prompt),), ((question_image(data, question),),))
            end = list(engine.answer(conversation, Sampling(12)))[-1]
            assert (end.text, end.reason) == (answer.text, answer.finish_reason)
    finally:
        engine.close(0)
    assert len(questions) == 12 and len({answer.text for answer in expected}) > 1
