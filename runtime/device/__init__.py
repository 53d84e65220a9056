"""The device's side: the client, its session, and what it keeps."""
