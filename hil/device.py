"""A device on the board: publishes numbers at QoS 1 and prints each that the broker has acknowledged.

Copied there and run by the release's own Python: device.py DEVICE CHANNEL PER_SECOND.
"""

import sys
import threading
import time
from typing import Any

import paho.mqtt.client as paho


def main(device: str, channel: str, per_second: float) -> None:
    numbers: dict[int, int] = {}
    lock = threading.Lock()

    def acknowledged(_client: Any, _userdata: Any, mid: int, *_: Any) -> None:
        with lock:
            number = numbers.pop(mid)
        print(number, flush=True)

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=device, protocol=paho.MQTTv5)
    client.on_publish = acknowledged
    client.connect("127.0.0.1")
    client.loop_start()
    number = 0
    while True:
        with lock:  # the acknowledgement may come before publish() has said under which id
            numbers[client.publish(f"devices/{device}/{channel}", str(number), qos=1).mid] = number
        number += 1
        time.sleep(1 / per_second)


main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
