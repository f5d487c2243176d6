-- Returns the server's time in microseconds, as text.
return stamp
