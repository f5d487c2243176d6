-- Returns how many sessions of the bucket live.
return redis.call('ZCOUNT', root .. 'x', '(' .. stamp, '+inf')
