"""Questions in `trivia.jsonl`: {"id", "question", "answers", "picture"?, "group"?, "topic"?} a line."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import BenchmarkInfo, DataError, DataSource, FileImage, Generation, Output, Request, Sample


class Trivia:
    info = BenchmarkInfo(
        version="1",
        metrics=("acme-exact",),
        profiles=("plain", "polite"),
        protocols=("strict", "lower"),
        split="all",
    )

    def samples(self, data: DataSource) -> Iterator[Sample]:
        assert data.path is not None
        file = data.path / "trivia.jsonl"
        if not file.is_file():
            raise DataError(f"{file}: no such file; acme-trivia wants a folder with it")
        shared = {"source": "acme"}
        for number, line in enumerate(file.read_text().splitlines(), start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{file}:{number}: not JSON ({error})") from error
            yield Sample(
                id=row["id"],
                images=(FileImage(data.path / row["picture"]),) if "picture" in row else (),
                question=row["question"],
                references=tuple(row["answers"]),
                group=row.get("group", row["id"]),
                facts={"topic": row.get("topic")},
                shared=shared,
            )

    def request(self, sample: Sample, profile: str) -> Request:
        prompt = sample.question if profile == "plain" else f"Please: {sample.question}"
        return Request(sample.images, prompt, Generation(max_new_tokens=4))

    def parse(self, text: str, profile: str) -> str:
        return text.strip()

    def results(self, paths: Sequence[Path], data: DataSource) -> Iterator[tuple[str, Output]]:
        for path in paths:
            for row in json.loads(path.read_text()):
                yield row["id"], Output(row["said"])
