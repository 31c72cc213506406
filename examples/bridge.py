"""Drive a Micro-Manager that runs with its window (Tools > Options > Run server on port 4827): its core, Java objects, an acquisition."""

import asyncio

import aiomm


async def main() -> None:
    async with aiomm.Bridge(port=4827) as bridge:
        core = await bridge.get_core()
        await core.set_exposure(10)  # ms
        for channel in await core.get_available_configs("Channel"):
            await core.set_config("Channel", channel)
            await core.wait_for_config("Channel", channel)
            image = await core.snap()
            print(f"{channel}: {image.shape} {image.dtype}, mean {image.mean():.1f}")

        names = await bridge.construct_java_object("java.util.ArrayList")
        await names.add("any Java object")
        async for name in names:
            print(name)

        async with aiomm.Acquisition("data", "java", bridge=bridge, show_display=False) as acq:  # on Micro-Manager's own engine
            async for saved in acq.acquire(aiomm.multi_d_acquisition_events(z_start=0, z_end=4, z_step=1)):
                print(saved.axes, saved.pixels.mean())


asyncio.run(main())
