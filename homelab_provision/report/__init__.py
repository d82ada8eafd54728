"""What a run was, for people: the summary of its phases, its timeline, and a page to keep."""
