-- Make the indexes of some sessions fit their hashes again: after an eviction, a lost index, a hand in the data.
-- ARGV[1] the index in which they were met; ARGV[2] the grace in microseconds; ARGV[3…] ids.
-- Returns how many did not fit. A session whose hash is gone is a loss, not an end: nobody is told.
local session_prefix = string.sub(root, 1, -2) .. ':'
local mended = 0

local function mend(session)
  local own = redis.call('HMGET', session_prefix .. session, 'expires', 'user_id', 'escalated', 'last_activity')
  local due = redis.call('ZSCORE', root .. 'x', session)
  if own[1] then
    -- An entry that a lost hash left behind: its session has another user by now, or is not escalated.
    local index = ARGV[1]
    local foreign = string.sub(index, 1, 2) == 'u:' and index ~= 'u:' .. (own[2] or '') or index == 'e' and own[3] ~= '1'
    local removed = foreign and redis.call('ZREM', root .. index, session) or 0
    local fits = due and tonumber(due) == tonumber(own[1]) and redis.call('ZSCORE', root .. 'a', session)
      and (own[3] ~= '1' or redis.call('ZSCORE', root .. 'e', session))
      and (not own[2] or redis.call('ZSCORE', root .. 'u:' .. own[2], session))
    if fits then return removed end
    redis.call('ZADD', root .. 'x', own[1], session)
    place(session, own[2], own[3], own[4], milliseconds(own[1] + tonumber(ARGV[2])), true)
    return 1
  end
  -- It expired and nobody has swept it yet: claim.lua tells it.
  if due and tonumber(due) <= now then return 0 end
  unplace(session, nil)
  redis.call('ZREM', root .. 'x', session)
  redis.call('ZREM', root .. ARGV[1], session)
  return 1
end

for i = 3, #ARGV do mended = mended + mend(ARGV[i]) end
return mended
