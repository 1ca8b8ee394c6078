"""slurm.conf and gres.conf of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SLURM_CONF = """\
ClusterName=dev
SlurmctldHost={network.controller}
SlurmctldPort={network.controller_port}
SlurmUser={user}
SlurmdUser={user}
FirstJobId={network.first_job_id}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={sockets}/munge/sock
StateSaveLocation={home}/state
SlurmdSpoolDir={sockets}/spool/%n
SlurmctldPidFile={home}/pid/slurmctld.pid
SlurmdPidFile={home}/pid/slurmd-%n.pid
SlurmctldLogFile={home}/log/slurmctld.log
SlurmdLogFile={home}/log/slurmd-%n.log
JobCompType=jobcomp/filetxt
JobCompLoc={home}/log/jobcomp.txt
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
# Believe the CPUs and the memory declared below, whatever the machine has.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
# Answer at once: the defaults wait seconds, to save work on thousands of nodes.
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1,bf_resolution=1
CompleteWait=0
KillWait=3
InactiveLimit=0
MinJobAge=300
ReturnToService=2
SlurmdTimeout={network.node_timeout_s}
SlurmctldTimeout=10
MessageTimeout=5
TCPTimeout=2
UnkillableStepTimeout=30
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{extra}
NodeName=DEFAULT CPUs=8 RealMemory=64000 State=UNKNOWN{gres}
{network.nodes}
PartitionName=DEFAULT Nodes=ALL DefaultTime=60 MaxTime=1440 PreemptMode=OFF
PartitionName=main Default=YES PriorityTier=10
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high PriorityTier=100
"""


@dataclass(frozen=True)
class Network:
    """Where the daemons of a cluster find each other."""

    controller: str
    """Host name of the controller with its address, as `SlurmctldHost` takes it."""
    controller_port: int
    nodes: str
    """The `NodeName` line."""
    first_job_id: int
    node_timeout_s: int
    """How long a node may be silent before its jobs are given up."""


def write_configuration(
    home: Path, *, sockets: Path, user: str, network: Network, gpus: Sequence[Path], extra: str
) -> None:
    """Write both files to `home`; each node has the devices `gpus`, and `extra` is more lines for slurm.conf."""
    gres = f" Gres=gpu:{len(gpus)}" if gpus else ""
    text = SLURM_CONF.format(home=home, sockets=sockets, user=user, network=network, gres=gres, extra=extra)
    (home / "slurm.conf").write_text(text)
    lines = ["AutoDetect=off", *(f"Name=gpu File={device}" for device in gpus)]
    (home / "gres.conf").write_text("\n".join(lines) + "\n")
