-- It could not be sent: again later, or never.
UPDATE pregon_router.outgoing AS o
   SET error = left($2::text, 1000), dead = $3::boolean,
       due = clock_timestamp() + make_interval(secs => least(power(2, o.attempts - 1), 900) * (0.75 + random() / 2))
 WHERE o.id = $1::bigint RETURNING o.id::text
