-- `checked_route` is `route` as it was last written by a release that gives tokens their one
-- spelling. Where the two differ, an earlier release wrote the row: its tokens are to be looked at.
-- Such a release leaves this column alone, so that also its work of a later day is found again.

ALTER TABLE device ADD COLUMN checked_route BLOB DEFAULT x'';
CREATE INDEX device_unchecked ON device (app, number) WHERE route IS NOT checked_route;

-- The marks of an app's snapshots, written here before the files are: a snapshot whose mark is not
-- here is of another database, or of a history that this one has not had.
CREATE TABLE snapshot (
    app INTEGER NOT NULL,
    mark BLOB NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (app, mark)
) WITHOUT ROWID;
