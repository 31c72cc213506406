"""Benchmarks: aiomm and its peers in turn, in one run. No timing decides a test."""
