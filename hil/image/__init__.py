"""Disk, kernel and initrd of a virtual board, built from Debian packages and kept by a hash of their inputs."""
