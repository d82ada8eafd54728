"""Build what a rebuild writes and boots: the operating system's image, the rescue system, and its stick."""
