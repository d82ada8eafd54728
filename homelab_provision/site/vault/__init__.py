"""The site's secrets."""
