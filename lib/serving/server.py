"""The server that gives requests to the web application, until it is told to stop."""

import ipaddress
import logging
import socket
import threading
import time

import waitress
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from lib.errors import InputError

# Threads beyond those of requests that are captioned: for the page, and to refuse requests.
MORE_THREADS = 4
# Connections beyond those of the requests that are answered: of clients that are still sending, or
# that keep a connection open, as browsers do.
MORE_CONNECTIONS = 96
# Seconds without a request or data after which a connection is closed.
IDLE_TIME = 15
# Seconds in which the headers of a request have to arrive, however often some of them do, and bytes
# of its body in a second, on average.
HEADER_TIME = 15
BODY_RATE = 100_000
# Seconds to finish what is running when the server is told to stop, and then to send it.
DRAIN_TIME = 60
SEND_TIME = 5


class Connection(HTTPChannel):
    """A connection that is closed if a request takes too long to arrive.

    Those that send a little now and then would otherwise keep others out for ever.
    """

    def received(self, data):
        before = self.request
        is_received = super().received(data)
        if self.request is not before:
            self._began = time.monotonic()
        return is_received

    def readable(self):
        """Returns whether to read more; it is asked once a second, or more often."""
        if self.request is not None:
            n_bytes = self.request.content_length
            if self.request.chunked:  # which does not say how many
                n_bytes = self.adj.max_request_body_size
            seconds = HEADER_TIME + n_bytes / BODY_RATE
            self.will_close |= time.monotonic() > self._began + seconds
        return super().readable()


def names_of_host(host: str) -> set[str] | None:
    """Returns the names under which a server for this machine alone is reached, otherwise None.

    Args:
        host (str): The address that it listens at.

    Raises:
        InputError: If the address cannot be resolved.
    """
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise InputError(f'{host}: {error.strerror or error}', option='host') from error
    is_local = all(ipaddress.ip_address(address).is_loopback for address in addresses)
    return {'localhost', '127.0.0.1', '::1', host.lower(), *addresses} if is_local else None


# It would warn of every request that waits for a moment.
logging.getLogger('waitress.queue').setLevel(logging.ERROR)


def serve(app, host: str, port: int, limits):
    """Answers requests until a signal comes, and then finishes those that are being answered.

    Args:
        app (flask.Flask): From :func:`lib.serving.app.make_app`.
        host (str): The address to listen at.
        port (int): The port; 0 is any free one.
        limits (lib.serving.requests.Limits): Those of the application.

    Raises:
        InputError: If the server cannot listen there.
    """
    sockets = {}
    try:
        server = waitress.create_server(
            app,
            map=sockets,
            host=host,
            port=port,
            threads=limits.requests + MORE_THREADS,
            connection_limit=limits.requests + MORE_CONNECTIONS,
            channel_timeout=IDLE_TIME,
            cleanup_interval=IDLE_TIME // 3,
            asyncore_use_poll=True,  # select() fails with more than a thousand files
            max_request_body_size=limits.request_bytes,
            # What is larger would be written to the disk.
            inbuf_overflow=limits.request_bytes + 1,
            outbuf_overflow=limits.request_bytes + 1,
            ident=None,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise InputError(f'cannot listen at {host}, port {port}: {reason}') from error
    for item in sockets.values():
        if isinstance(item, BaseWSGIServer):
            item.channel_class = Connection
    thread = threading.Thread(target=server.run, name='connections', daemon=True)
    thread.start()
    try:
        for name, number in _addresses_of(server):
            print(f'serving at http://{name}:{number}', flush=True)
        thread.join()
        raise RuntimeError('the thread of the connections has ended')
    except (KeyboardInterrupt, SystemExit):
        app.extensions['requests'].drain(DRAIN_TIME)
        _wait_until_sent(sockets)


def _addresses_of(server):
    """Returns the names and ports under which a server can be reached."""
    listen = getattr(server, 'effective_listen', None)
    listen = listen or [(server.effective_host, server.effective_port)]
    return [(f'[{host}]' if ':' in host else host, port) for host, port in listen]


def _wait_until_sent(sockets):
    """Waits until the answers have been sent, or clients do not take them."""
    deadline = time.monotonic() + SEND_TIME
    while time.monotonic() < deadline:
        channels = (item for item in list(sockets.values()) if isinstance(item, HTTPChannel))
        if not any(channel.requests or channel.total_outbufs_len for channel in channels):
            return
        time.sleep(0.01)
