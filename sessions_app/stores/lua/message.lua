-- Count a customer's message, renew the TTL, give the session.
-- ARGV[1] the total to raise the count to, or "" to count one more (it stays at 2^63-1); ARGV[2] the grace in microseconds.
-- Returns name, text, name, text …, or nil when the session is absent.
local LARGEST = '9223372036854775807'
local own = redis.call('HMGET', key, 'expires', 'ttl', 'user_id', 'escalated', 'message_count')
if not own[1] or tonumber(own[1]) <= now then return nil end

-- Past 2^53 a double is not exact: the server counts, and texts of digits are compared as such.
local count, total = own[5] or '0', ARGV[1]
if total == '' then
  if count ~= LARGEST then redis.call('HINCRBY', key, 'message_count', 1) end
elseif string.sub(count, 1, 1) == '-' or #total > #count or #total == #count and total > count then
  redis.call('HSET', key, 'message_count', total)
end

local expires = whole(now + tonumber(own[2]))
local until_ms = milliseconds(expires + tonumber(ARGV[2]))
redis.call('HSET', key, 'updated_at', stamp, 'last_activity', stamp, 'expires', expires)
redis.call('PEXPIREAT', key, until_ms)
redis.call('ZADD', root .. 'x', expires, id)
place(id, own[3], own[4], stamp, until_ms, true)
return redis.call('HGETALL', key)
