#!/usr/bin/env bash
# Processes of Python emit to Socket.IO clients through Redis with python-socketio, as Node's do with @socket.io/redis-emitter. We
# guessed one format, or a pickle. It is neither: JSON on the channel `socketio` (Node: msgpack on `socket.io#…`), binary as base64
# beside placeholders, and a float that is not a number stands there as NaN, which is not JSON.
# Needs redis-server.
. "$(dirname "$0")/lib.sh"
with_pip python-socketio==5.18.1 redis==8.1.0
redis-server --port 0 --unixsocket "$folder/redis.sock" --save '' >/dev/null & server=$!
until [ -S redis.sock ]; do read -r -t 0.1 _ <> <(:) || true; done
cat >emit.py <<'PY'
import os, re, redis, socketio
path = os.path.abspath("redis.sock")
listener = redis.Redis(unix_socket_path=path).pubsub()
listener.psubscribe("*")
listener.get_message(timeout=5)
manager = socketio.RedisManager(f"unix://{path}", write_only=True)
manager.emit("price", {"value": float("nan")}, room="r")
manager.emit("blob", b"\x00\x01", room="r")
for _ in range(2):
    message = listener.get_message(timeout=5)
    print(message["channel"].decode(), re.sub(r', "skip_sid".*', "", message["data"].decode()))
PY
echo "python-socketio 5.18.1"
expect 'socketio {"method": "emit", "event": "price", "data": [{"value": NaN}], "binary": false, "namespace": "/", "room": "r"
socketio {"method": "emit", "event": "blob", "data": [[{"_placeholder": true, "num": 0}], "AAE="], "binary": true, "namespace": "/", "room": "r"' python emit.py
