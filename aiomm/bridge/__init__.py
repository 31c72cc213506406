"""Speak with a running Micro-Manager: awaitable Java objects over its ZMQ object protocol."""
