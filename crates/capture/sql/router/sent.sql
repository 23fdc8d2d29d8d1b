
#variable_conflict use_column
-- Something was sent: it goes, and a reply becomes a message of the conversation. The next to the same person waits.
DECLARE
  gone pregon_router.outgoing;
BEGIN
  DELETE FROM pregon_router.outgoing AS o WHERE o.id = sent.id RETURNING o.* INTO gone;
  IF gone.kind = 'reply' THEN
    INSERT INTO pregon_router.pace AS p (pair, next) VALUES (gone.pair, clock_timestamp() + interval '6 seconds')
    ON CONFLICT (pair) DO UPDATE SET next = EXCLUDED.next;
    IF wamid IS NOT NULL THEN
      PERFORM pregon_router.store_message(gone.item || jsonb_build_object(
        'kind', 'message', 'wamid', wamid, 'remitente_tipo', 'bot', 'tipo', gone.body ->> 'type',
        'at', extract(epoch FROM clock_timestamp()), 'raw', gone.body));
    END IF;
  END IF;
END
