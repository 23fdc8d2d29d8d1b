-- It takes none: the application's write goes on, and a number that no rollback takes back says that something is missing. The rest of
-- the transaction is missing with it.
BEGIN
  pregon_flag := set_config('pregon.write', 'lost', true);
  PERFORM nextval('pregon.seq');
EXCEPTION WHEN OTHERS THEN
  NULL;
END;
