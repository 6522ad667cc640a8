"""The tables of the workspace database.

Each script takes the database one version further; a script that was released is never edited.
"""

from __future__ import annotations

from typing import Final

_VERSION_1: Final = """
CREATE TABLE checkpoints (
    name TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    next INTEGER NOT NULL              -- the number of the next version: never given twice, whatever is deleted
) WITHOUT ROWID;

CREATE TABLE versions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL REFERENCES checkpoints (name),
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    created TEXT NOT NULL,
    metadata TEXT NOT NULL,
    parents TEXT NOT NULL,
    UNIQUE (name, number)
);
CREATE INDEX versions_by_digest ON versions (digest);

CREATE TABLE version_files (
    version INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    md5 TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (version, path)
) WITHOUT ROWID;
CREATE INDEX version_files_by_content ON version_files (sha256);

CREATE TABLE aliases (
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (name, alias),
    FOREIGN KEY (name, number) REFERENCES versions (name, number)
) WITHOUT ROWID;

CREATE TABLE alias_moves (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL REFERENCES checkpoints (name),
    alias TEXT NOT NULL,
    before INTEGER,
    after INTEGER,
    moved TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX alias_moves_by_name ON alias_moves (name, id);

CREATE TABLE runs (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,           -- the hash of its plan
    model TEXT NOT NULL,
    version TEXT,
    digest TEXT,
    benchmark TEXT NOT NULL,
    identity TEXT NOT NULL,
    facts TEXT NOT NULL,
    status TEXT NOT NULL,
    n INTEGER NOT NULL,
    seconds REAL NOT NULL DEFAULT 0,
    created TEXT NOT NULL,
    finished TEXT
);

CREATE TABLE samples (
    data TEXT NOT NULL,                -- the digest of the data that they belong to
    position INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (data, position)
) WITHOUT ROWID;

CREATE TABLE predictions (
    run INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    sample TEXT NOT NULL,
    text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    visual_tokens INTEGER NOT NULL,
    full_visual_tokens INTEGER NOT NULL,
    generated_tokens INTEGER NOT NULL,
    failure TEXT,                      -- its kind; NULL where there is an answer
    message TEXT,
    PRIMARY KEY (run, position)
) WITHOUT ROWID;

-- What may differ between two equal runs lies apart from what may not.
CREATE TABLE timings (
    run INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (run, position)
) WITHOUT ROWID;

CREATE TABLE traces (
    run INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    trace BLOB NOT NULL,               -- JSON, compressed
    PRIMARY KEY (run, position)
) WITHOUT ROWID;

CREATE TABLE scores (
    run INTEGER NOT NULL REFERENCES runs (key) ON DELETE CASCADE,
    protocol TEXT NOT NULL,
    name TEXT NOT NULL,
    place INTEGER NOT NULL,            -- their order, the main figure first
    score TEXT,                        -- NULL where there is none
    reason TEXT,                       -- why it could not be scored; NULL too where there was nothing to measure
    per_sample BLOB,                   -- float64, one an answered sample
    metrics TEXT NOT NULL,             -- the digest of the metrics and options that gave it
    PRIMARY KEY (run, protocol, name)
) WITHOUT ROWID;

CREATE TABLE files (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    changed INTEGER NOT NULL,          -- nanoseconds
    sha256 TEXT NOT NULL
) WITHOUT ROWID;
"""

BLOCK: Final = 256
"""Samples in a row of `samples`: a row for each would take longer to store than the samples to read."""

_VERSION_2: Final = f"""
CREATE TABLE shared (
    data TEXT PRIMARY KEY,             -- the digest of the data whose samples share it
    content BLOB NOT NULL
);

ALTER TABLE timings ADD COLUMN peak_bytes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE blocks (
    data TEXT NOT NULL,                -- the digest of the data that they belong to
    block INTEGER NOT NULL,            -- the first sample's position, by {BLOCK}
    n INTEGER NOT NULL,
    content BLOB NOT NULL,             -- a JSON list
    PRIMARY KEY (data, block)
);
INSERT INTO blocks
    SELECT data, position / {BLOCK}, count(*), CAST('[' || group_concat(CAST(content AS TEXT), ',') || ']' AS BLOB)
    FROM (SELECT * FROM samples ORDER BY data, position) GROUP BY data, position / {BLOCK};
DROP TABLE samples;
ALTER TABLE blocks RENAME TO samples;

CREATE TABLE verdicts (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL,                  -- the hash of its content
    policy TEXT NOT NULL,
    policy_digest TEXT NOT NULL,
    model TEXT,                        -- the digest of the checkpoint that was judged
    verdict TEXT NOT NULL,
    document TEXT NOT NULL,            -- JSON
    created TEXT NOT NULL
);
CREATE INDEX verdicts_by_model ON verdicts (model, policy);
"""

_VERSION_3: Final = """
CREATE TABLE trainings (
    key INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,           -- the hash of its settings, what it starts from and its data
    name TEXT NOT NULL,                -- the checkpoint that it makes
    stage TEXT NOT NULL,
    facts TEXT NOT NULL,               -- JSON
    status TEXT NOT NULL,
    steps INTEGER NOT NULL,            -- that it is to make
    version TEXT,                      -- what it published in the end
    created TEXT NOT NULL,
    finished TEXT
);

CREATE TABLE curves (
    training INTEGER NOT NULL REFERENCES trainings (key) ON DELETE CASCADE,
    name TEXT NOT NULL,
    step INTEGER NOT NULL,
    value REAL,                        -- NULL where it was no finite number
    PRIMARY KEY (training, name, step)
) WITHOUT ROWID;
"""

_VERSION_4: Final = """
ALTER TABLE trainings ADD COLUMN step INTEGER NOT NULL DEFAULT 0;  -- the newest that was logged
ALTER TABLE trainings ADD COLUMN heard TEXT;                       -- when that was
ALTER TABLE trainings ADD COLUMN process TEXT;                     -- who carries it out, or did last
ALTER TABLE trainings ADD COLUMN reason TEXT;                      -- why it stopped

CREATE TABLE training_versions (
    digest TEXT NOT NULL,
    training INTEGER NOT NULL REFERENCES trainings (key) ON DELETE CASCADE,
    version TEXT NOT NULL,
    step INTEGER,                      -- NULL where it is what the training made in the end
    PRIMARY KEY (digest, training)
) WITHOUT ROWID;
"""

_VERSION_5: Final = """
CREATE TABLE work (
    key INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    document TEXT NOT NULL,            -- JSON
    created TEXT NOT NULL,
    UNIQUE (kind, name)
);

CREATE TABLE work_items (
    key INTEGER PRIMARY KEY,
    work INTEGER NOT NULL REFERENCES work (key) ON DELETE CASCADE,
    name TEXT NOT NULL,
    document TEXT NOT NULL,            -- JSON, as result and note
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,  -- how often it was claimed; a claim is known by it
    process TEXT,                      -- who carries it out, or did last
    heard REAL,                        -- seconds since 1970: when that process last said so
    result TEXT,
    note TEXT NOT NULL DEFAULT '{}',
    reason TEXT,
    created TEXT NOT NULL,
    began TEXT,
    ended TEXT,
    UNIQUE (work, name)
);
CREATE INDEX work_items_by_status ON work_items (work, status, key);
"""

MIGRATIONS: Final[tuple[str, ...]] = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5)
