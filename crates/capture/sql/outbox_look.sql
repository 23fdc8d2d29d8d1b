IF pregon_sound IS NOT TRUE THEN
  -- Until the transaction is known to write more than a row. The lock on the outbox that this takes (of the join, which no row meets, the plan keeps
  -- nothing else) keeps the definitions as they were found, and shows the transaction to the reader: whoever looks at the bell sees that the
  -- reader is asleep, or is seen by it.
  pregon_looks := true;
  SELECT pregon.flaw(NULL) IS NULL AND coalesce(pg_sequence_last_value('pregon.outbox_id_seq'), 0) < 9000000000000000000,
         pregon_b.asleep, pregon_b.alive < clock_timestamp() - interval '1 minute',
         clock_timestamp() - transaction_timestamp() > interval '2 milliseconds'
    INTO pregon_sound, pregon_asleep, pregon_away, pregon_long
    FROM pregon.bell AS pregon_b LEFT JOIN pregon.outbox AS pregon_o ON pregon_o.id = 0;
  IF pregon_long AND pregon_sound AND NOT pregon_away THEN
    pregon_flag := set_config('pregon.write', 'fine', true);
  END IF;
END IF;
