"""What a command shares with the terminal: text in and out, errors, progress, what it cost."""
