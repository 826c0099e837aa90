"""llama-np chat: the command, its session, and the messages that are typed or piped into it."""
