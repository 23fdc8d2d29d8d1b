  INSERT INTO pregon.outbox (op, channel, event, row) VALUES ('P', channel, event, coalesce(data::text, 'null'));
  IF (SELECT b.asleep OR b.alive < clock_timestamp() - interval '1 minute' FROM pregon.bell AS b) THEN
    PERFORM pregon.ring(1);
  END IF;
END
