"""What a thread that was switched out waits for, and whether another thread could have woken it.

System call numbers are those of x86-64 (arch/x86/entry/syscalls/syscall_64.tbl), ioctls those of
uapi linux/kvm.h and linux/vfio.h.
"""

from __future__ import annotations

from results.records.scheduler import SchedulerEvent

NO_CALL = -1
STOPPED = 0x0C  # TASK_STOPPED | TASK_TRACED
ENDED = 0x30  # EXIT_DEAD | EXIT_ZOMBIE
_UNINTERRUPTIBLE = 0x02

_READ, _WRITE, _IOCTL, _FUTEX = 0, 1, 16, 202
_POLLS = {7: "poll", 271: "poll", 23: "poll", 270: "poll", 232: "poll", 281: "poll"}
_SOCKETS = {42: "connect", 43: "accept", 288: "accept"} | {
    44: "send", 46: "send", 307: "send", 45: "receive", 47: "receive", 299: "receive",
}  # fmt: skip
_FILES = {
    0: "read", 1: "write", 17: "read", 18: "write", 19: "read", 20: "write", 74: "fsync",
    75: "fsync", 285: "fallocate", 26: "msync", 257: "open", 426: "io_uring", 208: "io_getevents",
}  # fmt: skip
_MEMORY = {9: "mmap", 10: "mprotect", 11: "munmap", 25: "mremap", 28: "madvise", 149: "mlock"}
_OTHERS = {
    3: "close", 35: "sleep", 230: "sleep", 56: "clone", 435: "clone", 60: "exit", 231: "exit",
    61: "wait", 128: "a signal", 130: "a signal", 234: "kill", 62: "kill", 202: "futex",
    324: "membarrier",
}  # fmt: skip
_SLEEPS = {35, 230}
_EXITS = {60, 231}
_SIGNALS = {62, 200, 234}
# Calls that can make a descriptor readable, writable or hung up: at the other end, or its close.
_FEEDS = {1, 18, 20, 296, 44, 46, 307, 42, 43, 288, 3, 48, 33, 292, _IOCTL, *_EXITS, *_SIGNALS}

_KVM_TYPE, _VFIO_TYPE = 0xAE, 0x3B
KVM_RUN = 0xAE80
_KVM = {
    0x01: "CREATE_VM", 0x03: "CHECK_EXTENSION", 0x41: "CREATE_VCPU", 0x42: "GET_DIRTY_LOG",
    0x46: "SET_USER_MEMORY_REGION", 0x49: "SET_USER_MEMORY_REGION2", 0x47: "SET_TSS_ADDR",
    0x60: "CREATE_IRQCHIP", 0x61: "IRQ_LINE", 0x62: "GET_IRQCHIP", 0x63: "SET_IRQCHIP",
    0x6a: "SET_GSI_ROUTING", 0x76: "IRQFD", 0x79: "IOEVENTFD", 0x7b: "SET_CLOCK",
    0x7c: "GET_CLOCK", 0x80: "RUN", 0x81: "GET_REGS", 0x82: "SET_REGS", 0x83: "GET_SREGS",
    0x84: "SET_SREGS", 0x88: "GET_MSRS", 0x89: "SET_MSRS", 0x8c: "GET_FPU", 0x8d: "SET_FPU",
    0x8e: "GET_LAPIC", 0x8f: "SET_LAPIC", 0x90: "SET_CPUID2", 0x98: "GET_MP_STATE",
    0x99: "SET_MP_STATE", 0x9f: "GET_VCPU_EVENTS", 0xa0: "SET_VCPU_EVENTS", 0xa3: "ENABLE_CAP",
    0xa4: "GET_XSAVE", 0xa5: "SET_XSAVE", 0xad: "KVMCLOCK_CTRL", 0xc0: "CLEAR_DIRTY_LOG",
    0xc7: "RESET_DIRTY_RINGS", 0xcc: "GET_SREGS2", 0xcd: "SET_SREGS2", 0xcf: "GET_XSAVE2",
}  # fmt: skip
_VFIO = {0x71: "MAP_DMA", 0x72: "UNMAP_DMA", 0x75: "DMA map", 0x92: "IOAS_CHANGE_PROCESS"}


def waits_for(event: SchedulerEvent) -> str:
    """What the thread that was switched out in `event` waits for."""
    call, (_, second) = event.call, event.args
    if call == NO_CALL:
        return "a page fault"  # blocked outside any system call
    if call == _IOCTL:
        return f"ioctl {_ioctl(second & 0xFFFFFFFF)}"
    if call in _POLLS:
        return "poll"
    if call in _SOCKETS:
        return f"socket {_SOCKETS[call]}"
    if call in _FILES:
        # Uninterruptible: the kernel waits for a device, not for a peer.
        return f"{'disk' if event.state & _UNINTERRUPTIBLE else 'file'} {_FILES[call]}"
    return _MEMORY.get(call) or _OTHERS.get(call) or f"system call {call}"


def _ioctl(command: int) -> str:
    kind, number = (command >> 8) & 0xFF, command & 0xFF
    if kind == _KVM_TYPE:
        return f"KVM_{_KVM[number]}" if number in _KVM else f"KVM {number:#04x}"
    if kind == _VFIO_TYPE:
        return f"VFIO {_VFIO.get(number, f'{number:#04x}')}"
    return f"{command:#x}"


def can_wake(waiter: SchedulerEvent | None, waker: SchedulerEvent) -> bool:
    """Whether the thread that was running when another was woken can have woken it itself.

    Interrupts wake threads too, in the context of whichever thread is running; a thread that is not
    in a matching system call is assumed to be such a bystander. `waiter` is how the woken thread
    was switched out, None if that was before tracing started.
    """
    if waker.kind == "fork":
        return True
    call = waker.call
    if waiter is None:
        return call in _FEEDS or call == _FUTEX
    if waiter.state & STOPPED or waiter.call in _SLEEPS:
        return call in _SIGNALS
    if waiter.call == _FUTEX:
        return call == _FUTEX or call in _EXITS or call in _SIGNALS
    if waiter.call in _POLLS or waiter.call in _SOCKETS or waiter.call in (_READ, _WRITE, 19, 20):
        return call in _FEEDS
    if waiter.call == _IOCTL:
        return call == _IOCTL or call in _MEMORY or call in _SIGNALS
    # Calls on memory maps and page faults wait for mmap_lock, which both take.
    return call in _MEMORY or call == _IOCTL
