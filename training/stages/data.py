"""Preparing data: filtered, without repetitions and without the evaluation sets, in splits that share no scene."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal

import msgspec
from pydantic import Field, field_validator, model_validator
from tqdm import tqdm  # type: ignore[import-untyped]

from harness import DataError, ImageError, ImageRef, Json, Session
from training.job import Job
from training.preparing.contamination import Contamination, Exam, check
from training.preparing.fingerprints import Fingerprint, Take, take_all
from training.preparing.gathering import Entry, Filters, Gathered, gather, part, rows_of
from training.preparing.sources import (
    FileSource,
    OnBad,
    Record,
    Rejects,
    TableSource,
    read_benchmark,
    read_file,
    read_table,
)
from training.preparing.writer import REPORT, Row, content_digest, write_dataset
from training.recipe import Result
from training.settings import StageSettings


class DataStage(StageSettings):
    """A config whose `stage` is `data`. The names of its sources are what `shares` of a training choose from."""

    makes: ClassVar[str] = "dataset"
    stage: Literal["data"] = "data"
    benchmarks: tuple[str, ...] = ()
    """Benchmarks whose samples are taken, as the harness asks them."""
    split: str = "train"
    """Their split."""
    files: dict[str, FileSource] = Field(default={})
    """Files of records, each under a name of its own."""
    tables: dict[str, TableSource] = Field(default={})
    """Datasets of the hub, or local ones of the same formats, each under a name of its own."""
    on_bad: OnBad = "error"
    """What becomes of records without a label or with a picture that cannot be read: `skip` counts them."""
    filters: Filters = Filters()
    """What is left out, and counted."""
    against: tuple[str, ...] | None = None
    """Benchmarks whose evaluation splits must not be in it; by default those of `benchmarks`."""
    contaminated: Literal["remove", "keep"] = "remove"
    """What becomes of what is in an evaluation split: it is reported in either case."""
    alike: float = Field(default=0.3, ge=0, lt=1)
    """The largest distance of two pictures' looks that makes them the same; 0 compares bytes and pixels alone."""
    long: int | None = Field(default=13, ge=1)
    """Words of question and answer that are a leak on any picture; null counts such, and removes none."""
    splits: dict[str, float] = Field(default={"train": 0.95, "validation": 0.05}, min_length=1)
    """The splits that are made, and the share of scenes that each gets."""
    seed: int = 0
    """Of which scene falls into which split."""

    @field_validator("splits")
    @classmethod
    def _positive(cls, splits: dict[str, float]) -> dict[str, float]:
        for name, share in splits.items():
            if share <= 0:
                raise ValueError(f"every share must be above 0, and that of {name!r} is {share}")
            if not name.isidentifier():
                raise ValueError(f"{name!r} is no name of a split; use letters, digits and '_'")
        return splits

    @model_validator(mode="after")
    def _sources(self) -> DataStage:
        names = [*self.benchmarks, *self.files, *self.tables]
        if not names:
            raise ValueError("nothing to prepare; name sources under `benchmarks`, `files` or `tables`")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the source {name!r} is named twice; give each a name of its own")
        if self.against is None and not self.benchmarks:
            raise ValueError("against: name the benchmarks that a model will be evaluated on; [] checks against none")
        return self

    @property
    def examined(self) -> tuple[str, ...]:
        """The benchmarks that are checked against."""
        return self.benchmarks if self.against is None else self.against

    def records(self, session: Session, rejects: Rejects) -> Iterator[tuple[str, Iterator[Record]]]:
        """Every source's name with its records.

        Raises:
            UnknownName, ConfigError, DataError: a source is not there, or malformed as a whole.
        """
        for name in self.benchmarks:
            yield name, read_benchmark(session, name, self.split, rejects)
        for name, file in self.files.items():
            yield name, read_file(name, file, rejects)
        for name, table in self.tables.items():
            yield name, read_table(name, table, rejects)

    def data_digests(self, session: Session) -> dict[str, str]:
        """What it is made of, and checked against: source -> digest of its records and pictures."""
        rejects = Rejects()
        digests = {}
        for name, records in self.records(session, rejects):
            if name in self.tables and self.tables[name].hub is not None:
                digests[name] = self.tables[name].digest()
                continue
            digests[name] = _digest(records, session)
        for name in self.examined:
            task = session.benchmark(name)
            digests[f"against {name}"] = task.digest()
            digests[f"pictures of {name}"] = _digest_of_pictures(
                (image for sample in task.samples() for image in task.request(sample).images), session
            )
        if rejects.counts:
            digests["rejected"] = hashlib.sha256(repr(sorted(rejects.counts.items())).encode()).hexdigest()
        return digests


def _digest(records: Iterable[Record], session: Session) -> str:
    digest = hashlib.sha256()

    def images() -> Iterator[ImageRef]:
        for record in records:
            digest.update(msgspec.json.encode([record.prompt, record.answers, record.group]))
            yield record.image

    digest.update(_digest_of_pictures(images(), session).encode())
    return digest.hexdigest()


def _digest_of_pictures(images: Iterable[ImageRef], session: Session) -> str:
    """Of their contents, in their order; a file that did not change is not read again."""
    digest = hashlib.sha256()
    known: dict[str, str] = {}
    for image in images:
        if image.name not in known:
            try:
                known[image.name] = session.store.hash_image(image)
            except ImageError:
                known[image.name] = "unreadable"
        digest.update(known[image.name].encode())
    return digest.hexdigest()


def run(job: Job) -> Result:
    """Prepares the dataset.

    Raises:
        UnknownName, ConfigError, DataError: a source or an evaluation set is not there; records are bad and that is
            an error; nothing is left, or nothing for a split.
    """
    settings: DataStage = job.settings
    finished, unfinished = job.folder / "dataset", job.folder / "dataset.part"
    if not finished.exists():
        rejects = Rejects()
        records = (record for _, found in settings.records(job.session, rejects) for record in found)
        gathered = gather(records, rejects, settings.filters, _shown("reading pictures"))
        if settings.on_bad == "error":
            rejects.refuse(gathered.records.total())
        contamination = _examine(settings, job.session, gathered.entries)
        kept = gathered.entries
        if settings.contaminated == "remove":
            kept = _without(kept, contamination)
        if not kept:
            raise DataError(f"nothing is left of {gathered.records.total()} records: {_why(gathered, contamination)}")
        splits = part(rows_of(kept, settings.alike), settings.splits, settings.seed)
        for name, rows in splits.items():
            if not rows:
                scenes = len({row.group for found in splits.values() for row in found})
                raise DataError(f"no scene of {scenes} fell into the split {name!r}; raise its share, or add data")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_dataset(unfinished, splits, _report(settings, gathered, rejects, contamination, splits))
        unfinished.rename(finished)
    report = json.loads((finished / REPORT).read_text(encoding="utf-8"))
    return Result(finished, type="dataset", facts={"report": report})


def _shown(what: str) -> Take:
    """Takes fingerprints, and shows on stderr how far it is."""

    def take(images: Sequence[ImageRef]) -> Iterable[Fingerprint | ImageError]:
        shown: Iterable[Fingerprint | ImageError] = tqdm(
            take_all(images),
            total=len(images),
            desc=what,
            unit=" pictures",
            mininterval=0.2 if sys.stderr.isatty() else 10,
            file=sys.stderr,
        )
        return shown

    return take


def _examine(settings: DataStage, session: Session, entries: Sequence[Entry]) -> Contamination:
    exam = Exam()
    for name in settings.examined:
        exam.read(session, name, _shown(f"reading {name}"), allow_unreadable=settings.on_bad == "skip")
    return check(entries, exam, alike=settings.alike, long=settings.long)


def _without(entries: Sequence[Entry], contamination: Contamination) -> list[Entry]:
    """What is in no evaluation set."""
    kept = []
    for place, entry in enumerate(entries):
        if place in contamination.pictures:
            continue
        entry.lessons = [
            lesson for number, lesson in enumerate(entry.lessons) if (place, number) not in contamination.lessons
        ]
        if entry.lessons:
            kept.append(entry)
    return kept


def _why(gathered: Gathered, contamination: Contamination) -> str:
    reasons = [f"{count} {why}" for why, count in gathered.dropped.items()]
    if contamination.pictures or contamination.lessons:
        reasons.append(
            f"{len(contamination.pictures)} pictures and {len(contamination.lessons)} lessons are in an evaluation set"
        )
    return ", ".join(reasons) or "the sources hold none"


def _report(
    settings: DataStage,
    gathered: Gathered,
    rejects: Rejects,
    contamination: Contamination,
    splits: Mapping[str, Sequence[Row]],
) -> dict[str, Json]:
    """What is told of the dataset."""
    described = {}
    for name, rows in splits.items():
        lessons: dict[str, int] = {}
        for row in rows:
            for lesson in row.lessons:
                lessons[lesson.benchmark] = lessons.get(lesson.benchmark, 0) + 1
        described[name] = {
            "pictures": len(rows),
            "scenes": len({row.group for row in rows}),
            "lessons": lessons,
            "digest": content_digest(rows),
        }
    digests = [described[name]["digest"] for name in splits]
    return {
        "digest": hashlib.sha256(repr(list(zip(splits, digests, strict=True))).encode()).hexdigest(),
        "splits": described,
        "records": dict(gathered.records),
        "bad": {"counts": dict(sorted(rejects.counts.items())), "examples": rejects.examples},
        "dropped": dict(sorted(gathered.dropped.items())),
        "contaminated": settings.contaminated,
        "contamination": dict(contamination.report),
    }
