"""The files that Slurm reads and starts in a cluster's directory: slurm.conf, gres.conf, two scripts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev_cluster.machine import daemon_path

ADOPT_ORPHANS = Path(__file__).with_name("adopt_orphans.py")
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
HealthCheckProgram={home}/health-check
HealthCheckInterval=10
HealthCheckNodeState=ANY
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

STEP_DAEMON = "slurmstepd"
"""The script in a cluster's directory that slurmd starts for every step."""
STEP_DAEMON_SCRIPT = """\
#!/bin/sh
exec {python} -IS {adopt} slurmstepd "$@"
"""
HEALTH_CHECK_SCRIPT = """\
#!/bin/sh
# Where a job did not end in time, Slurm gives the node up, until somebody has had a look. Here it is used again.
export PATH={path} SLURM_CONF={conf}
if scontrol show node "$SLURMD_NODENAME" | grep -q 'Reason=Kill task failed'; then
    exec scontrol update nodename="$SLURMD_NODENAME" state=resume
fi
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
    """Write all to `home`; each node has the devices `gpus`, and `extra` is more lines for slurm.conf."""
    gres = f" Gres=gpu:{len(gpus)}" if gpus else ""
    text = SLURM_CONF.format(home=home, sockets=sockets, user=user, network=network, gres=gres, extra=extra)
    (home / "slurm.conf").write_text(text)
    lines = ["AutoDetect=off", *(f"Name=gpu File={device}" for device in gpus)]
    (home / "gres.conf").write_text("\n".join(lines) + "\n")
    _write_script(home / STEP_DAEMON, STEP_DAEMON_SCRIPT, python=sys.executable, adopt=ADOPT_ORPHANS)
    _write_script(home / "health-check", HEALTH_CHECK_SCRIPT, path=daemon_path(), conf=home / "slurm.conf")


def _write_script(script: Path, template: str, **words: object) -> None:
    script.write_text(template.format(**{name: shlex.quote(str(word)) for name, word in words.items()}))
    script.chmod(0o700)
