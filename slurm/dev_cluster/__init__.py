"""A real Slurm of several nodes on one machine, for development and tests. Standard library only.

    FlatCluster     each node is a slurmd on loopback: any user
    NetnsCluster    each node has its own network, host name, processes and mounts: root; can lose power or its cable

    with FlatCluster(directory, nodes=4) as cluster:
        cluster.run(["srun", "--nodes=4", "hostname"])

The daemons are children of the process that starts them and die with it. All that they write stays in the cluster's
directory. `slurm/dev-cluster` is the command line; `docs/development-cluster.md` tells how to use it.
"""

from dev_cluster.cluster import Cluster, FlatCluster
from dev_cluster.machine import INSTALL, ClusterError, Mistake, missing_tools
from dev_cluster.netns import NetnsCluster

__all__ = ["INSTALL", "Cluster", "ClusterError", "FlatCluster", "Mistake", "NetnsCluster", "missing_tools"]
