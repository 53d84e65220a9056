"""The cloud's side: the server, its queue and its counters."""
