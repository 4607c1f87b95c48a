"""Who calls whom, how often, how fast and how well: by edge and minute."""
