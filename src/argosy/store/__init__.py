"""What the user told the mesh: typed tables, transactions, revisions, watches, a journal on disk."""
