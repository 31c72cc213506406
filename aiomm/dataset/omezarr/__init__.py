"""OME-Zarr 0.5: groups of Zarr v3 arrays whose shards are written by index, and a log of the frames."""
