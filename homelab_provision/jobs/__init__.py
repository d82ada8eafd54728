"""What a command does, from a site's directory to its end."""
