"""What a training's identity says of a benchmark: all of it that can change what is learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from harness import ImageError, ImageRef, Json, Session, Task


def content(task: Task, hash_image: Callable[[ImageRef], str] | None) -> str:
    """The hash of a split's samples, of what is asked about them, and of their pictures.

    Args:
        task: the benchmark with its split and profile.
        hash_image: gives a picture's content hash and raises ImageError where it cannot be read, which is then part
            of the hash; None where no picture is looked at. It is asked once a picture.

    Raises:
        DataError: the data is absent or malformed.
    """
    digest = hashlib.sha256(msgspec.json.encode((task.digest(), task.profile)))
    hashes: dict[str, str] = {}
    for sample in task.samples():
        request = task.request(sample)
        digest.update(msgspec.json.encode(request.prompt))
        if hash_image is None:
            continue
        for image in request.images:
            if image.name not in hashes:
                hashes[image.name] = _hash_or_say(image, hash_image)
            digest.update(msgspec.json.encode(hashes[image.name]))
    return digest.hexdigest()


def seen(session: Session, task: Task) -> str:
    """The `content` of a benchmark whose pictures are looked at; a file's hash is remembered in the workspace."""
    return content(task, session.store.hash_image)


def judged(session: Session, task: Task, score: str | None = None) -> str:
    """What is `seen`, and the rules by which answers are scored.

    Args:
        score: the one that alone counts; what its metric depends on beside its options is then part of it.
    """
    rules: list[Json] = [task.protocol]
    for choice in task.metrics:
        rules.append([choice.listing.entry.name, list(choice.scores), dict(choice.options)])
        if score is not None and score in choice.scores:
            rules.append(str(getattr(choice.metric, "fingerprint", "")))
    rules.append(seen(session, task))
    return hashlib.sha256(msgspec.json.encode(rules, order="sorted")).hexdigest()


def _hash_or_say(image: ImageRef, hash_image: Callable[[ImageRef], str]) -> str:
    try:
        return hash_image(image)
    except ImageError:
        return "unreadable"
