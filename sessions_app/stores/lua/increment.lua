-- Add to a number.
-- ARGV[1] field, ARGV[2] whole number, ARGV[3] most bytes of a session, ARGV[4] the grace in microseconds.
-- Returns the new value as text; nil when the session is absent; {"slow", old text} when the addition is not one of
-- 64-bit whole numbers, with nothing changed; {"size", bytes} when the session would be too large.
local own = redis.call('HMGET', key, 'expires', 'user_id', 'escalated', ARGV[1])
if not own[1] or tonumber(own[1]) <= now then return nil end

local value = redis.pcall('HINCRBY', key, ARGV[1], ARGV[2])
if type(value) == 'table' then
  local of_numbers = string.find(value.err, 'not an integer', 1, true) or string.find(value.err, 'overflow', 1, true)
  if not of_numbers then return value end
  return {'slow', redis.call('HGET', key, ARGV[1])}
end

if not own[4] then -- a new field
  local size = size_of(read_fields())
  if size > tonumber(ARGV[3]) then
    redis.call('HDEL', key, ARGV[1])
    return {'size', size}
  end
end
redis.call('HSET', key, 'updated_at', stamp, 'last_activity', stamp)
place(id, own[2], own[3], stamp, milliseconds(own[1] + tonumber(ARGV[4])), false)
-- A Lua number is a double: past 2^53 only the text is exact.
if math.abs(value) < 9007199254740992 then return whole(value) end
return redis.call('HGET', key, ARGV[1])
