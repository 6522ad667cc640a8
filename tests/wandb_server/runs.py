"""Runs: config, summary, history, console, files, state; and the stream of lines that a running one sends."""

from __future__ import annotations

import fnmatch
import json
import mimetypes
import urllib.parse
import uuid
from typing import TYPE_CHECKING, Any

from .nodes import Input, Node, Refused, mutation, node_id, now, page

if TYPE_CHECKING:
    from .projects import Project, User
    from .state import State


class Run(Node):
    typename = "Run"
    read_only = False
    system_metrics = "{}"

    def __init__(self, state: State, project: Project, name: str) -> None:
        super().__init__(state)
        self.project = project
        self.name = self.display_name = name
        self.state = "running"
        self.description = self.notes = self.commit = self.host = self.group = self.job_type = None
        self.sweep_name = self.agent_id = self.exitcode = None
        self.tags: list[str] = []
        self.config = self.summary_metrics = "{}"
        self.should_stop = False
        self.heartbeat_at = self.created_at
        self.lines: dict[str, dict[int, str]] = {"wandb-history.jsonl": {}, "wandb-events.jsonl": {}, "output.log": {}}
        self.used: list[str] = []

    @property
    def project_id(self) -> int:
        return self.project.serial

    @property
    def user(self) -> User:
        return self.server.viewer

    @property
    def failed(self) -> bool:
        return self.state in ("failed", "crashed")

    @property
    def running(self) -> bool:
        return self.state == "running"

    @property
    def stopped(self) -> bool:
        return self.should_stop

    def _lines(self, name: str) -> list[str]:
        return [line for _, line in sorted(self.lines[name].items())]

    def history_rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._lines("wandb-history.jsonl")]

    def plain_config(self) -> dict[str, Any]:
        """The config as its author wrote it, without the SDK's own keys."""
        config = json.loads(self.config)
        return {key: item["value"] for key, item in config.items() if key not in ("_wandb", "wandb_version")}

    def filter_fields(self) -> dict[str, Any]:
        return {
            "name": self.name, "display_name": self.display_name, "displayName": self.display_name, "state": self.state,
            "group": self.group, "jobType": self.job_type, "job_type": self.job_type, "tags": self.tags,
            "sweep": self.sweep_name, "username": self.user.username, "host": self.host, "created_at": self.created_at,
            "createdAt": self.created_at, "heartbeat_at": self.heartbeat_at, "config": self.plain_config(),
            "summary_metrics": json.loads(self.summary_metrics),
        }  # fmt: skip

    def history_line_count(self) -> int:
        return len(self.lines["wandb-history.jsonl"])

    def events_line_count(self) -> int:
        return len(self.lines["wandb-events.jsonl"])

    def log_line_count(self) -> int:
        return len(self.lines["output.log"])

    def history_tail(self) -> str:
        return json.dumps(self._lines("wandb-history.jsonl")[-1:])

    def events_tail(self) -> str:
        return json.dumps(self._lines("wandb-events.jsonl")[-1:])

    def history_keys(self) -> dict[str, Any]:
        rows = self.history_rows()
        counts = {key: sum(key in row for row in rows) for row in rows for key in row}
        keys = {key: {"typeCounts": [{"type": "number", "count": count}]} for key, count in counts.items()}
        return {"lastStep": max((row.get("_step", 0) for row in rows), default=-1), "sets": [], "keys": keys}

    def wandb_config(self, keys: list[str] | None = None) -> str:
        return json.dumps({"t": 1})

    def history(self, min_step: int = 0, max_step: int | None = None, samples: int | None = None) -> list[str]:
        rows = [row for row in self.history_rows() if row.get("_step", 0) >= min_step]
        rows = [row for row in rows if max_step is None or row.get("_step", 0) < max_step]
        return [json.dumps(row) for row in rows[:samples]]

    def events(self, samples: int | None = None) -> list[str]:
        return self._lines("wandb-events.jsonl")[:samples]

    def sampled_history(self, specs: list[str]) -> list[list[dict[str, Any]]]:
        found = []
        for keys in (json.loads(spec).get("keys") or [] for spec in specs):
            rows = [row for row in self.history_rows() if all(key in row for key in keys)]
            found.append([{key: row[key] for key in keys} for row in rows] if keys else rows)
        return found

    def parquet_history(self, live_keys: list[str]) -> dict[str, Any]:
        return {"parquetUrls": [], "liveData": self.history_rows()}

    def log_lines(
        self, first: int | None = None, after: str | None = None, last: int | None = None, **_: Any
    ) -> dict[str, Any]:
        lines = [{"number": n, "timestamp": None, "level": None, "label": None, "line": line}
                 for n, line in sorted(self.lines["output.log"].items())]  # fmt: skip
        return page(lines[-last:] if last else lines, first, after)

    @property
    def file_prefix(self) -> str:
        return f"runs/{self.project.entity.name}/{self.project.name}/{self.name}/"

    def file(self, name: str) -> File:
        return File(self.server, name, self.file_prefix + name)

    def stored_files(self) -> dict[str, bytes]:
        """The run's files that have arrived, by name."""
        prefix = self.file_prefix
        return {
            key.removeprefix(prefix): blob for key, blob in list(self.server.blobs.items()) if key.startswith(prefix)
        }

    def file_count(self) -> int:
        return len(self.stored_files())

    def files(self, names: list[str] | None = None, pattern: str | None = None, **window: Any) -> dict[str, Any]:
        found = [name for name in sorted(self.stored_files()) if not names or name in names]
        if pattern:
            found = fnmatch.filter(found, pattern.replace("%", "*"))
        return page([self.file(name) for name in found], **window)

    def input_artifacts(self, **window: Any) -> dict[str, Any]:
        return page([self.server.artifacts[used] for used in self.used if used in self.server.artifacts], **window)

    def output_artifacts(self, **window: Any) -> dict[str, Any]:
        made = [a for a in self.server.artifacts.values() if a.created_by is self and a.committed]
        return page(list(dict.fromkeys(made)), **window)


class File:
    """A stored file: of a run, of an artifact, or a manifest."""

    typename = "File"
    upload_multipart_urls = None
    upload_headers: tuple[str, ...] = ()

    def __init__(self, state: State, name: str, key: str, artifact: Any = None, md5: str | None = None) -> None:
        self.server = state
        self.name = self.display_name = name
        self.storage_path = key
        self.artifact = artifact
        self.md5 = self.digest = md5
        self.id = node_id("File", key)
        self.updated_at = now()

    @property
    def direct_url(self) -> str:
        return f"{self.server.base_url}/storage/{urllib.parse.quote(self.storage_path)}"

    def url(self, **_: Any) -> str:
        return self.direct_url

    @property
    def upload_url(self) -> str | None:
        """Where to put it; None when equal bytes are stored already."""
        stored = self.storage_path.startswith("content/") and self.storage_path in self.server.blobs
        return None if stored else self.direct_url

    @property
    def size_bytes(self) -> int:
        return len(self.server.blobs.get(self.storage_path, b""))

    @property
    def mimetype(self) -> str:
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


def _run_of(state: State, run_id: str) -> Run:
    run = next((run for run in state.all_runs() if run.id == run_id), None)
    if run is None:
        raise Refused(f"run {run_id} not found", 404)
    return run


@mutation
def upsert_bucket(state: State, input: Input) -> dict[str, Any]:
    if input.id:
        run, inserted = _run_of(state, input.id), False
    else:
        name = input.name or uuid.uuid4().hex[:8]
        project = state.project(input.entity_name, input.model_name)
        if name in project.deleted_runs:
            raise Refused(f"run {name} was previously created and deleted; try a new run name", 409)
        inserted = name not in project.runs_by_name
        run = state.run(input.entity_name, input.model_name, name)
    sent = {
        "group": input.group_name, "sweep_name": input.sweep, "state": input.state, "job_type": input.job_type,
        "display_name": input.display_name, "summary_metrics": input.summary_metrics, "tags": input.tags,
        "description": input.description, "notes": input.notes, "commit": input.commit, "host": input.host,
        "config": input.config,
    }  # fmt: skip
    for key, value in sent.items():
        if value is not None:
            setattr(run, key, value)
    # The SDK also sends a run's configuration so, at any time until its end.
    if not input.id and not input.state and run.state != "preempting":
        run.state = "running"
    run.updated_at = run.heartbeat_at = now()
    return {"bucket": run, "inserted": inserted}


@mutation
def update_run_state(state: State, input: Input) -> dict[str, bool]:
    _run_of(state, input.id).state = input.state
    return {"success": True}


@mutation
def delete_run(state: State, input: Input) -> dict[str, Any]:
    run = _run_of(state, input.id)
    del run.project.runs_by_name[run.name]
    run.project.deleted_runs.add(run.name)
    return {"success": True, "clientMutationId": None}


@mutation
def stop_run(state: State, input: Input) -> dict[str, bool]:
    _run_of(state, input.id).should_stop = True
    return {"success": True}


@mutation
def create_run_files(state: State, input: Input) -> dict[str, Any]:
    run = state.run(input.entity_name, input.project_name, input.run_name)
    return {"runID": run.id, "uploadHeaders": [], "files": [run.file(name) for name in input.files]}


@mutation
def mark_run_files_uploaded(state: State, input: Input) -> dict[str, bool]:
    stored = state.run(input.entity_name, input.project_name, input.run_name).stored_files()
    return {"success": all(name in stored for name in input.files)}


@mutation
def delete_files(state: State, input: Input) -> dict[str, bool]:
    for key in [key for key in state.blobs if node_id("File", key) in input.files]:
        del state.blobs[key]
    return {"success": True}


@mutation
def notify_scriptable_run_alert(state: State, input: Input) -> dict[str, bool]:
    state.alerts.append(dict(input))
    return {"success": True}


def receive_stream(run: Run, message: dict[str, Any]) -> dict[str, Any]:
    """Take a `file_stream` message: lines of the run's files from an offset, its end, its heartbeat."""
    for name, part in (message.get("files") or {}).items():
        if name == "wandb-summary.json":
            run.summary_metrics = part["content"][-1]
        elif name in run.lines:
            # by number, so that a message that is sent twice changes nothing
            run.lines[name].update(enumerate(part["content"], part["offset"]))
        else:
            run.server.note_unknown("file_stream", f"file {name}")
    for key in set(message) - {"files", "complete", "exitcode", "preempting", "uploaded", "dropped"}:
        run.server.note_unknown("file_stream", f"key {key}")
    if message.get("preempting"):
        run.state = "preempting"
    if message.get("complete"):
        run.exitcode = message.get("exitcode", 0)
        failed = "preempted" if run.state == "preempting" else "failed"
        run.state = "finished" if run.exitcode == 0 else failed
    run.heartbeat_at = now()
    return {"limits": {}, **({"stopped": True} if run.should_stop else {})}
