-- What a vendor calls a message that it took for a device, where taking it back needs that name.
-- Nobody asks for one after `until`, when the vendor has dropped what it could not deliver.

CREATE TABLE handle (
    app INTEGER NOT NULL,
    task INTEGER NOT NULL,
    device INTEGER NOT NULL,
    until REAL NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (app, task, device)
) WITHOUT ROWID;
CREATE INDEX handle_until ON handle (app, until);
