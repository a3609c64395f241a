-- Where each device stands in the order of its app's device changes: registration, token, login,
-- language and every other fact, but not when it was seen and what its badge shows. A later change
-- takes a later position, so that the table has one row a device and is never cut. A device that is
-- gone keeps its row. Triggers write it, so that the previous release does too.
CREATE TABLE device_change (
    app INTEGER NOT NULL,
    number INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (app, number)
) WITHOUT ROWID;
CREATE UNIQUE INDEX device_change_position ON device_change (app, position);

CREATE TRIGGER device_created AFTER INSERT ON device
BEGIN
    INSERT INTO device_change (app, number, position)
    SELECT new.app, new.number, 1 + coalesce(max(position), 0) FROM device_change
    WHERE app = new.app
    ON CONFLICT (app, number) DO UPDATE SET position = excluded.position;
END;

CREATE TRIGGER device_replaced AFTER UPDATE OF doc ON device
WHEN json_remove(old.doc, '$.seen_at', '$.badge') IS NOT json_remove(new.doc, '$.seen_at', '$.badge')
BEGIN
    INSERT INTO device_change (app, number, position)
    SELECT new.app, new.number, 1 + coalesce(max(position), 0) FROM device_change
    WHERE app = new.app
    ON CONFLICT (app, number) DO UPDATE SET position = excluded.position;
END;

CREATE TRIGGER device_deleted AFTER DELETE ON device
BEGIN
    INSERT INTO device_change (app, number, position)
    SELECT old.app, old.number, 1 + coalesce(max(position), 0) FROM device_change
    WHERE app = old.app
    ON CONFLICT (app, number) DO UPDATE SET position = excluded.position;
END;
