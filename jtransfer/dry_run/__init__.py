"""What a run needs, told before it is paid for: memory, work and traffic of a step, by shapes alone."""

from jtransfer.dry_run.plan import PhasePlan, Plan, plan
from jtransfer.dry_run.topology import begin

__all__ = ["PhasePlan", "Plan", "begin", "plan"]
