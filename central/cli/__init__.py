"""edgectl, the operator's command line: a verb, or a small group of them, for each file."""
