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
            "textvqa",
            "TextVQA: questions about text in photographs, ten human answers each",
            "plugins.benchmarks.textvqa:textvqa",
        ),
        Entry(
            "vizwiz",
            "VizWiz: questions that blind people asked about their photographs, ten answers each",
            "plugins.benchmarks.vizwiz:vizwiz",
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
        Entry(
            "chair",
            "CHAIR: long descriptions of COCO photographs, and the objects that are in them",
            "plugins.benchmarks.chair:Chair",
        ),
        Entry(
            "pope",
            "POPE: is there such an object in the photograph? Half of the questions ask for one that is not",
            "plugins.benchmarks.pope:Pope",
        ),
    ]
