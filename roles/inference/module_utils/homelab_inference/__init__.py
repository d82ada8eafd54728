"""Parts of the modules of the role inference; its program has them, too."""
