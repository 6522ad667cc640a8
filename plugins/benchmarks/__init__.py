"""The benchmarks that ship."""

from harness import Entry, hookimpl


@hookimpl
def register_benchmarks() -> list[Entry]:
    return [
        Entry(
            "vqav2",
            "VQA v2.0: open questions about COCO photographs, ten human answers each",
            "plugins.benchmarks.vqav2:vqav2",
        ),
        Entry(
            "gqa",
            "GQA: compositional questions made from scene graphs, one answer each",
            "plugins.benchmarks.gqa:Gqa",
        ),
        Entry(
            "okvqa",
            "OK-VQA: questions that need knowledge from outside the picture, ten answers each",
            "plugins.benchmarks.okvqa:okvqa",
        ),
        Entry(
            "nocaps",
            "NoCaps: captions of pictures whose objects captioning sets rarely name, ten references each",
            "plugins.benchmarks.nocaps:nocaps",
        ),
        Entry(
            "coco_captions",
            "COCO Captions: one-sentence captions of photographs, five references each",
            "plugins.benchmarks.coco_captions:coco_captions",
        ),
    ]
