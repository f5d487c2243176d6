-- Take some of a bucket's ends to tell: sessions that have expired, and ends that somebody claimed and never confirmed.
-- ARGV[1] at most how many of each; ARGV[2] for how many microseconds they are claimed.
-- Returns {how many sessions had expired, index entries mended, claim, claim …}.
local session_prefix = string.sub(root, 1, -2) .. ':'
local newly, mended = 0, 0

-- What follows makes nothing larger. A server without memory lets it through once the script has removed something,
-- and must: else one end to tell keeps the sweeper from all that has expired.
local function go_on()
  redis.call('ZREM', root .. 'c', '')
end

for _, session in ipairs(redis.call('ZRANGEBYSCORE', root .. 'x', '-inf', stamp, 'LIMIT', 0, ARGV[1])) do
  local hash = session_prefix .. session
  local expires = redis.call('HGET', hash, 'expires')
  if expires and tonumber(expires) > now then
    go_on()
    redis.call('ZADD', root .. 'x', expires, session)
    mended = mended + 1
  else
    finish(session, hash, EXPIRED, 0)
  end
end

local claims = redis.call('ZRANGEBYSCORE', root .. 'c', '-inf', stamp, 'WITHSCORES', 'LIMIT', 0, ARGV[1])
local claimed_until = whole(now + tonumber(ARGV[2]))
local result = {}
if #claims > 0 then go_on() end
for i = 1, #claims, 2 do
  -- Up to its id a claim has no other line breaks than these; an id may have any text.
  if claims[i + 1] == '0' and string.match(claims[i], '^%d+\n([^\n]*)\n') == EXPIRED then newly = newly + 1 end
  redis.call('ZADD', root .. 'c', claimed_until, claims[i])
  result[#result + 1] = claims[i]
end
return {newly, mended, unpack(result)}
