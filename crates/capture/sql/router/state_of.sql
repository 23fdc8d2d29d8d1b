
-- The word for a rank. A failure counts until somebody has got the message after all, on another device perhaps.
BEGIN
  RETURN CASE WHEN rank >= 2 THEN (ARRAY['sent', 'delivered', 'read', 'played'])[rank] WHEN error IS NOT NULL THEN 'failed'
              WHEN rank = 1 THEN 'sent' END;
END
