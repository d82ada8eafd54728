"""What runs in the rescue system: the standard library only, and nothing of ours beside it."""
