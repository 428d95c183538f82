"""The devices that a model is to fit on: cores, boards, and a user's own from a TOML file.

`load_devices()` has the built-in ones and `device(name)` one of them; docs/targets.md describes the
file. Cycles are instructions, which were counted, times a factor, which is an estimate: each
device states its error and where every number comes from.
"""

from edgernn.targets.device import Device
from edgernn.targets.devices import device, load_devices

__all__ = ["Device", "device", "load_devices"]
