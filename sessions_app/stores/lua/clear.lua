-- Forget the bucket's sessions. A loss, not an end: nobody is told.
-- ARGV[1] at most how many. Returns how many there were; with 0 the bucket's indexes are gone, too.
local session_prefix = string.sub(root, 1, -2) .. ':'
local sessions = redis.call('ZRANGE', root .. 'x', 0, ARGV[1] - 1)
for _, session in ipairs(sessions) do
  unplace(session, redis.call('HGET', session_prefix .. session, 'user_id'))
  redis.call('ZREM', root .. 'x', session)
  redis.call('DEL', session_prefix .. session)
end
if #sessions == 0 then
  redis.call('DEL', root .. 'a', root .. 'e', root .. 'c')
  local hour = math.floor(now / 3600000000)
  for back = 0, 4 do redis.call('DEL', root .. 'm:' .. (hour - back)) end
end
return #sessions
