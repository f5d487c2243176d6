-- Count a customer's message, renew the TTL, give the session.
-- ARGV[1] the total to raise the count to, or "" to count one more; ARGV[2] the grace in microseconds.
-- Returns name, text, name, text …, or nil when the session is absent.
local own = redis.call('HMGET', key, 'expires', 'ttl', 'user_id', 'escalated', 'message_count')
if not own[1] or tonumber(own[1]) <= now then return nil end

local expires = whole(now + tonumber(own[2]))
-- As texts: past 2^53 a double is not exact.
local count = own[5] or '0'
if ARGV[1] == '' then
  count = whole(tonumber(count) + 1)
elseif tonumber(ARGV[1]) > tonumber(count) then
  count = ARGV[1]
end
local until_ms = milliseconds(expires + tonumber(ARGV[2]))
redis.call('HSET', key, 'message_count', count, 'updated_at', stamp, 'last_activity', stamp, 'expires', expires)
redis.call('PEXPIREAT', key, until_ms)
redis.call('ZADD', root .. 'x', expires, id)
place(id, own[3], own[4], stamp, until_ms, true)
return redis.call('HGETALL', key)
