"""Samples as the workspace keeps them, and the hash that a dataset is known by."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

import msgspec

from harness.errors import DataError
from harness.types import NOTHING, Json, Sample

_ENCODER = msgspec.json.Encoder(order="sorted")
_TOGETHER = 256
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class DataDigest:
    """The hash of a dataset: all its samples' content, pictures apart, and what they share."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._shared: Mapping[str, Json] = NOTHING
        self._waiting: list[bytes] = []  # hashed together, which is quicker

    def add(self, sample: Sample, content: bytes) -> None:
        """The next sample, and what `encode_sample` made of it."""
        if sample.shared is not self._shared:  # the same mapping as a rule, which is quicker to see than equal ones
            if sample.shared != self._shared:
                self._waiting.append(encode_shared(sample.shared))
            self._shared = sample.shared
        self._waiting.append(content)
        if len(self._waiting) >= _TOGETHER:
            self._settle()

    def hexdigest(self) -> str:
        self._settle()
        return self._hash.hexdigest()

    def _settle(self) -> None:
        self._hash.update(b"".join(self._waiting))
        self._waiting.clear()


def encode_sample(sample: Sample) -> bytes:
    """A sample's content as JSON, without where its pictures lie and what its dataset shares.

    Raises:
        DataError: it holds what JSON cannot.
    """
    content = (sample.id, sample.question, sample.references, sample.group, sample.facts)
    try:
        return _ENCODER.encode(content)
    except (TypeError, ValueError) as error:
        raise DataError(f"sample {sample.id!r} cannot be stored: {error}") from error


def encode_shared(shared: Mapping[str, Json]) -> bytes:
    """What a dataset's samples share, as JSON.

    Raises:
        DataError: it holds what JSON cannot.
    """
    try:
        return msgspec.json.encode(dict(shared), order="sorted")
    except (TypeError, ValueError) as error:
        raise DataError(f"what the samples share cannot be stored: {error}") from error


def decode_sample(content: Json, shared: Mapping[str, Json] = NOTHING) -> Sample:
    """The sample whose JSON `encode_sample` wrote, with what its dataset shares; it has no pictures."""
    id_, question, references, group, facts = content
    return Sample(id_, (), question, tuple(references), group, facts, shared)


def storable(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes U+FFFD."""
    return text if text.isascii() else _LONE_SURROGATE.sub("\ufffd", text)
