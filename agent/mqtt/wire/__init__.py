"""MQTT 5 as a subscriber in bulk needs it: packets, the connection, what comes over it."""
