-- Ended tasks whose blocks have not been merged yet. The trigger writes it for the previous release
-- too. What had ended before this file ran is looked at once more: merging twice changes nothing.
CREATE TABLE unmerged (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (app, task)
) WITHOUT ROWID;
INSERT INTO unmerged (app, task) SELECT app, number FROM task WHERE ended_at IS NOT NULL;
CREATE TRIGGER task_unmerged AFTER UPDATE OF ended_at ON task
WHEN new.ended_at IS NOT NULL AND old.ended_at IS NULL
BEGIN
    INSERT OR IGNORE INTO unmerged (app, task) VALUES (new.app, new.number);
END;

-- The living tasks of an account, so that a device which connects finds its own without a look at
-- everybody else's. Tasks of many accounts have one row in `broad` instead. Whatever an earlier
-- release has frozen is added when the store is opened.
CREATE TABLE inbox (
    app INTEGER NOT NULL,
    account INTEGER NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (app, account, task)
) WITHOUT ROWID;
CREATE TABLE broad (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (app, task)
) WITHOUT ROWID;
