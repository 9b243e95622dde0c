"""Hardware in the loop: one suite for virtual boards and real ones."""
