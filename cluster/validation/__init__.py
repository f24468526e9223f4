"""Checks of cluster files, without a cloud or a cluster: what Ray, Kubernetes and SLURM would refuse or misread."""
