#!/usr/bin/env python3
"""The till in Python: shows each entry as it happens and misses none. Standard library only; Linux, macOS and Windows.

    python pos.py --gateway http://192.168.1.20:8001 --channel entradas --state entradas.json
    python pos.py --dsn postgres://pos_user:pos@192.168.1.20/torniquete_db --state entradas.json

With --gateway it follows a channel of pregón over HTTP (server-sent events) and needs nothing else. With --dsn it starts
`pregon listen --json` as its child, beside the database. Both come back by themselves, for ever, and go on behind the last
entry that was shown, also after a restart of this program. Ctrl-C ends it with code 0.
"""

import argparse
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

CHANNEL = "nueva_entrada_canal"
# What a till that listens at the database fetches after each connect: see docs/listen.md.
CATCH_UP = """SELECT e.id_entrada, e.id_miembro, m.nombre, e.tipo_acceso, e.fecha_entrada
    FROM registro_entradas e LEFT JOIN miembros m USING (id_miembro)
    WHERE e.tipo_acceso = 'miembro' AND e.id_entrada > :last ORDER BY e.id_entrada"""
# Longer than the gateway's pause between pings (25 s): after that long a silence the connection is dead.
SILENCE = 60
# What no repetition mends: a bad request, a bad token, a channel that is not granted, no such page.
HOPELESS = (400, 401, 403, 404)


def say(text):
    """Tells the operator, apart from the entries."""
    print(text, file=sys.stderr, flush=True)


def pauses():
    """Pauses before each next attempt: longer and longer, never quite the same, so that tills do not come back all at once."""
    longest = 0.5
    while True:
        yield random.uniform(longest / 2, longest)
        longest = min(longest * 2, 10)


class Gateway:
    """Follows a channel of the gateway; gives (entry, position) pairs, where entry is None for news without one."""

    def __init__(self, options, stopping):
        self.base = options.gateway.rstrip("/")
        self.channel = options.channel
        self.token = options.token or os.environ.get("PREGON_TOKEN")
        self.state = options.state
        self.position = read_state(options.state)
        self.stopping = stopping

    def run(self, put):
        waits = pauses()
        while not self.stopping.is_set():
            try:
                with urllib.request.urlopen(self.request(), timeout=SILENCE) as answer:
                    if answer.status == 204:
                        raise SystemExit("the gateway asks not to come back")
                    say(f"listening at {self.base}")
                    waits = pauses()
                    self.read(answer, put)
                say("the gateway ended the connection")
            except urllib.error.HTTPError as error:
                if error.code in HOPELESS:
                    raise SystemExit(f"{error.code}: {error.read(500).decode(errors='replace')}") from error
                say(f"the gateway answers {error.code}")
            except (OSError, ValueError) as error:  # refused, cut, silent; or an answer that is none of ours
                say(f"no connection: {error}")
            self.stopping.wait(next(waits))

    def request(self):
        query = {"channel": self.channel, "format": "protocol"}
        if self.position:
            query["since"] = self.position
        request = urllib.request.Request(f"{self.base}/sse?{urllib.parse.urlencode(query)}")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        return request

    def read(self, answer, put):
        for line in answer:
            if self.stopping.is_set():
                return
            if not line.startswith(b"data:"):
                continue
            message = json.loads(line[5:].decode("utf-8"))
            if message["type"] == "gap":
                say(f"what came up to {message['to']} may be incomplete ({message['reason']}): look it up")
            if message["type"] == "error":
                say(message.get("message", "the gateway failed"))
            # From here on this is where the next connection goes on; the file follows when the entry has been shown.
            self.position = message.get("position") or message.get("to") or self.position
            put((message["data"] if message["type"] == "event" else None, self.position))

    def shown(self, position):
        write_state(self.state, position)

    def stop(self):
        """Its thread may sit in a read; it is a daemon and ends with the program."""


class Child:
    """Runs `pregon listen --json` and starts it again when it dies; its own state file says where it goes on."""

    def __init__(self, options, stopping):
        self.command = [*options.pregon, "listen", "--json", options.channel]
        if options.state:
            self.command += ["--catch-up", CATCH_UP, "--key", "id_entrada", "--state", options.state]
        # Not among the arguments, which every user of the machine may read.
        self.environment = {**os.environ, "DATABASE_URL": options.dsn}
        self.stopping = stopping
        self.process = None

    def run(self, put):
        waits = pauses()
        while not self.stopping.is_set():
            started = time.monotonic()
            self.process = self.start()
            say(f"pregon listen runs as process {self.process.pid}")
            for line in self.process.stdout:
                put((json.loads(line), None))
            code = self.process.wait()
            if code == 2:
                raise SystemExit("pregon listen refuses its arguments")
            if self.stopping.is_set():
                return
            say(f"pregon listen ended with {code}")
            if time.monotonic() - started > SILENCE:
                waits = pauses()
            self.stopping.wait(next(waits))

    def start(self):
        # Ctrl-C goes to a whole group of processes, or to a whole console; the child is to hear of it from us.
        if os.name == "nt":
            own = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        else:
            own = {"start_new_session": True}
        try:
            return subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8", **own
            )
        except FileNotFoundError as error:
            raise SystemExit(f"{self.command[0]} is not there: name it with --pregon") from error

    def shown(self, position):
        """The child keeps its own state."""

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.CTRL_BREAK_EVENT if os.name == "nt" else signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def read_state(file):
    """Where the till was when it was last on; without a file it begins with the present."""
    try:
        with open(file, encoding="utf-8") as stream:
            return json.load(stream)["position"]
    except (TypeError, FileNotFoundError):
        return None
    except (ValueError, KeyError) as error:
        raise SystemExit(f"{file} is no state of this program: {error}. Remove it to begin with the present") from error


def write_state(file, position):
    """The file is whole at every moment, whenever the power goes."""
    if not file or not position:
        return
    fresh = f"{file}.new"
    with open(fresh, "w", encoding="utf-8") as stream:
        json.dump({"position": position}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, file)


def show(entry):
    """What the till does with an entry: here a line and a bell; yours opens the door."""
    name = entry.get("nombre") or f"socio {entry.get('id_miembro')}"
    bell = "\a" if sys.stdout.isatty() else ""
    print(f"{bell}{entry.get('id_entrada')} {name} {entry.get('fecha_entrada')}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--gateway", metavar="URL", help="http:// or https:// and the gateway's address")
    where.add_argument("--dsn", metavar="URL", help="the database, for `pregon listen`")
    parser.add_argument("--channel", default=CHANNEL, help=f"what to follow (default: {CHANNEL})")
    parser.add_argument("--token", metavar="JWT", help="for the gateway; better in PREGON_TOKEN")
    parser.add_argument("--state", metavar="FILE", help="remembers what was shown, over restarts")
    parser.add_argument("--pregon", nargs="+", default=["pregon"], metavar="WORD", help="how to start it: --pregon wsl pregon")
    return parser.parse_args()


def work(source, put):
    """The thread of a source: however it ends, the main thread hears of it."""
    try:
        source.run(put)
        put(SystemExit(0))
    except BaseException as error:  # SystemExit as well: threads swallow it
        put(error)


def main():
    options = arguments()
    for stream in (sys.stdout, sys.stderr):
        # A Windows console speaks an old code page otherwise, and "Iñaki" would end the program.
        stream.reconfigure(encoding="utf-8", errors="replace")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    source = (Gateway if options.gateway else Child)(options, stopping)
    news = queue.Queue(maxsize=1000)  # a till that stands still makes its source wait, not grow
    threading.Thread(target=work, args=(source, news.put), daemon=True).start()
    try:
        while not stopping.is_set():
            try:
                item = news.get(timeout=0.25)  # without one, Windows hears no Ctrl-C
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            entry, position = item
            if entry is not None:
                show(entry)
            source.shown(position)
    finally:
        stopping.set()
        source.stop()


if __name__ == "__main__":
    main()
