
-- Makes the log where it is not there yet.
BEGIN
  INSERT INTO pregon.log (name) VALUES (log_name) ON CONFLICT DO NOTHING;
END
