"""A W&B server on the loopback, for tests that run the genuine `wandb` SDK.

    def test_publishes(tmp_path, monkeypatch):
        with serve() as server:
            for name, value in server.environment(tmp_path).items():
                monkeypatch.setenv(name, value)          # or `subprocess.run(…, env={**os.environ, **environment})`
            with wandb.init(name="first", job_type="train") as run:
                run.log({"loss": 1.0})
                artifact = wandb.Artifact("arr-coc", "model")
                artifact.add_dir(folder)
                run.log_artifact(artifact, aliases=["best"]).wait()

            assert server.versions("arr-coc") == {"v0": ["best", "latest"]}
            assert server.files("arr-coc:best")["config.json"] == b"{}"
            assert server.run(run.id).history_rows()[0]["loss"] == 1.0
            assert b"secret" not in server.received()
            assert not server.unknown                     # nothing was asked that the server does not model

It speaks the SDK's protocol: GraphQL against `schema.graphql` (all that it models, with types: anything else is an
error in the answer and noted in `server.unknown`), the stream of a run's lines, and storage with ranges. It keeps
everything in memory. Registries belong to `REGISTRY`'s entity: link to `f"{REGISTRY}/name"`, look at it with
`server.versions("name", REGISTRY)`. The SDK caches what it logged: a download asks for the bytes only where another
`WANDB_CACHE_DIR` is set.

What goes wrong: `server.down()` refuses connections until `server.up()`; `server.faults.slow|status|cut(…)` (see
`faults.py`), `server.faults.clear()`; `server.corrupt("arr-coc:v0", "weights.bin")`.

Where the real server's ways are not documented, this one chooses: a version's number is given at its commit; a re-log
of an equal digest moves the aliases that the client names and no other; deleting the latest version leaves no
`latest`; numbers are never given again; a `bayes` sweep draws at random.
"""

from __future__ import annotations

from .handler import API_KEY
from .server import REGISTRY, Server, serve

__all__ = ["API_KEY", "REGISTRY", "Server", "serve"]
