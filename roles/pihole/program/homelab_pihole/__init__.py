"""The program of the role `pihole`: starts the container, keeps what is in it, and copies it from another."""
