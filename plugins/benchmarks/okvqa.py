"""OK-VQA (Marino et al., 2019), https://okvqa.allenai.org: 5,046 questions about 5,033 photographs of val2014."""

from plugins.benchmarks.prompting import SHORT_ANSWER, Profile
from plugins.benchmarks.vqa import EVALAI
from plugins.benchmarks.vqa_coco import CocoQuestions

UNANSWERABLE = {
    "llava": Profile(
        "{question}\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
        "Answer the question using a single word or phrase.",
        16,
    ),
    "plain": SHORT_ANSWER["plain"],
}


def okvqa() -> CocoQuestions:
    # The hub's copy has no image ids; a question's id is its image's with one more digit.
    return CocoQuestions(
        UNANSWERABLE,
        shared={"rules": {"lmms": EVALAI}},
        prefix="",
        image_of_question=lambda question_id: question_id[:-1],
    )
