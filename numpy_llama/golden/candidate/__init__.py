"""What another program left: read, named, normalised. After this room it looks like ours."""
