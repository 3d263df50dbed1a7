ALTER TABLE server ADD COLUMN id TEXT NOT NULL DEFAULT ''; -- random; tells clients that two addresses are one server
UPDATE server SET id = lower(hex(randomblob(8)));

CREATE TABLE aliases (
    name TEXT PRIMARY KEY,                  -- another id of the project; never the name of a project
    project INTEGER NOT NULL REFERENCES projects (id)
) WITHOUT ROWID;
CREATE INDEX aliases_by_project ON aliases (project);
