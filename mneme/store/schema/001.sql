-- Times are milliseconds since 1970 UTC; files are numbered in the order in which they are listed, from 0.

CREATE TABLE server (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot TEXT NOT NULL DEFAULT '',          -- the boot of the machine in which the last server ran; '' once it ended well
    epoch INTEGER NOT NULL DEFAULT 1,       -- a stretch of some minutes of exports; it only grows
    working_copy TEXT NOT NULL DEFAULT ''   -- the mark of the directory that holds the working copy
);
INSERT INTO server (only) VALUES (1);

CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    directory TEXT NOT NULL UNIQUE,
    is_removed INTEGER NOT NULL DEFAULT 0,  -- its directory was removed by hand; its history is still here
    last_number INTEGER NOT NULL DEFAULT 0, -- of its versions: a number never comes again
    last_token INTEGER NOT NULL DEFAULT 0,
    lock_client TEXT,                       -- NULL: no lock
    lock_acquired_at INTEGER,
    lock_expires_at INTEGER,
    lock_token INTEGER,
    lock_last_acquired_at INTEGER,
    lock_extended_at INTEGER,
    granted_client TEXT,                    -- who was last given a new lock
    granted_at INTEGER,
    listed_token INTEGER,                   -- the acquire for whose pull the files were listed
    listed_at INTEGER,
    created_at INTEGER NOT NULL,
    is_changed INTEGER NOT NULL DEFAULT 0,  -- something is yet to be exported
    is_exported INTEGER NOT NULL DEFAULT 0, -- the directory was made
    lock_mark TEXT,                         -- of the .lock.json that was exported, or taken in
    lock_exported TEXT,                     -- and what it holds
    epoch INTEGER NOT NULL DEFAULT 0        -- that of the last export
);
CREATE INDEX locked_projects ON projects (id) WHERE lock_client IS NOT NULL;
CREATE INDEX changed_projects ON projects (id) WHERE is_changed;
CREATE INDEX projects_by_epoch ON projects (epoch);

CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    zstd BLOB NOT NULL
);

CREATE TABLE versions (
    id INTEGER PRIMARY KEY,                 -- in the order in which all versions of all projects came
    project INTEGER NOT NULL REFERENCES projects (id),
    number INTEGER NOT NULL,
    file INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES contents (id),
    time INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    client TEXT,
    kind TEXT NOT NULL,
    place TEXT NOT NULL,
    base INTEGER,
    parents TEXT NOT NULL DEFAULT '',       -- numbers, with a space between two
    append_key TEXT,
    append_lines TEXT,                      -- the digest of the lines that were appended
    names_base INTEGER NOT NULL DEFAULT 0,
    is_unrelated INTEGER NOT NULL DEFAULT 0,
    is_waiting INTEGER NOT NULL DEFAULT 0,
    is_overtaken INTEGER NOT NULL DEFAULT 0,
    is_unmerged INTEGER NOT NULL DEFAULT 0, -- its content was never part of a head
    UNIQUE (project, number)
);
CREATE INDEX versions_by_file ON versions (project, file, number);
CREATE INDEX versions_by_content ON versions (content);
CREATE INDEX waiting_versions ON versions (project, number) WHERE is_waiting;
CREATE INDEX versions_by_key ON versions (project, client, append_key) WHERE append_key IS NOT NULL;

CREATE TABLE heads (
    project INTEGER NOT NULL REFERENCES projects (id),
    file INTEGER NOT NULL,
    version INTEGER NOT NULL,               -- the number of the newest version that became the head
    is_there INTEGER NOT NULL,              -- 0: the file was removed by hand
    mtime INTEGER NOT NULL,                 -- as clients are told
    latest_mtime INTEGER NOT NULL,          -- of any head that the file has had
    exported INTEGER,                       -- the number of the version in the working copy
    mark TEXT,                              -- of the file in the working copy
    PRIMARY KEY (project, file)
) WITHOUT ROWID;

CREATE TABLE clients (
    project INTEGER NOT NULL REFERENCES projects (id),
    client TEXT NOT NULL,
    last_seen INTEGER NOT NULL,
    familiar_at INTEGER,                    -- the last upload that shared something with what the client had
    stranger_at INTEGER,                    -- the last upload that shared nothing
    stranger_file INTEGER,
    PRIMARY KEY (project, client)
) WITHOUT ROWID;
CREATE INDEX strangers ON clients (stranger_at) WHERE stranger_at IS NOT NULL;

CREATE TABLE bases (
    project INTEGER NOT NULL REFERENCES projects (id),
    client TEXT NOT NULL,
    file INTEGER NOT NULL,
    known TEXT NOT NULL,                    -- numbers of versions, in the order in which the client got them
    received TEXT NOT NULL,                 -- those that the client surely got
    lacking INTEGER,
    PRIMARY KEY (project, client, file)
) WITHOUT ROWID;

CREATE TABLE days (
    day INTEGER PRIMARY KEY                 -- since 1970, on which a version was kept
);
