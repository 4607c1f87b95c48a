"""Where workloads run: on this machine (``local``), later Kubernetes pods and virtual machines."""
