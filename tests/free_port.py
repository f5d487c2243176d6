"""Prints a port for the scripts beside it: none of those that the system gives to others until it is bound."""

import random
import socket

while True:
    port = random.randrange(20_000, 32_768)
    try:
        socket.socket().bind(("127.0.0.1", port))
    except OSError:
        continue
    print(port)  # noqa: T201 - the scripts read it
    break
