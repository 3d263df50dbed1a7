-- Times are milliseconds since 1970 UTC. Files are numbered from 0, in the order of their lists.

CREATE TABLE server (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot TEXT NOT NULL DEFAULT '',          -- the boot of the machine during which the last server ran; '' after a clean end
    epoch INTEGER NOT NULL DEFAULT 1,       -- number of the current period of exports, some minutes long; only grows
    working_copy TEXT NOT NULL DEFAULT '',  -- the mark in the directory of the working copy
    line TEXT NOT NULL                      -- random; a restored database begins a new line of events
);
INSERT INTO server (only, line) VALUES (1, lower(hex(randomblob(4))));

CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    directory TEXT NOT NULL UNIQUE,
    is_removed INTEGER NOT NULL DEFAULT 0,  -- the directory was removed by hand; the history is kept
    last_number INTEGER NOT NULL DEFAULT 0, -- number of the newest version; numbers are never used again
    last_token INTEGER NOT NULL DEFAULT 0,  -- token of the newest lock
    lock_client TEXT,                       -- NULL without a lock
    lock_acquired_at INTEGER,
    lock_expires_at INTEGER,
    lock_token INTEGER,
    lock_last_acquired_at INTEGER,
    lock_extended_at INTEGER,
    granted_client TEXT,                    -- the client that last got a new lock
    granted_at INTEGER,
    listed_token INTEGER,                   -- token of the lock whose holder got the list for its pull
    listed_at INTEGER,                      -- time of the acquire for that pull
    created_at INTEGER NOT NULL,
    is_changed INTEGER NOT NULL DEFAULT 0,  -- there is something to export
    is_exported INTEGER NOT NULL DEFAULT 0, -- the directory was made
    lock_mark TEXT,                         -- mark of the .lock.json that was last exported or read
    lock_exported TEXT,                     -- content of that file
    epoch INTEGER NOT NULL DEFAULT 0        -- epoch of the last export
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
    id INTEGER PRIMARY KEY,                 -- in the order of all versions of all projects
    project INTEGER NOT NULL REFERENCES projects (id),
    number INTEGER NOT NULL,
    file INTEGER NOT NULL,
    content INTEGER NOT NULL REFERENCES contents (id),
    time INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    client TEXT,
    kind TEXT NOT NULL,
    role TEXT NOT NULL,
    base INTEGER,
    parents TEXT NOT NULL DEFAULT '',       -- numbers of versions, separated by spaces
    append_key TEXT,
    append_lines TEXT,                      -- digest of the appended lines
    names_base INTEGER NOT NULL DEFAULT 0,  -- the client itself named the base
    is_unrelated INTEGER NOT NULL DEFAULT 0, -- shares nothing with the versions that the client had
    is_waiting INTEGER NOT NULL DEFAULT 0,  -- to be merged with the head
    is_overtaken INTEGER NOT NULL DEFAULT 0, -- the client was sent a version after this upload
    is_unmerged INTEGER NOT NULL DEFAULT 0, -- the content was never part of a head
    UNIQUE (project, number)
);
CREATE INDEX versions_by_file ON versions (project, file, number);
CREATE INDEX versions_by_content ON versions (content);
CREATE INDEX waiting_versions ON versions (project, number) WHERE is_waiting;
CREATE INDEX versions_by_key ON versions (project, client, append_key) WHERE append_key IS NOT NULL;

CREATE TABLE heads (
    project INTEGER NOT NULL REFERENCES projects (id),
    file INTEGER NOT NULL,
    version INTEGER NOT NULL,               -- number of the newest version that became the head
    is_there INTEGER NOT NULL,              -- 0 if the file was removed by hand
    mtime INTEGER NOT NULL,                 -- the mtime that clients see
    latest_mtime INTEGER NOT NULL,          -- the latest mtime of all heads that the file has had
    exported INTEGER,                       -- number of the version in the working copy
    mark TEXT,                              -- mark of the file in the working copy
    PRIMARY KEY (project, file)
) WITHOUT ROWID;

CREATE TABLE clients (
    project INTEGER NOT NULL REFERENCES projects (id),
    client TEXT NOT NULL,
    last_seen INTEGER NOT NULL,
    familiar_at INTEGER,                    -- time of the last upload that shared something with the client's versions
    stranger_at INTEGER,                    -- time of the last upload that shared nothing with them
    stranger_file INTEGER,                  -- file of that upload
    PRIMARY KEY (project, client)
) WITHOUT ROWID;
CREATE INDEX strangers ON clients (stranger_at) WHERE stranger_at IS NOT NULL;

CREATE TABLE bases (
    project INTEGER NOT NULL REFERENCES projects (id),
    client TEXT NOT NULL,
    file INTEGER NOT NULL,
    known TEXT NOT NULL,                    -- numbers of versions, in the order in which the client got them
    received TEXT NOT NULL,                 -- numbers of those that the client surely got
    lacking INTEGER,                        -- time at which the client last pushed its base while it lacked the head
    PRIMARY KEY (project, client, file)
) WITHOUT ROWID;

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- numbers are never used again, not even those of removed events
    project INTEGER NOT NULL REFERENCES projects (id),
    kind TEXT NOT NULL,
    file INTEGER,                           -- NULL for a lock
    version INTEGER                         -- NULL for a lock, and for a file that was removed
);

CREATE TABLE days (
    day INTEGER PRIMARY KEY                 -- days since 1970 on which a version was kept
);
