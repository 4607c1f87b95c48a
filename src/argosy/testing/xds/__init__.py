"""xDS for tests: a source in memory, clients of both protocols, and two ways to connect them."""
