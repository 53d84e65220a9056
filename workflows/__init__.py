"""What a command does, without a terminal: each workflow reports through a `Reporter` and returns records."""
