# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""A word-level tokenizer learnt from the training texts, for models that are trained from nothing."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PADDING, UNKNOWN, END = "<pad>", "<unk>", "</s>"


def word_tokenizer(
    questions: Iterable[str], answers: Iterable[str], *, rare: int, instruction: int
) -> PreTrainedTokenizerFast:
    """Words and punctuation in lower case, and whole instruction lines as one token each.

    Args:
        questions: prompts. A line that `instruction` of them or more have is an instruction: it is the same for all,
            so one token says it as well as twenty.
        answers: what is to be answered.
        rare: words that occur fewer times than this are unknown.
    """
    texts = list(questions)
    lines = Counter(line for text in texts for line in text.split("\n"))
    instructions = sorted(line for line, times in lines.items() if line and times >= instruction)
    splitter = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words: Counter[str] = Counter()
    for text, times in (lines + Counter(answers)).items():
        if text not in instructions:
            for word, _ in splitter.pre_tokenize_str(text.lower()):
                words[word] += times
    kept = sorted(word for word, times in words.items() if times >= rare)
    vocabulary = {word: index for index, word in enumerate([PADDING, UNKNOWN, END, *kept])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = splitter
    core.add_tokens([AddedToken(line, normalized=False) for line in instructions])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token=PADDING, unk_token=UNKNOWN, eos_token=END)
