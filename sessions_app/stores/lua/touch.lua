-- Renew the TTL.
-- ARGV[1] the TTL that shall be the session's own from now on, or "" for the one it has; ARGV[2] the grace; both in
-- microseconds. Returns the session as name, text, name, text …, or nil when it is absent.
local own = redis.call('HMGET', key, 'expires', 'ttl', 'user_id')
if not own[1] or tonumber(own[1]) <= now then return nil end

local ttl = ARGV[1] == '' and own[2] or ARGV[1]
local expires = whole(now + tonumber(ttl))
local until_ms = milliseconds(expires + tonumber(ARGV[2]))
redis.call('HSET', key, 'expires', expires, 'ttl', ttl)
redis.call('PEXPIREAT', key, until_ms)
redis.call('ZADD', root .. 'x', expires, id)
if own[3] then outlive(root .. 'u:' .. own[3], until_ms) end
return redis.call('HGETALL', key)
