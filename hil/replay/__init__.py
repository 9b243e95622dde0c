"""The writes of a board's disk, recorded by QEMU: the disk as a power cut at any of them could have left it."""
