"""Where the first wrong operation is, and which known mistake explains the candidate."""
