-- Returns for how many microseconds the session will live, or nil when it is absent.
local expires = redis.call('HGET', key, 'expires')
if expires and tonumber(expires) > now then return expires - now end
return nil
