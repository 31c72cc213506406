"""Look at each image as it is saved, decide, and submit the next events."""

import asyncio

import aiomm


async def main() -> None:
    async with aiomm.LocalCore("demo") as core, aiomm.Acquisition("data", "closed_loop", core=core) as acq:
        await core.set_exposure(5)  # ms
        best, where = -1.0, 0.0
        stack = aiomm.multi_d_acquisition_events(z_start=-4, z_end=4, z_step=2)
        async for image in acq.acquire({**event, "axes": {**event["axes"], "step": "search"}} for event in stack):
            contrast = float(image.pixels.std() / image.pixels.mean())
            if contrast > best:
                best, where = contrast, image.metadata["ZPosition_um_Intended"]
        print(f"sharpest at {where} µm")
        await acq.acquire([{"axes": {"step": "found", "z": 0, "time": t}, "z": where} for t in range(3)])
        print(acq.status.images_saved, "images in", acq.path)


asyncio.run(main())
