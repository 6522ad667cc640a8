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
            "whether GQA's answers agree with each other, make sense, and are spread as the right ones",
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
            "CIDEr as published: CIDEr-D, n-grams shared with the references, rare ones counting more",
            "plugins.metrics.captions:Cider",
        ),
        Entry("cider_d", "CIDEr-D, which is what `cider` is too", "plugins.metrics.captions:CiderD"),
        Entry(
            "cider_plain",
            "CIDEr as its paper defines it: neither clipped nor penalised for length",
            "plugins.metrics.captions:CiderPlain",
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
            "spice",
            "SPICE: objects, attributes and relations shared with the references",
            "plugins.metrics.spice:Spice",
        ),
        Entry(
            "chair",
            "CHAIR: objects that captions mention and pictures lack",
            "plugins.metrics.chair:Chair",
            provides=("chair_s", "chair_i", "chair_recall", "hallucination_rate"),
        ),
        Entry(
            "pope",
            "POPE: yes or no to objects that are there or not",
            "plugins.metrics.pope:Pope",
            provides=("accuracy", "precision", "recall", "f1", "yes_rate", "hallucination_rate"),
        ),
        Entry(
            "compression",
            "what is left of the visual tokens: the fraction kept, and the factor that they shrank by",
            "plugins.metrics.tokens:Compression",
            provides=("kept_fraction", "compression_factor"),
        ),
        Entry(
            "tokens",
            "tokens used: visual (mean, most, a patch), prompt and generated",
            "plugins.metrics.tokens:Tokens",
            provides=("visual_tokens", "visual_tokens_max", "tokens_per_patch", "prompt_tokens", "generated_tokens"),
        ),
        Entry(
            "latency",
            "seconds a sample (mean and percentiles), samples a second, peak memory",
            "plugins.metrics.latency:Latency",
            provides=(
                "latency_mean",
                "latency_p50",
                "latency_p90",
                "latency_p95",
                "latency_p99",
                "samples_per_second",
                "peak_memory",
            ),
        ),
        Entry(
            "allocation",
            "where a model that tells its routing spent its visual tokens",
            "plugins.metrics.allocation:Allocation",
            provides=(
                "allocation_entropy",
                "area_at_level_0",
                "area_at_level_1",
                "area_at_level_2",
                "area_at_level_3",
                "relevance_propositional",
                "relevance_perspectival",
                "relevance_participatory",
                "weight_propositional",
                "weight_perspectival",
                "weight_participatory",
            ),
        ),
        Entry(
            "evaluate",
            "any metric of the evaluate library: evaluate:NAME or evaluate:./folder",
            "plugins.metrics.evaluate_module:EvaluateModule",
        ),
    ]
