"""NoCaps (Agrawal et al., 2019), https://nocaps.org: 4,500 validation pictures of Open Images, ten captions each."""

import msgspec

from plugins.benchmarks.captions import PROFILES, Captions, Row


class NoCapsRow(Row, gc=False, kw_only=True):
    captions: list[str] = msgspec.field(name="annotations_captions")


def nocaps() -> Captions:
    return Captions(
        PROFILES,
        names=("nocaps_{split}_4500_captions.json",),
        folder="images",
        file_name="{id}.jpg",
        row=NoCapsRow,
    )
