-- Change some fields: all that is asked, or nothing.
-- ARGV[1] most bytes of a session; ARGV[2] the grace in microseconds; then four lists, each as its number of texts
-- and the texts: name, text … to set; name … to remove; name, whole number … to add; name, text … that must stand
-- there as read before ("" for absent).
-- Returns "done"; nil when the session is absent; {"slow", name, old text or false} when an addition is not one of
-- small whole numbers; "changed" when what must stand there does not; {"size", bytes} when it would be too large.
if not lives() then return nil end

local fields, at = read_fields(), 3
local user = fields['user_id']

local function list()
  local texts, last = {}, at + tonumber(ARGV[at])
  for i = at + 1, last do texts[#texts + 1] = ARGV[i] end
  at = last + 1
  return texts
end
local texts, removed, added, expected = list(), list(), list(), list()

for i = 1, #expected, 2 do
  if (fields[expected[i]] or '') ~= expected[i + 1] then return 'changed' end
end
for i = 1, #texts, 2 do fields[texts[i]] = texts[i + 1] end
for _, name in ipairs(removed) do fields[name] = nil end
for i = 1, #added, 2 do
  local old, delta = fields[added[i]], added[i + 1]
  -- Fifteen digits and their sum are exact in a double.
  if old and not string.find(old, '^-?%d+$') or #(old or '') > 15 or #delta > 15 then
    return {'slow', added[i], old or false}
  end
  local sum = whole(tonumber(old or 0) + tonumber(delta))
  fields[added[i]] = sum
  texts[#texts + 1] = added[i]
  texts[#texts + 1] = sum
end

local size = size_of(fields)
if size > tonumber(ARGV[1]) then return {'size', size} end

for _, name in ipairs(removed) do redis.call('HDEL', key, name) end
texts[#texts + 1] = 'updated_at'
texts[#texts + 1] = stamp
texts[#texts + 1] = 'last_activity'
texts[#texts + 1] = stamp
write(texts, 1)
unplace(id, user)
place(id, fields['user_id'], fields['escalated'], stamp, milliseconds(fields['expires'] + tonumber(ARGV[2])), false)
return 'done'
