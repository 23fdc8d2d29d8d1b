
-- Makes the log where it is not there yet. In another database than the one where it was made it is a copy, and nobody knows what the original
-- has got since: another epoch begins.
DECLARE
  here text := format('%s/%s', (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()), 'pregon.log_frame'::regclass::oid);
BEGIN
  INSERT INTO pregon.log (name, home) VALUES (log_name, here) ON CONFLICT DO NOTHING;
  IF EXISTS (SELECT FROM pregon.log AS l WHERE l.name = log_name AND l.home <> here) THEN
    PERFORM pregon.log_renew(log_name, (SELECT l.epoch FROM pregon.log AS l WHERE l.name = log_name AND l.home <> here), 0);
    UPDATE pregon.log AS l SET home = here WHERE l.name = log_name;
  END IF;
END
