"""Numbers as protobuf writes them (https://protobuf.dev/programming-guides/encoding/#varints). Pure."""


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


_SMALL = [_varint(number) for number in range(2048)]  # lengths of nearly all records: 100 KB would be 16384 of them


def varint(number: int) -> bytes:
    """`number` 0 or more."""
    if number < 2048:
        return _SMALL[number]
    if 16384 <= number < 65536:  # three of four packet ids
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    return _varint(number)
