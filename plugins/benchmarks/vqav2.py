"""VQA v2.0 (Goyal et al., 2017), https://visualqa.org: 214,354 validation questions about 40,504 photographs."""

from plugins.benchmarks.prompting import SHORT_ANSWER
from plugins.benchmarks.vqa_coco import CocoQuestions


def vqav2() -> CocoQuestions:
    return CocoQuestions(SHORT_ANSWER, prefix="v2_", image_of_question=lambda question_id: question_id[:-3])
