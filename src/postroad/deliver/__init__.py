"""7 Deliver: to the receivers' hosts."""

from postroad.deliver.look import PathLook, forgive, look
from postroad.deliver.machine import TABLE, Machine, Step
from postroad.deliver.pool import Deliverer, DeliveryStats

__all__ = ["TABLE", "Deliverer", "DeliveryStats", "Machine", "PathLook", "Step", "forgive", "look"]
