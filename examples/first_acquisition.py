"""A time lapse of z stacks in two channels with the simulated microscope, read back as one array."""

import asyncio

import aiomm
from aiomm.viewer import save_contact_sheet


async def main() -> None:
    async with aiomm.LocalCore("demo") as core:  # or the path of a Micro-Manager .cfg file
        await core.set_exposure(5)  # ms
        events = aiomm.multi_d_acquisition_events(
            num_time_points=2, z_start=0, z_end=4, z_step=1, channel_group="Channel", channels=["DAPI", "FITC"]
        )
        async with aiomm.Acquisition("data", "tutorial", core=core) as acq:
            async for image in acq.acquire(events):
                print(image.axes, image.pixels.max())

    dataset = acq.get_dataset()
    array = dataset.as_array(axes=["time", "channel", "z"])
    print(array)
    save_contact_sheet(dataset, "tutorial.png")
    print("dataset:", acq.path)


asyncio.run(main())
