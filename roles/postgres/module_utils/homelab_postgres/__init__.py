"""Parts of the modules of the role postgres."""
