IF pregon_looks IS NULL AND pregon_sound IS NOT TRUE THEN
  -- The row could not be rendered.
  BEGIN
    {{look}}
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
END IF;
IF pregon_sound THEN
  -- Outside of a guarded block, so that a bulk write takes no transaction number per row.
  INSERT INTO pregon.outbox (watch, op, row, old) VALUES ({{watch}}, pregon_op, pregon_row, pregon_before)
    ON CONFLICT (id) DO NOTHING;
  pregon_sound := FOUND;
END IF;
IF pregon_sound IS NOT TRUE THEN
  {{doubt}}
  BEGIN
    INSERT INTO pregon.outbox (watch, op, row, old) VALUES ({{watch}}, pregon_op, pregon_row, pregon_before);
  EXCEPTION WHEN OTHERS THEN
    {{lost}}
  END;
END IF;
