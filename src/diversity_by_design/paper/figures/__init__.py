"""One module per figure of the paper; each draws tables that the analyses have made."""
