"""Speak with a running Micro-Manager: awaitable Java objects over its ZMQ object protocol."""

from aiomm.bridge.client import Bridge
from aiomm.bridge.core_events import CoreChange, CoreChanges
from aiomm.bridge.fields import JavaField
from aiomm.bridge.line import part_of_a_call
from aiomm.bridge.proxy import JavaClass, JavaMethod, JavaNames, JavaObject, bridge_of, private_field
from aiomm.bridge.registry import register_proxy

__all__ = [
    "Bridge",
    "CoreChange",
    "CoreChanges",
    "JavaClass",
    "JavaField",
    "JavaMethod",
    "JavaNames",
    "JavaObject",
    "bridge_of",
    "part_of_a_call",
    "private_field",
    "register_proxy",
]
