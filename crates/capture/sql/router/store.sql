
-- One item, by its kind.
BEGIN
  CASE item ->> 'kind'
    WHEN 'message' THEN
      RETURN pregon_router.store_message(item);
    WHEN 'status' THEN
      RETURN pregon_router.store_status(item);
    WHEN 'alias' THEN
      PERFORM pregon_router.rename(item ->> 'old', item ->> 'new');
    WHEN 'unreadable' THEN
      RAISE EXCEPTION 'the delivery cannot be read: %', item ->> 'why' USING ERRCODE = 'invalid_text_representation';
    ELSE
      NULL;
  END CASE;
  INSERT INTO pregon_router.event (delivery, numero, field, raw)
  VALUES (delivery, item ->> 'numero', item ->> 'field', coalesce(item -> 'raw', 'null'));
  RETURN jsonb_build_object('outcome', 'event');
END
