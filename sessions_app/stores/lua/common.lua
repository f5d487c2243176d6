-- Stands before every other script.
-- KEYS[1] the bucket's root, "prefix{b}!"; KEYS[2] the session's hash, "prefix{b}:id", where there is one.
-- The bucket's indexes hang on its root, in the same cluster slot:
--   x  ids by expiry     a  ids by last activity     e  ids of the escalated by last activity
--   u:<user id>  a user's ids by last activity       m:<hour>  created (c) and ended (e) per minute
--   c  ends to tell, by the time at which their claim runs out (0: nobody has claimed it yet)
-- Times are microseconds of the server's clock: exact in Lua's doubles until the year 2255.
local root, key = KEYS[1], KEYS[2]
local id = key and string.sub(key, #root + 1)
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stamp = string.format('%.0f', now)

local EXPIRED = '["expired",null]'

local function whole(number)
  return string.format('%.0f', number)
end

local function milliseconds(moment)
  return string.format('%.0f', math.ceil(moment / 1000))
end

local function read_fields()
  local fields, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- The store's own fields do not count against a session's size.
local function size_of(fields)
  local uncounted = {version = true, expires = true, ttl = true, created_at = true, updated_at = true,
                     last_activity = true}
  local size = 0
  for name, text in pairs(fields) do
    if not uncounted[name] then size = size + #name + #text end
  end
  return size
end

-- Write name, text, name, text … from `first` on; in parts, since Lua's stack ends at 8,000.
local function write(texts, first)
  for i = first, #texts, 2000 do redis.call('HSET', key, unpack(texts, i, math.min(i + 1999, #texts))) end
end

-- Without a sweeper a user's list must not stay for ever: it goes with the last of its hashes.
local function outlive(sessions, until_ms)
  -- GT leaves a key that never expires alone.
  if redis.call('PEXPIREAT', sessions, until_ms, 'GT') == 0 and redis.call('PTTL', sessions) == -1 then
    redis.call('PEXPIREAT', sessions, until_ms)
  end
end

-- Put the session where its user, its state and its activity say. `until_ms`: when its hash goes; `moved`: whether it
-- went earlier until now.
local function place(session, user, escalated, active, until_ms, moved)
  redis.call('ZADD', root .. 'a', active, session)
  if escalated == '1' then redis.call('ZADD', root .. 'e', active, session) end
  if user then
    local sessions = root .. 'u:' .. user
    if redis.call('ZADD', sessions, active, session) == 1 or moved then outlive(sessions, until_ms) end
  end
end

local function unplace(session, user)
  redis.call('ZREM', root .. 'a', session)
  redis.call('ZREM', root .. 'e', session)
  if user then redis.call('ZREM', root .. 'u:' .. user, session) end
end

local function count_minute(which)
  local minutes = root .. 'm:' .. math.floor(now / 3600000000)
  if redis.call('HINCRBY', minutes, which .. math.floor(now / 60000000), 1) == 1 then
    redis.call('EXPIRE', minutes, 4 * 3600)
  end
end

-- Remove the session and note its end; gives the claim under which it is told.
local function finish(session, hash, cause, claimed_until)
  unplace(session, redis.call('HGET', hash, 'user_id'))
  redis.call('ZREM', root .. 'x', session)
  redis.call('DEL', hash)
  count_minute('e')
  local claim = stamp .. '\n' .. cause .. '\n' .. session
  redis.call('ZADD', root .. 'c', claimed_until, claim)
  return claim
end

-- Whether the session lives. One that has expired and was not swept yet is ended here, for the next sweep to tell:
-- what is written in its place would hide its end.
local function lives()
  local expires = redis.call('HGET', key, 'expires')
  if expires and tonumber(expires) > now then return true end
  local due = redis.call('ZSCORE', root .. 'x', id)
  if due and tonumber(due) <= now then finish(id, key, EXPIRED, 0) end
  return false
end

