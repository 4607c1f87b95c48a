"""The wiring: which formula reads what. The only place where compile, translate and derive meet.

Cells are the store's objects and indices (``argosy.store.cells``). ``layers`` says what each proxy
gets; ``problems`` what is wrong with each object. Formulas take the narrowest argument that
decides their value: a ``Scope`` on the way out, a ``Role`` on the way in.
"""
