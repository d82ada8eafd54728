"""How a machine gets into the rescue system. One module per way; each prepares what the operator uses."""
