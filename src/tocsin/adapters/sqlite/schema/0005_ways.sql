-- `way`: what a parked job waits for, so that it is made ready as soon as that way to its vendor has
-- proved itself. `ends_at`: when its task's life ends; a recall ends it. What has ended is settled
-- even while nothing may be sent.

ALTER TABLE job ADD COLUMN way TEXT;
ALTER TABLE job ADD COLUMN ends_at REAL;
CREATE INDEX job_way ON job (app, queue, way, not_before) WHERE way IS NOT NULL AND holder IS NULL;
CREATE INDEX job_ends ON job (app, queue, lane, ends_at) WHERE ends_at IS NOT NULL AND holder IS NULL;
