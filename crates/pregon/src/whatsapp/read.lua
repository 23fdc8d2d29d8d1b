-- Entries of some lanes from their beginnings, each {lane's place among the keys, id, fields}, until there are bytes enough; one in any case.
-- KEYS: era, lanes. ARGV: most of a lane, most bytes. Answers era, entries, and the places of lanes that may have more.
local most, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local found, more = {}, {}
for place = 2, #KEYS do
  local entries = room > 0 and redis.call('XRANGE', KEYS[place], '-', '+', 'COUNT', most) or {}
  if room <= 0 or #entries == most then
    more[#more + 1] = place - 2
  end
  for _, entry in ipairs(entries) do
    if room <= 0 then
      more[#more + 1] = place - 2
      break
    end
    for _, field in ipairs(entry[2]) do
      room = room - #field
    end
    found[#found + 1] = { place - 2, entry[1], entry[2] }
  end
end
return { redis.call('GET', KEYS[1]) or '', found, more }
