"""What is done: QEMU builds, command lines, guests, transfers and host facts."""
