"""To come."""

TOOLS = ()
