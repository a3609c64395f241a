-- A device's report counts only for a leg that has begun. Those not settled yet stand in job rows,
-- and of a push to millions there may be many: this finds the begun ones among them.
CREATE INDEX job_begun ON job (app, task, number) WHERE begun_at IS NOT NULL;

-- Collapse ids carry a mark of this database, so that a wiped or second service does not replace
-- another's notifications. The mark stays when keys are changed. What was pushed before it existed
-- keeps the ids without it, so that a recall still finds them.
CREATE TABLE collapse_mark (
    mark BLOB NOT NULL
);
INSERT INTO collapse_mark (mark) VALUES (randomblob(16));

CREATE TABLE collapse_unmarked (
    app INTEGER PRIMARY KEY,
    last_task INTEGER NOT NULL
);
INSERT INTO collapse_unmarked (app, last_task) SELECT app, task FROM tally WHERE task > 0;
