"""Parts of the modules of the role pihole; its program has some of them, too."""
