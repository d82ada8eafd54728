"""The program that runs when a host shuts down: it lets go of the shares whose NAS does not answer.

Standard library only: it lies on the host as it is.
"""
