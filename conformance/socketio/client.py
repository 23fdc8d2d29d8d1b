"""The unmodified python-socketio client, steered by the same JSON lines as client.mjs.

It has no recovery of its own (`recovered` is always false), one socket per "as", and no "ping" lines; "upgrade" comes
when connecting has ended on another transport than it began with.
"""
import base64
import json
import os
import socket
import stat
import sys
import threading
import time
from urllib.parse import urlencode, urlsplit

import socketio

DELAYS = {"reconnection_delay": 0.05, "reconnection_delay_max": 0.2, "randomization_factor": 0}

clients = {}
writing = threading.Lock()


def say(line):
    with writing:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def decode(value):
    if isinstance(value, list):
        return [decode(inner) for inner in value]
    if isinstance(value, dict):
        if set(value) == {"base64"}:
            return base64.b64decode(value["base64"])
        return {key: decode(inner) for key, inner in value.items()}
    return value


def encode(value):
    if isinstance(value, (bytes, bytearray)):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [encode(inner) for inner in value]
    if isinstance(value, dict):
        return {key: encode(inner) for key, inner in value.items()}
    return value


class Client:
    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.auth = command.get("auth") or {}
        self.namespace = command.get("namespace", "/")
        self.acks = 0
        options = {**DELAYS, **command.get("options", {})}
        # A refusal is told, not retried: the client gives up after a CONNECT_ERROR anyway.
        self.client = socketio.Client(**options)
        on = self.client.on
        on("connect", self.connected, namespace=self.namespace)
        on("connect_error", self.refused, namespace=self.namespace)
        on("disconnect", self.disconnected, namespace=self.namespace)
        on("*", self.event, namespace=self.namespace)

    def say(self, line):
        say({**line, "as": self.name} if self.name else line)

    def connect(self):
        command = self.command
        url = command["url"].rstrip("/") + "/"
        if command.get("query"):
            url += "?" + urlencode(command["query"])
        transports = command.get("transports", ["polling", "websocket"])
        try:
            self.client.connect(
                url,
                headers=command.get("headers") or {},
                auth=lambda: self.auth,
                transports=transports,
                namespaces=[self.namespace],
                socketio_path=command.get("path", "/socket.io/").strip("/"),
            )
        except socketio.exceptions.ConnectionError as error:
            self.say({"on": "failed", "message": str(error)})
            return
        if self.client.transport() != transports[0]:
            self.say({"on": "upgrade", "transport": self.client.transport()})

    def connected(self):
        line = {"on": "connect", "id": self.client.get_sid(self.namespace), "recovered": False}
        self.say({**line, "transport": self.client.transport()})

    def refused(self, data=None):
        if isinstance(data, dict):
            self.say({"on": "connect_error", "message": data.get("message"), "data": data.get("data")})
        else:
            self.say({"on": "connect_error", "message": data, "data": None})

    def disconnected(self, reason=None):
        self.say({"on": "disconnect", "reason": reason})

    def event(self, event, *args):
        self.say({"on": "event", "event": event, "args": encode(args)})

    def emit(self, command):
        # A tuple is several arguments to this client, a list would be one.
        data = tuple(decode(command.get("args", [])))
        callback = None
        if command.get("ack"):
            self.acks += 1
            number = self.acks
            callback = lambda *answer: self.say({"on": "ack", "n": number, "args": encode(answer)})
        self.client.emit(command["event"], data, namespace=self.namespace, callback=callback)

    def drop(self):
        """Shuts the connections to the server below everything that the client knows of, until it has noticed: between two polls
        there is none to shut."""
        engine = self.client.eio
        session = engine.sid
        while True:
            self.cut()
            if engine.state != "connected" or engine.sid != session:
                return
            time.sleep(0.001)

    def cut(self):
        port = urlsplit(self.command["url"]).port
        for name in os.listdir("/proc/self/fd"):
            try:
                number = int(name)
                if not stat.S_ISSOCK(os.fstat(number).st_mode):
                    continue
                with socket.socket(fileno=os.dup(number)) as connection:
                    if connection.family != socket.AF_UNIX and connection.getpeername()[1] == port:
                        connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # Closed meanwhile, or not connected.

    def status(self):
        connected = self.namespace in self.client.namespaces
        transport = self.client.transport() if connected else None
        self.say({"on": "status", "connected": connected, "id": self.client.get_sid(self.namespace), "transport": transport})


def obey(command):
    name = command.get("as", "")
    word = command["do"]
    if word == "connect":
        if name in clients:
            clients[name].client.disconnect()
        clients[name] = Client(name, command)
        clients[name].connect()
        return
    client = clients[name]
    if word == "emit":
        client.emit(command)
    elif word == "auth":
        client.auth = command["auth"]
    elif word == "disconnect":
        client.client.disconnect()
    elif word == "connect_again":
        client.connect()
    elif word == "drop":
        client.drop()
    elif word == "status":
        client.status()
    else:
        raise ValueError("no such command: " + word)


say({"on": "ready"})
for line in sys.stdin:
    if not line.strip():
        continue
    try:
        obey(json.loads(line))
    except Exception as error:  # A test must see what went wrong, whatever it is.
        say({"on": "error", "message": f"{type(error).__name__}: {error}", "command": line.strip()})
# The client's threads would keep the process.
os._exit(0)
