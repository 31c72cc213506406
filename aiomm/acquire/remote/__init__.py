"""Acquisitions on Micro-Manager's own engine, over the bridge."""
