-- End a session.
-- ARGV[1] the cause, JSON without a line break; ARGV[2] for how many microseconds the caller claims the telling.
-- Returns the claim, or nil when the session is absent.
if not lives() then return nil end
return finish(id, key, ARGV[1], whole(ARGV[2] == '0' and 0 or now + tonumber(ARGV[2])))
