"""A small Linux guest: Debian's kernel and one program of ours, which drives virtio devices."""
