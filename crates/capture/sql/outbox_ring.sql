IF pregon_asleep OR pregon_away THEN
  BEGIN
    PERFORM pregon.ring(pregon_count);
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
END IF;
