"""A network of its own for a run, with nothing in it but loopback and Linux's defaults.

How a kernel was told to pace what it sends changes the rates on loopback by half, and not alike for all who are
compared: what is measured would be somebody's tuning of one machine.
"""

import ctypes
import fcntl
import socket
import struct
import sys
from pathlib import Path

# <linux/sched.h>, <linux/sockios.h>, <linux/if.h>
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1

_OWN_NAMESPACE = Path("/proc/thread-self/ns/net")

_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")

# What Linux has unless it is told otherwise.
_LINUX_DEFAULT = "cubic"
_ALLOW = f"root may allow it: sysctl -w net.ipv4.tcp_allowed_congestion_control='reno {_LINUX_DEFAULT}'"


def isolate() -> None:
    """Put this thread, and all that it starts, into a network namespace of its own: network_namespaces(7).

    Only root may have one; for anybody else, and for a root with less than all rights, everything stays as it is.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    with _OWN_NAMESPACE.open("rb") as machines:
        if library.unshare(_CLONE_NEWNET):
            return
        try:
            _raise_loopback()
        except PermissionError:
            library.setns(machines.fileno(), _CLONE_NEWNET)
            return
    try:
        _CONGESTION.write_text(_LINUX_DEFAULT)
    except OSError as error:
        # A container may show its settings only; a kernel may have been built without, or allow it to none but itself.
        print(f"TCP stays with {describe()}: {_LINUX_DEFAULT}: {error.strerror}; {_ALLOW}", file=sys.stderr)


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def describe() -> str:
    """How senders find out how fast they may send."""
    return _CONGESTION.read_text().strip() if _CONGESTION.exists() else "unknown"
