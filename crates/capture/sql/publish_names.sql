BEGIN
  IF coalesce(channel, '') = '' OR coalesce(event, '') = '' THEN
    RAISE EXCEPTION 'pregon.publish needs a channel and an event name' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  -- The gateway would have to drop such a name, where the caller learns nothing of it.
  IF octet_length(channel) > 255 OR octet_length(event) > 255 THEN
    RAISE EXCEPTION 'pregon.publish: a channel or event name has at most 255 bytes, this has %',
      greatest(octet_length(channel), octet_length(event)) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF channel COLLATE "C" ~ '[[:cntrl:]]' OR event COLLATE "C" ~ '[[:cntrl:]]' THEN
    RAISE EXCEPTION 'pregon.publish: a channel or event name has no control characters (line breaks, tabs)'
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
