"""Changes to bytes: whatever they are, or arrays, tensors and pickles."""

import json
import struct
from random import Random

from mutate_texts import NAMES, NUMBERS, TEXTS, in_tree


def of_bytes(data: bytes, random: Random) -> bytes:
    """Change bytes, whatever they are."""
    if not data:
        return random.randbytes(random.randrange(64))
    at, kind = random.randrange(len(data)), random.randrange(9)
    span = min(random.choice((1, 2, 4, 8, 16, 64, 512)), len(data) - at)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([random.choice((0, 1, 0x7F, 0x80, 0xFF))]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + span :]
    if kind == 3:
        return data[:at] + data[at : at + span] * random.choice((2, 3, 50)) + data[at + span :]
    if kind == 4:
        return data[:at]
    if kind == 5:
        return data[:at] + random.randbytes(span) + data[at + span :]
    if kind == 6:
        width = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        size = struct.calcsize(width)
        number = struct.pack(width, random.choice(NUMBERS) % (1 << 8 * size))
        return data[:at] + number + data[at + size :]
    if kind == 7:
        text = random.choice((*TEXTS, *NAMES)).encode("utf-8", "surrogatepass")
        return data[:at] + text + data[at + random.choice((0, len(text))) :]
    other = random.randrange(len(data))
    return data[:at] + data[other : other + span] + data[at + span :]


def of_array(data: bytes, random: Random) -> bytes:
    """Change the header of a .npy file."""
    length = struct.unpack_from("<H", data, 8)[0]
    header, body = data[10 : 10 + length].decode("latin-1"), data[10 + length :]
    kind = random.randrange(6)
    if kind == 0:
        header = header.replace("'shape': (", f"'shape': ({random.choice(NUMBERS)}, ", 1)
    elif kind == 1:
        header = header.replace(header[header.index("(") :], f"({random.choice(NUMBERS)},), }}\n")
    elif kind == 2:
        header = header.replace("<i", random.choice((">i", "|O", "<f", "<U", "<c", "|V")), 1)
    elif kind == 3:
        header = (
            f"{{'descr': {random.choice(('|O', '<i8', '<f4', '<u2', '|S0', '<U1'))!r}, 'fortran_order': False, "
            + (f"'shape': ({random.choice((len(body), len(body) // 8, 10**12))},), }}\n")
        )
    elif kind == 4:
        return data[:10] + of_bytes(data[10 : 10 + length], random) + body
    else:
        return data[: 10 + length] + of_bytes(body, random)
    text = header.encode("latin-1")
    return data[:8] + struct.pack("<H", len(text)) + text + body


def of_safetensors(data: bytes, random: Random) -> bytes:
    """Change the header: its length, a tensor's type, shape or place, or the metadata."""
    length = struct.unpack_from("<Q", data)[0]
    header, body = data[8 : 8 + length], data[8 + length :]
    kind = random.randrange(5)
    if kind == 0:
        return struct.pack("<Q", random.choice((*NUMBERS, 10**9, length + 1, length - 1)) % (1 << 64)) + data[8:]
    if kind == 1:
        return data[: 8 + length] + of_bytes(body, random)
    tree = json.loads(header)
    if kind == 2:
        names = sorted(set(tree) - {"__metadata__"})
        tree[random.choice((*NAMES, *names))] = tree.pop(random.choice(names))
    else:
        tree = in_tree(tree, random)
    text = json.dumps(tree).encode()
    return struct.pack("<Q", len(text)) + text + body


HOSTILE = ("os system", "builtins exec", "builtins eval", "posix system", "subprocess Popen", "torch.hub load")
"""What a pickle may ask for to run anything."""


def of_pickle(data: bytes, random: Random) -> bytes:
    """Put a global of another name, a call, or other bytes into a pickle."""
    kind, at = random.randrange(4), data.find(b"\x80") + 2
    module, name = random.choice(HOSTILE).split()
    call = f"c{module}\n{name}\n(S'touch nonverbal-canary'\ntR0".encode()
    if kind == 0:
        return data[:at] + call + data[at:]
    if kind == 1 and b"c" in data:
        place = random.choice([place for place, byte in enumerate(data) if byte == ord("c")])
        return data[:place] + f"c{module}\n{name}\n".encode() + data[place:]
    if kind == 2 and b"\x8a" in data:
        return data.replace(b"\x8a", bytes([random.choice((0x8A, 0x8B, 0x4A, 0x4D))]), 1)
    return of_bytes(data, random)
