#!/usr/bin/env python3
"""Writes what the fuzzer begins with into corpus/TARGET/: messages that the code understands, from the tests' vectors and from here."""
import json
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
MASK = b"\x37\xfa\x21\x3d"


def masked(first, payload):
    """A frame of a client, as RFC 6455 has it."""
    if len(payload) < 126:
        head = bytes([first, 0x80 | len(payload)])
    else:
        head = bytes([first, 0x80 | 126]) + len(payload).to_bytes(2, "big")
    return head + MASK + bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload))


def ws():
    hello = masked(0x81, b"Hello")
    deflated = masked(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")
    pieces = masked(0x01, b"Hel") + masked(0x89, b"?") + masked(0x80, b"lo")
    closed = masked(0x88, b"\x03\xe8bye")
    for frames in [hello, deflated, pieces, closed, masked(0x82, bytes(300)), hello + pieces + deflated + closed]:
        for flags in (0, 1, 3):
            yield bytes([flags, 6]) + frames


def plain():
    yield from (
        b'{"id":1,"type":"auth","token":"a.b.c"}',
        b'{"id":2,"type":"subscribe","channel":"c","since":"1a2b-7","last":3}',
        b'{"id":3,"type":"subscribe","channel":"c","since":"5m"}',
        b'{"id":4,"type":"publish","channel":"c","event":"e","data":{"a":[1,2.50,null,"\\u00f1"]}}',
        b'{"id":5,"type":"presence","channel":"c"}',
        b'{"type":"ping"}',
        b'{"type":"join","room":"x"}',
    )


def engineio():
    yield from (b"0", b"2probe", b"4hola\x1e4mundo\x1ebAQIDBA==", b"6", b"1", b"EIO=4&transport=polling&sid=abc&t=1", b"EIO=4&transport=websocket")


def socketio():
    event = b'2["message",{"a":1}]'
    binary = b'51-["file",{"_placeholder":true,"num":0}]'
    yield from (
        b'0{"token":"x"}',
        b"0/admin,",
        event,
        b'2/admin,12["e",1,"x",null]',
        b'3/admin,12["ok"]',
        binary + b"\xff\xfe\x01\x02",
        event + b"\xff" + binary + b"\xff\xfe\x00\xff" + event,
        b'52-/a,7["b",{"_placeholder":true,"num":1},[{"_placeholder":true,"num":0}]]\xff\xfe\x01\xff\xfe\x02',
        b'4{"message":"no"}',
        b"1",
    )


def emitters():
    vectors = json.loads((HERE / "../crates/wire/tests/socketio/emitters.json").read_text())
    for group, messages in vectors.items():
        for vector in messages.values():
            text = vector["message"]
            yield text.encode() if group.startswith("postgres") else bytes.fromhex(text)
            if "stored" in vector:
                yield bytes.fromhex(vector["stored"])


def resp():
    yield from (
        b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*0\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$2\r\n{}\r\n+PONG\r\n",
        b">4\r\n$8\r\npmessage\r\n$2\r\nr*\r\n$4\r\nroom\r\n=6\r\ntxt:hi\r\n",
        b"-NOPERM this user has no permissions\r\n",
        b"*3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$-1\r\n",
        b"|1\r\n+ttl\r\n,1.5\r\n~2\r\n#t\r\n_\r\n",
    )


for target, seeds in {
    "ws_decode": ws,
    "plain_parse": plain,
    "engineio_payload": engineio,
    "socketio_assemble": socketio,
    "socketio_emitter": emitters,
    "resp_decode": resp,
}.items():
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (folder / f"seed-{number}").write_bytes(seed)
