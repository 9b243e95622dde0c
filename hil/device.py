"""A device on the board: publishes numbers at QoS 1 and prints each that the broker has acknowledged.

Copied there and run by the release's own Python: device.py DEVICE PASSWORD CHANNEL PER_SECOND. It goes on when the
broker comes back, and sends again what was not acknowledged, under the same idempotency key. It ends with its stdin:
ssh's client, once it is killed, leaves what it had started.
"""

import os
import sys
import threading
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_LIFE = time.time_ns()  # another process counts from 0 again: these are other messages


def keyed(number: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("idempotency-key", f"{_LIFE}-{number}")]
    return properties


def end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


def main(device: str, password: str, channel: str, per_second: float) -> None:
    numbers: dict[int, int] = {}
    early: set[int] = set()
    lock = threading.Lock()
    threading.Thread(target=end_with_stdin, daemon=True).start()

    def acknowledged(_client: Any, _userdata: Any, mid: int, *_: Any) -> None:
        with lock:
            if mid not in numbers:  # before publish() has said under which id
                early.add(mid)
                return
            number = numbers.pop(mid)
        print(number, flush=True)

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=device, protocol=paho.MQTTv5)
    client.on_publish = acknowledged
    client.username_pw_set(device, password)
    client.tls_set("/var/lib/edge-broker/ca.crt")
    client.reconnect_delay_set(1, 2)
    client.connect("localhost", 8884)
    client.loop_start()
    number = 0
    while True:
        sent = client.publish(f"devices/{device}/{channel}", str(number), qos=1, properties=keyed(number))
        with lock:  # not around publish(): paho holds a lock of its own while it calls us
            known = sent.mid in early
            early.discard(sent.mid)
            if not known:
                numbers[sent.mid] = number
        if known:
            print(number, flush=True)
        number += 1
        time.sleep(1 / per_second)


main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
