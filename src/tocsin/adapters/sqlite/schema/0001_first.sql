-- Every key and index begins with the app, so that the app (and a range of its accounts) can be a
-- distribution key. Documents stand in `doc` and `body`; whatever is asked for is a column.
-- Rows of many bytes live in rowid tables, whose inner pages hold keys only; small ones that are
-- always asked for by name are WITHOUT ROWID, which saves a second descent.

CREATE TABLE app (
    app INTEGER PRIMARY KEY,
    doc BLOB NOT NULL
);

-- The last number given of each noun, and what is counted as it changes instead of when asked.
CREATE TABLE tally (
    app INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    term INTEGER NOT NULL,
    device INTEGER NOT NULL,
    task INTEGER NOT NULL,
    job INTEGER NOT NULL,
    credential INTEGER NOT NULL,
    change INTEGER NOT NULL,
    line INTEGER NOT NULL,
    accounts INTEGER NOT NULL,
    tags_carried INTEGER NOT NULL
);

CREATE TABLE push_use (
    app INTEGER PRIMARY KEY,
    doc BLOB NOT NULL
);

CREATE TABLE credential (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (app, number)
);

-- Documents of accounts and devices are JSON text: SQLite joins a page of them into one answer.
CREATE TABLE account (
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (app, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX account_number ON account (app, number);

CREATE TABLE deleted_account (
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (app, name)
) WITHOUT ROWID;

CREATE TABLE term (
    app INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    number INTEGER NOT NULL,
    account_type INTEGER NOT NULL,
    holders INTEGER NOT NULL,
    PRIMARY KEY (app, kind, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX term_number ON term (app, number);
CREATE INDEX term_empty ON term (app, number) WHERE holders = 0;

CREATE TABLE change (
    app INTEGER NOT NULL,
    position INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (app, position)
);

-- `route` is a digest of (channel, environment, token): as unique as they are, and 16 bytes.
CREATE TABLE device (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    registration_id TEXT NOT NULL,
    account INTEGER NOT NULL,
    user INTEGER NOT NULL,
    route BLOB,
    doc TEXT NOT NULL,
    PRIMARY KEY (app, number)
);
CREATE UNIQUE INDEX device_registration ON device (app, registration_id);
CREATE UNIQUE INDEX device_route ON device (app, route) WHERE route IS NOT NULL;
CREATE INDEX device_account ON device (app, account);
CREATE INDEX device_user ON device (app, user) WHERE user <> 0;

CREATE TABLE task (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    ended_at REAL,
    recalled_at REAL,
    doc BLOB NOT NULL,
    PRIMARY KEY (app, number)
);
CREATE UNIQUE INDEX task_id ON task (app, task_id);
CREATE INDEX task_living ON task (app, number) WHERE ended_at IS NULL;
CREATE INDEX task_ended ON task (app, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX task_recalled ON task (app, recalled_at) WHERE recalled_at IS NOT NULL;

CREATE TABLE dedup (
    app INTEGER NOT NULL,
    key TEXT NOT NULL,
    at REAL NOT NULL,
    task INTEGER NOT NULL,
    PRIMARY KEY (app, key)
) WITHOUT ROWID;
CREATE INDEX dedup_at ON dedup (app, at);

CREATE TABLE audience (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    members BLOB NOT NULL,
    PRIMARY KEY (app, task)
);

-- `line` grows over blocks and reports of an app together: a reader's durable place in both.
CREATE TABLE block (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    line INTEGER NOT NULL,
    job INTEGER NOT NULL,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    channel TEXT NOT NULL,
    code TEXT NOT NULL,
    info TEXT NOT NULL,
    members BLOB NOT NULL,
    PRIMARY KEY (app, task, line)
);

CREATE TABLE report (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    line INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    channel TEXT NOT NULL,
    at INTEGER NOT NULL,
    code TEXT NOT NULL,
    members BLOB NOT NULL,
    PRIMARY KEY (app, task, line)
);

CREATE TABLE job (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    task INTEGER NOT NULL,
    queue TEXT NOT NULL,
    lane INTEGER NOT NULL,
    not_before REAL NOT NULL,
    attempt INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 0,
    begun_at REAL,
    holder TEXT,
    leased_until REAL,
    body BLOB NOT NULL,
    PRIMARY KEY (app, number)
);
-- The first free job of each queue is one descent, however many wait; so is the first to lapse.
CREATE INDEX job_free ON job (app, queue, lane, not_before, number) WHERE holder IS NULL;
CREATE INDEX job_held ON job (app, queue, lane, leased_until, holder) WHERE holder IS NOT NULL;
CREATE INDEX job_task ON job (app, task, number);
