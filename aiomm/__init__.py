"""Run microscopes from asyncio."""
