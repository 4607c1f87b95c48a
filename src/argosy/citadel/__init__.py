"""Identity: the certificate authority, workload tokens, and who may ask for which certificate."""
