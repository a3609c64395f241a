-- The restores that this database has gone through. The last one says whether it stands held:
-- nothing leaves before the operator has said what becomes of the pushes that were open.

CREATE TABLE restored (
    generation INTEGER PRIMARY KEY,
    doc BLOB NOT NULL
);

-- What names of erased accounts are hashed with, in a file outside of the database: so that a
-- restored backup knows whom to erase again, and the file alone names nobody.
CREATE TABLE erasure_key (
    key BLOB NOT NULL
);
INSERT INTO erasure_key (key) VALUES (randomblob(32));
