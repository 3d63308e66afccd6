#!/usr/bin/env python3
"""Records a call of kamcmd: the request, the reply, and the text that kamcmd prints.

usage: record.py SOCKET FOLDER NAME KAMCMD METHOD [ARGUMENT...]

Relays the bytes between kamcmd and the Kamailio at SOCKET, writes FOLDER/NAME.request.bin,
NAME.reply.bin and NAME.kamcmd.txt, and prints the row for index.tsv.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

# A reply is complete when nothing follows for this long, in seconds.
QUIET = 0.3


def relay(listener, server, exchange):
    """Relays one request and its reply."""
    client, _ = listener.accept()
    with client, socket.socket(socket.AF_UNIX) as upstream:
        upstream.connect(server)
        request, reply, arrivals = client.recv(1 << 16), b"", []
        start = time.monotonic()
        upstream.sendall(request)
        while True:
            # Only the pauses are limited: the first bytes may take long.
            upstream.settimeout(QUIET if arrivals else 10)
            try:
                chunk = upstream.recv(1 << 16)
            except TimeoutError:
                break
            if not chunk:
                break
            arrivals.append(round((time.monotonic() - start) * 1e6))
            reply += chunk
        client.sendall(reply)
    exchange.update(request=request, reply=reply, arrivals=arrivals)


def record(server, kamcmd, method):
    """Calls a method through a proxy. Returns the exchange and the printed text."""
    exchange = {}
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "proxy.sock")
        listener.bind(path)
        listener.listen(1)
        thread = threading.Thread(target=relay, args=(listener, server, exchange), daemon=True)
        thread.start()
        # Its status is 255 for a fault, which may be recorded too.
        printed = subprocess.run([kamcmd, "-s", f"unix:{path}", *method], stdout=subprocess.PIPE)
        thread.join(timeout=20)
    if not exchange.get("reply"):
        sys.exit("record.py: no reply")
    return exchange, printed.stdout


def main(server, folder, name, kamcmd, *method):
    """Writes the files and prints the row."""
    exchange, printed = record(server, kamcmd, method)
    request, reply, arrivals = exchange["request"], exchange["reply"], exchange["arrivals"]
    contents = {"request.bin": request, "reply.bin": reply, "kamcmd.txt": printed}
    for ending, content in contents.items():
        with open(os.path.join(folder, f"{name}.{ending}"), "wb") as file:
            file.write(content)
    sizes = len(request), len(reply), len(arrivals)
    print(name, " ".join(method), *sizes, arrivals[0], arrivals[-1], sep="\t")


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
