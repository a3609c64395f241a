-- Which releases may write here. `schema` is the number of the last file that ran; `least_reader` the
-- lowest number whose release may still write. A file that only adds leaves it as it is, so that the
-- previous release runs on; one that begins with the line `-- contracts` raises it to its own number.

CREATE TABLE release (
    schema INTEGER NOT NULL,
    least_reader INTEGER NOT NULL
);
INSERT INTO release (schema, least_reader) VALUES (7, 5);

-- One row, written to find out whether a disk that was full takes something again. It is as long as
-- a page of a push, because a few bytes often find room where that does not.
CREATE TABLE write_trial (
    number INTEGER PRIMARY KEY,
    content BLOB NOT NULL
);
