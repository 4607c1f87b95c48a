"""A tiny, honest cluster on one machine: processes in network namespaces, as root or without.

Everything of a mesh lives under one process that is pid 1 of its own pid namespace; when that
process ends, by whatever signal, the kernel removes every process, namespace, link and rule.
"""
