"""Score somebody's answers: here those of a "model" that says the same of every image.

    python examples/score_answers.py SHARDS OUT

The questions come from the data set, so every image of the split is asked; an answer that is missing counts as wrong.
"""

import json
import sys
from pathlib import Path

from mmrs.shards.reader import ShardSet
from training.evaluation.questions import QuestionScope, load_questions
from training.evaluation.rescore import RescoreConfig, rescore
from training.evaluation.score_file import describe_scores


def main(shards: Path, out: Path) -> None:
    """Write OUT/answers.jsonl and the scores of it."""
    scope = QuestionScope(split="test", tasks=("detection-hbb",))
    out.mkdir(parents=True, exist_ok=True)
    answers = out / "answers.jsonl"
    with answers.open("w") as file:
        for question in load_questions(ShardSet(shards), scope):
            said = "There is <p>one car</p>[0.400,0.400,0.600,0.600] in the image."
            file.write(json.dumps({"id": question.id, "text": said}) + "\n")
    print(describe_scores(rescore(RescoreConfig(answers=answers, data=shards, out=out, scope=scope))))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
