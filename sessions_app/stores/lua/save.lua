-- Write a session whole.
-- ARGV[1] "set", or "create" to leave a living one alone; ARGV[2] its TTL, ARGV[3] the grace for which the hash
-- outlives it, both in microseconds; ARGV[4…] name, text, name, text.
-- Returns 1 for "set", and for "create" the session that lives now, as name, text, name, text …
local OWN = {user_id = true, thread_id = true, request_id = true, message_count = true, escalated = true,
             created_at = true}
local living = lives()
if living and ARGV[1] == 'create' then return redis.call('HGETALL', key) end

if living then
  unplace(id, redis.call('HGET', key, 'user_id'))
  for _, name in ipairs(redis.call('HKEYS', key)) do
    -- What a newer version added stays.
    if OWN[name] or string.sub(name, 1, 2) == 'm:' then redis.call('HDEL', key, name) end
  end
else
  -- First what a server without memory refuses: once a script has written, it is let through.
  count_minute('c')
  redis.call('DEL', key)
end

local expires = now + tonumber(ARGV[2])
local until_ms = milliseconds(expires + tonumber(ARGV[3]))
redis.call('HSETNX', key, 'version', '1')
redis.call('HSET', key, 'updated_at', stamp, 'last_activity', stamp, 'expires', whole(expires), 'ttl', ARGV[2])
write(ARGV, 4)
redis.call('HSETNX', key, 'created_at', stamp)
redis.call('PEXPIREAT', key, until_ms)
redis.call('ZADD', root .. 'x', whole(expires), id)
local own = redis.call('HMGET', key, 'user_id', 'escalated')
place(id, own[1], own[2], stamp, until_ms, true)
if ARGV[1] == 'create' then return redis.call('HGETALL', key) end
return 1
