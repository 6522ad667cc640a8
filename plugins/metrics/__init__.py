"""The metrics that ship."""

from harness import Entry, hookimpl


@hookimpl
def register_metrics() -> list[Entry]:
    return [
        Entry(
            "vqa_accuracy",
            "accuracy against ten human answers, by the VQA challenge's rule",
            "plugins.metrics.vqa_accuracy:VqaAccuracy",
            provides=("accuracy",),
        ),
        Entry(
            "gqa_accuracy",
            "accuracy against GQA's one answer, and on its binary and open questions",
            "plugins.metrics.gqa:GqaAccuracy",
            provides=("accuracy", "binary", "open"),
        ),
        Entry(
            "gqa_companions",
            "whether GQA's answers agree with each other, could be answers, make sense, and are spread as the right ones",
            "plugins.metrics.gqa_companions:GqaCompanions",
            provides=("consistency", "validity", "plausibility", "distribution"),
        ),
        Entry(
            "gqa_grounding",
            "attention on the objects that a GQA question points to",
            "plugins.metrics.gqa_grounding:GqaGrounding",
            provides=("grounding",),
        ),
        Entry(
            "cider",
            "CIDEr-D: n-grams shared with the references, rare ones counting more",
            "plugins.metrics.captions:Cider",
        ),
        Entry(
            "bleu",
            "BLEU-1 to BLEU-4: n-gram precision over the whole set",
            "plugins.metrics.captions:Bleu",
            provides=("bleu_1", "bleu_2", "bleu_3", "bleu_4"),
        ),
        Entry(
            "rouge_l",
            "ROUGE-L: longest common subsequence with the references",
            "plugins.metrics.captions:RougeL",
        ),
        Entry(
            "meteor",
            "METEOR 1.5: words, stems, synonyms and paraphrases aligned with the best reference",
            "plugins.metrics.meteor:Meteor",
        ),
        Entry(
            "compression",
            "what is left of the visual tokens: the fraction kept, and the factor that they shrank by",
            "plugins.metrics.tokens:Compression",
            provides=("kept_fraction", "compression_factor"),
        ),
        Entry(
            "tokens",
            "tokens used: visual, prompt and generated, each a mean over the samples",
            "plugins.metrics.tokens:Tokens",
            provides=("visual_tokens", "prompt_tokens", "generated_tokens"),
        ),
    ]
