"""A name server on a free port of this host, which knows one name; its addresses may change."""

import socket
import struct
import threading

NAME = "robots.test"
_A, _IN, _RESPONSE = 1, 1, 0x8580  # authoritative


class NameServer:
    """Answers each question with `addresses`, for no time to be cached; a context manager."""

    def __init__(self, *addresses):
        self.addresses, self.questions = list(addresses), 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def target(self, port):
        """The target of a client that asks this server."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/{NAME}:{port}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.sendto(b"", self._socket.getsockname())  # ends the thread
        self._socket.close()

    def _serve(self):
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            self.questions += 1
            self._socket.sendto(answer(query, self.addresses), client)


def answer(query, addresses):
    """The response to a query with one question: an A record for each address, and nothing of another type."""
    end = query.index(b"\0", 12) + 5
    (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
    found = addresses if kind == _A else []
    records = [struct.pack("!HHHIH", 0xC00C, _A, _IN, 0, 4) + socket.inet_aton(address) for address in found]
    return query[:2] + struct.pack("!HHHHH", _RESPONSE, 1, len(found), 0, 0) + query[12:end] + b"".join(records)
