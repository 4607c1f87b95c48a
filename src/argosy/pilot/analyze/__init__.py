"""What is wrong, or hardly as meant, in the configuration of a mesh.

The analyzers are formulas over the objects and over what Pilot makes of them, so a finding is never
a second opinion. ``findings`` puts them together for one object, ``trial`` makes a mesh in memory to
ask, and ``codes`` says what each finding is called, in Istio's words where Istio has some.
"""
