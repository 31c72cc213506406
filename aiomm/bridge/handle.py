"""What the wire and the choice of overloads need to know of a Java object that lives in the server."""

from __future__ import annotations

__all__ = ["Handle"]


class Handle:
    """A reference to an object that the server keeps.

    Attributes
    ----------
    hash_code : str
        The server's name for it; every time an object is sent it gets a new one.
    port : int
        The port at which it can be called; as an argument it may go to any port of the same server.
    java_class : str
        The full name of its class.
    java_interfaces : tuple of str
        Its class, superclasses and interfaces, as the server lists them.
    """

    __slots__ = ("__weakref__", "hash_code", "java_class", "java_interfaces", "port")

    def __init__(self, hash_code: str, port: int, java_class: str, java_interfaces: tuple[str, ...] = ()) -> None:
        self.hash_code = hash_code
        self.port = port
        self.java_class = java_class
        self.java_interfaces = java_interfaces
