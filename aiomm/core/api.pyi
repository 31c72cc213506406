"""The typed face of a Micro-Manager core: each MMCore method, awaitable, in snake_case."""

# Made by tools/make_core_stub.py from pymmcore's signatures. Do not edit.

import os
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from aiomm.core.images import TaggedImage

def bind(snake: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]: ...
def core_method(snake: str) -> str | None: ...
def parameters(form: str) -> list[Parameter]: ...
def method_names() -> list[str]: ...

class Core:
    """A Micro-Manager core whose methods are awaited.

    Units: ms for exposures and delays, µm for positions. Each method raises `CoreError`, with the device and
    MMCore's own text, when MMCore or a device refuses, and `ClosedError` after the core was closed.
    """

    async def call_core(self, method: str, args: tuple[Any, ...]) -> Any: ...
    async def add_galvo_polygon_vertex(self, galvo_label: str, polygon_index: int, x: float, y: float) -> None:
        """Add a vertex to a galvo polygon."""
    async def clear_circular_buffer(self) -> None:
        """Removes all images from the circular buffer."""
    async def clear_roi(self) -> None:
        """Set the region of interest of the current camera to the full frame."""
    async def debug_log_enabled(self) -> bool:
        """Indicates if logging of debug messages is enabled"""
    @overload
    async def define_config(self, group_name: str, config_name: str) -> None:
        """Defines a configuration.

        If the configuration group/name was not previously defined a new configuration
        will be automatically created; otherwise nothing happens.
        """
    @overload
    async def define_config(self, group_name: str, config_name: str, device_label: str, prop_name: str, value: str) -> None: ...
    async def define_config_group(self, group_name: str) -> None:
        """Creates an empty configuration group."""
    @overload
    async def define_pixel_size_config(self, resolution_id: str) -> None:
        """Defines an empty pixel size entry."""
    @overload
    async def define_pixel_size_config(self, resolution_id: str, device_label: str, prop_name: str, value: str) -> None: ...
    async def define_state_label(self, state_device_label: str, state: int, state_label: str) -> None:
        """Defines a label for the specific state."""
    @overload
    async def delete_config(self, group_name: str, config_name: str) -> None:
        """Deletes a configuration from a group."""
    @overload
    async def delete_config(self, group_name: str, config_name: str, device_label: str, prop_name: str) -> None: ...
    async def delete_config_group(self, group_name: str) -> None:
        """Deletes an entire configuration group."""
    async def delete_galvo_polygons(self, galvo_label: str) -> None:
        """Remove all added polygons"""
    async def delete_pixel_size_config(self, config_name: str) -> None:
        """Deletes a pixel size configuration."""
    async def detect_device(self, device_label: str) -> int:
        """Tries to communicate to a device through a given serial port Used to automate
        discovery of correct serial port. Also configures the serial port correctly.
        """
    async def device_busy(self, label: str) -> bool:
        """Checks the busy status of the specific device."""
    async def device_type_busy(self, dev_type: int) -> bool:
        """Checks the busy status for all devices of the specific type."""
    async def display_slm_image(self, slm_label: str) -> None:
        """Display the waiting image on the SLM."""
    async def enable_continuous_focus(self, enable: bool) -> None:
        """Enables or disables the operation of the continuous focusing hardware device."""
    async def enable_debug_log(self, enable: bool) -> None:
        """Enable or disable logging of debug messages."""
    async def enable_feature(self, name: str, enable: bool) -> None:
        """Enable or disable the given Core feature.

        Core features control whether experimental functionality (which is subject
        to breaking changes) is exposed, or whether stricter API usage is enforced.

        Currently switchable features:

        - "StrictInitializationChecks" (default: disabled) When enabled, an
          exception is thrown when an operation requiring an initialized device is
          attempted on a device that is not successfully initialized. When disabled,
          no exception is thrown and a warning is logged (and the operation may
          potentially cause incorrect behavior or a crash).
        - "ParallelDeviceInitialization" (default: enabled) When enabled, serial ports
          are initialized in serial order, and all other devices are in parallel, using
          multiple threads, one per device module.  Early testing shows this to be
          reliable, but switch this off when issues are encountered during
          device initialization.
        """
    async def enable_stderr_log(self, enable: bool) -> None:
        """Enables or disables log message display on the standard console."""
    async def full_focus(self) -> None:
        """Performs focus acquisition and lock for the one-shot focusing device."""
    @overload
    async def get_allowed_binning_values(self) -> tuple[int, ...]:
        """Returns allowed binning values for the current camera."""
    @overload
    async def get_allowed_binning_values(self, label: str) -> tuple[int, ...]: ...
    async def get_allowed_property_values(self, label: str, prop_name: str) -> tuple[str, ...]:
        """Returns all valid values for the specified property."""
    async def get_api_version_info(self) -> str:
        """Returns the module and device interface versions."""
    async def get_auto_focus_device(self) -> str:
        """Returns the label of the currently selected auto-focus device.

        Returns empty string if no auto-focus device is selected.
        """
    async def get_auto_focus_offset(self) -> float:
        """Measures offset for the one-shot focusing device."""
    async def get_auto_shutter(self) -> bool:
        """Returns the current setting of the auto-shutter option."""
    async def get_available_config_groups(self) -> tuple[str, ...]:
        """Returns the names of all defined configuration groups"""
    async def get_available_configs(self, config_group: str) -> tuple[str, ...]:
        """Returns all defined configuration (preset) names in a given group"""
    async def get_available_device_descriptions(self, library: str) -> tuple[str, ...]:
        """Get descriptions for available devices from the specified library."""
    async def get_available_device_types(self, library: str) -> tuple[int, ...]:
        """Get type information for available devices from the specified library."""
    async def get_available_devices(self, library: str) -> tuple[str, ...]:
        """Get available devices from the specified device library."""
    async def get_available_pixel_size_configs(self) -> tuple[str, ...]:
        """Returns all defined resolution preset names"""
    @overload
    async def get_binning(self) -> int:
        """Returns the current binning factor of the camera."""
    @overload
    async def get_binning(self, label: str) -> int: ...
    async def get_buffer_free_capacity(self) -> int:
        """Returns the number of images that can be added to the buffer without
        overflowing.
        """
    async def get_buffer_total_capacity(self) -> int:
        """Returns the total number of images that can be stored in the buffer"""
    async def get_bytes_per_pixel(self) -> int:
        """How many bytes for each pixel."""
    async def get_camera_channel_name(self, channel_nr: int) -> str:
        """Returns the name of the requested channel as known by the default camera"""
    async def get_camera_device(self) -> str:
        """Returns the label of the currently selected camera device.

        Returns empty string if no camera device is selected.
        """
    async def get_channel_group(self) -> str:
        """Returns the group determining the channel selection.

        Returns empty string if no channel group is selected.
        """
    async def get_circular_buffer_memory_footprint(self) -> int:
        """Returns the size of the Circular Buffer in MB"""
    async def get_config_data(self, config_group: str, config_name: str) -> dict[tuple[str, str], str]:
        """Returns the configuration object for a given group and name.

        A dict that maps (device, property) to the value.
        """
    async def get_config_group_state(self, group: str) -> dict[tuple[str, str], str]:
        """Returns the partial state of the system, only for the devices included in the
        specified group.

        A dict that maps (device, property) to the value.
        """
    async def get_config_group_state_from_cache(self, group: str) -> dict[tuple[str, str], str]:
        """Returns the partial state of the system cache, only for the devices included in
        the specified group.

        A dict that maps (device, property) to the value.
        """
    async def get_config_state(self, group: str, config: str) -> dict[tuple[str, str], str]:
        """Returns a partial state of the system, only for devices included in the
        specified configuration.

        A dict that maps (device, property) to the value.
        """
    async def get_core_error_text(self, code: int) -> str:
        """Returns a pre-defined error test with the given error code"""
    async def get_current_config(self, group_name: str) -> str:
        """Returns the current configuration (preset) for a given group.

        Returns empty string if no configuration is selected.
        """
    async def get_current_config_from_cache(self, group_name: str) -> str:
        """Returns the configuration for a given group based on the data in the cache."""
    async def get_current_focus_score(self) -> float:
        """Returns the focus score from the default focusing device measured at the
        current Z position.
        """
    @overload
    async def get_current_pixel_size_config(self) -> str:
        """Get the current pixel configuration name"""
    @overload
    async def get_current_pixel_size_config(self, cached: bool) -> str: ...
    async def get_device_adapter_names(self) -> tuple[str, ...]:
        """Return the names of discoverable device adapters."""
    async def get_device_adapter_search_paths(self) -> tuple[str, ...]:
        """Return the current device adapter search paths."""
    async def get_device_delay_ms(self, label: str) -> float:
        """Reports action delay in milliseconds for the specific device."""
    async def get_device_description(self, label: str) -> str:
        """Returns description text for a given device label. "Description" is determined
        by the library and is immutable.
        """
    async def get_device_initialization_state(self, label: str) -> int:
        """Queries the initialization state of the given device."""
    async def get_device_library(self, label: str) -> str:
        """Returns device library (aka module, device adapter) name."""
    async def get_device_name(self, label: str) -> str:
        """Returns device name for a given device label."""
    async def get_device_property_names(self, label: str) -> tuple[str, ...]:
        """Returns all property names supported by the device."""
    async def get_device_timeout_ms(self, label: str) -> int:
        """Returns the per-device timeout in milliseconds, or the default if not set."""
    async def get_device_type(self, label: str) -> int:
        """Returns device type."""
    @overload
    async def get_exposure(self) -> float:
        """Returns the current exposure setting of the camera in milliseconds."""
    @overload
    async def get_exposure(self, label: str) -> float: ...
    async def get_exposure_sequence_max_length(self, camera_label: str) -> int:
        """Gets the maximum length of a camera's exposure sequence."""
    async def get_focus_device(self) -> str:
        """Returns the label of the currently selected focus device.

        Returns empty string if no focus device is selected.
        """
    async def get_focus_direction(self, stage_label: str) -> int:
        """Get the focus direction of a stage."""
    async def get_galvo_channel(self, galvo_label: str) -> str:
        """Get the name of the active galvo channel (for a multi-laser galvo device)."""
    async def get_galvo_device(self) -> str:
        """Returns the label of the currently selected Galvo device.

        Returns empty string if no Galvo device is selected.
        """
    async def get_galvo_position(self, galvo_label: str) -> tuple[float, float]:
        """Get x,y position of the galvo device.

        x and y in the device's units.
        """
    async def get_galvo_x_minimum(self, galvo_label: str) -> float:
        """Get the Galvo x minimum"""
    async def get_galvo_x_range(self, galvo_label: str) -> float:
        """Get the Galvo x range"""
    async def get_galvo_y_minimum(self, galvo_label: str) -> float:
        """Get the Galvo y minimum"""
    async def get_galvo_y_range(self, galvo_label: str) -> float:
        """Get the Galvo y range"""
    @overload
    async def get_image(self) -> NDArray[Any]:
        """Exposes the internal image buffer.

        Pixels as (y, x), or (y, x, 3) in the order red, green, blue.
        """
    @overload
    async def get_image(self, num_channel: int) -> NDArray[Any]: ...
    async def get_image_bit_depth(self) -> int:
        """How many bits of dynamic range are to be expected from the camera."""
    async def get_image_buffer_size(self) -> int:
        """Returns the size of the internal image buffer."""
    async def get_image_height(self) -> int:
        """Vertical dimension of the image buffer in pixels."""
    async def get_image_processor_device(self) -> str:
        """Returns the label of the currently selected image processor device.

        Returns empty string if no image processor device is selected.
        """
    async def get_image_width(self) -> int:
        """Horizontal dimension of the image buffer in pixels."""
    async def get_installed_device_description(self, hub_label: str, peripheral_label: str) -> str:
        """Returns description from the specified peripheral on `hubLabel` device."""
    async def get_installed_devices(self, hub_label: str) -> tuple[str, ...]:
        """Performs auto-detection and loading of child devices that are attached to a
        Hub device.

        Raises RuntimeError if hubLabel is not a hub device.
        """
    async def get_last_focus_score(self) -> float:
        """Returns the latest focus score from the focusing device."""
    async def get_last_image(self) -> NDArray[Any]:
        """Gets the last image from the circular buffer.

        Pixels as (y, x), or (y, x, 3) in the order red, green, blue.
        """
    @overload
    async def get_last_image_md(self) -> TaggedImage:
        """Returns a pointer to the pixels of the image that was last inserted into the
        circular buffer. Also provides all metadata associated with that image

        Pixels and tags; MMCore's Metadata argument is not passed.
        """
    @overload
    async def get_last_image_md(self, channel: int, slice: int) -> TaggedImage: ...
    async def get_last_tagged_image(self, camera_channel_index: int | None = None) -> TaggedImage:
        """The newest image of the circular buffer with its tags; it stays in the buffer."""
    async def get_loaded_devices(self) -> tuple[str, ...]:
        """Returns an array of labels for currently loaded devices."""
    async def get_loaded_devices_of_type(self, dev_type: int) -> tuple[str, ...]:
        """Returns an array of labels for currently loaded devices of specific type."""
    async def get_loaded_peripheral_devices(self, hub_label: str) -> tuple[str, ...]:
        """Return labels of all loaded peripherals of `hubLabel` device.

        Returns empty tuple if hubLabel is not a hub device, or even if hubLabel is
        not the name of any device.
        """
    async def get_magnification_factor(self) -> float:
        """Returns the product of all Magnifiers in the system or 1.0 when none is found.
        This is used internally by GetPixelSizeUm
        """
    async def get_mm_core_version_major(self) -> int:
        """MMCore's ``getMMCoreVersionMajor``."""
    async def get_mm_core_version_minor(self) -> int:
        """MMCore's ``getMMCoreVersionMinor``."""
    async def get_mm_core_version_patch(self) -> int:
        """MMCore's ``getMMCoreVersionPatch``."""
    async def get_mm_device_device_interface_version(self) -> int:
        """MMCore's ``getMMDeviceDeviceInterfaceVersion``."""
    async def get_mm_device_module_interface_version(self) -> int:
        """MMCore's ``getMMDeviceModuleInterfaceVersion``."""
    async def get_multi_roi(self) -> tuple[tuple[int, int, int, int], ...]:
        """Get multiple ROIs from the current camera device.

        Will fail if the camera does not support multiple ROIs. Will return empty
        vectors if multiple ROIs are not currently being used.

        One (x, y, width, height) per region, in pixels; MMCore's four output arguments are not passed.
        """
    async def get_n_before_last_image_md(self, n: int) -> TaggedImage:
        """Returns a pointer to the pixels of the image that was inserted n images ago.
        Also provides all metadata associated with that image

        Pixels and tags; MMCore's Metadata argument is not passed.
        """
    async def get_n_before_last_tagged_image(self, n: int) -> TaggedImage:
        """The image that came ``n`` images before the newest, with its tags."""
    async def get_number_of_camera_channels(self) -> int:
        """Returns the number of simultaneous channels the default camera is returning."""
    async def get_number_of_components(self) -> int:
        """Returns the number of components the default camera is returning."""
    async def get_number_of_states(self, state_device_label: str) -> int:
        """Returns the total number of available positions (states)."""
    async def get_parent_label(self, peripheral_label: str) -> str:
        """Returns parent device. Returns empty string if no parent is found."""
    @overload
    async def get_pixel_size_affine(self) -> tuple[float, float, float, float, float, float]:
        """Returns the current Affine Transform to related camera pixels with
        stage movement.
        """
    @overload
    async def get_pixel_size_affine(self, cached: bool) -> tuple[float, float, float, float, float, float]: ...
    async def get_pixel_size_affine_as_string(self) -> str:
        """The affine transform as Micro-Manager's metadata has it: six numbers between ``_``."""
    async def get_pixel_size_affine_by_id(self, resolution_id: str) -> tuple[float, float, float, float, float, float]:
        """Returns the Affine Transform to related camera pixels with stage movement for
        the requested pixel size group. The raw affine transform without correction for
        binning and magnification will be returned.
        """
    async def get_pixel_size_config_data(self, config_name: str) -> dict[tuple[str, str], str]:
        """Returns the configuration object for a give pixel size preset.

        A dict that maps (device, property) to the value.
        """
    @overload
    async def get_pixel_size_optimal_z_um(self) -> float:
        """Returns the optimal z step size in um, optionally using cached pixel configuration.

        There is no magic to this number, but lets the system configuration
        communicate to the end user what the optimal Z step size is for this
        pixel size configuration
        """
    @overload
    async def get_pixel_size_optimal_z_um(self, cached: bool) -> float: ...
    @overload
    async def get_pixel_size_optimal_z_um(self, resolution_id: str) -> float: ...
    @overload
    async def get_pixel_size_um(self) -> float:
        """Returns the current pixel size in microns."""
    @overload
    async def get_pixel_size_um(self, cached: bool) -> float: ...
    async def get_pixel_size_um_by_id(self, resolution_id: str) -> float:
        """Returns the pixel size in um for the requested pixel size group"""
    @overload
    async def get_pixel_sizedxdz(self) -> float:
        """Returns the angle between the camera's x axis and the axis (direction) of the z drive.

        This angle is dimensionless (i.e. the ratio of the translation in x caused by a
        translation in z, i.e. dx / dz). This angle can be different for different z
        drives (if there are multiple Z drives in the system, please add the Core-Focus
        device to the pixel size configuration). See:
        https://github.com/micro-manager/micro-manager/issues/1984
        """
    @overload
    async def get_pixel_sizedxdz(self, cached: bool) -> float: ...
    @overload
    async def get_pixel_sizedxdz(self, resolution_id: str) -> float: ...
    @overload
    async def get_pixel_sizedydz(self) -> float:
        """Returns the angle between the camera's y axis and the axis (direction) of the z drive.

        This angle is dimensionless (i.e. the ratio of the translation in x caused by a
        translation in z, i.e. dy / dz). This angle can be different for different z
        drives (if there are multiple Z drives in the system, please add the Core-Focus
        device to the pixel size configuration). See:
        https://github.com/micro-manager/micro-manager/issues/1984
        """
    @overload
    async def get_pixel_sizedydz(self, cached: bool) -> float: ...
    @overload
    async def get_pixel_sizedydz(self, resolution_id: str) -> float: ...
    @overload
    async def get_position(self) -> float:
        """Returns the current position of the current FocusDevice in microns."""
    @overload
    async def get_position(self, stage_label: str) -> float: ...
    async def get_primary_log_file(self) -> str:
        """Return the name of the primary Core log file."""
    async def get_primary_log_level(self) -> int:
        """Return the current primary log file level."""
    async def get_property(self, label: str, prop_name: str) -> str:
        """Returns the property value for the specified device.

        The return value will always be a string.  Use getPropertyType to determine the
        correct type.
        """
    async def get_property_from_cache(self, device_label: str, prop_name: str) -> str:
        """Returns the cached property value for the specified device."""
    async def get_property_lower_limit(self, label: str, prop_name: str) -> float:
        """Returns the property lower limit value, if the property has limits - 0
        otherwise.
        """
    async def get_property_sequence_max_length(self, label: str, prop_name: str) -> int:
        """Queries device property for the maximum number of events that can be put
        in a sequence
        """
    async def get_property_type(self, label: str, prop_name: str) -> int:
        """Returns the intrinsic property type."""
    async def get_property_upper_limit(self, label: str, prop_name: str) -> float:
        """Returns the property upper limit value, if the property has limits - 0
        otherwise.
        """
    async def get_pump_flowrate(self, pump_label: str) -> float:
        """Return the flowrate of the pump in uL per second"""
    async def get_pump_max_volume(self, pump_label: str) -> float:
        """Return max volume of the pump in uL"""
    async def get_pump_pressure_k_pa(self, pump_label: str) -> float:
        """Return the pressure of the pump in kPa."""
    async def get_pump_volume(self, pump_label: str) -> float:
        """Return the fluid volume in the pump in uL"""
    async def get_remaining_image_count(self) -> int:
        """Returns number ofimages available in the Circular Buffer"""
    @overload
    async def get_roi(self) -> tuple[int, int, int, int]:
        """Return the current hardware region of interest for a camera.

        If multiple ROIs are set, this method instead returns a rectangle that describes
        the image that the camera will generate. The coordinates are in units of binned
        pixels. That is, conceptually, binning is applied before the ROI.

        Returns [0,0,0,0] if no camera is selected.

        x, y, width, height in pixels.
        """
    @overload
    async def get_roi(self, label: str) -> tuple[int, int, int, int]: ...
    async def get_serial_port_answer(self, port_label: str, term: str) -> str:
        """Continuously read from the serial port until the terminating sequence is
        encountered.
        """
    async def get_shutter_device(self) -> str:
        """Returns the label of the currently selected shutter device.

        Returns empty string if no shutter device is selected.
        """
    @overload
    async def get_shutter_open(self) -> bool:
        """Returns the state of the currently selected (default) shutter."""
    @overload
    async def get_shutter_open(self, shutter_label: str) -> bool: ...
    async def get_slm_bytes_per_pixel(self, slm_label: str) -> int:
        """Returns the number of bytes per SLM pixel"""
    async def get_slm_device(self) -> str:
        """Returns the label of the currently selected SLM device.

        Returns empty string if no SLM device is selected.
        """
    async def get_slm_exposure(self, slm_label: str) -> float:
        """Returns the exposure time that will be used by the SLM for illumination"""
    async def get_slm_height(self, slm_label: str) -> int:
        """Returns the height (in "pixels") of the SLM"""
    async def get_slm_number_of_components(self, slm_label: str) -> int:
        """Returns the number of components (usually these depict colors) of the SLM.

        For instance, an RGB projector will return 3, but a grey scale SLM returns 1
        """
    async def get_slm_sequence_max_length(self, slm_label: str) -> int:
        """For SLMs that support sequences, returns the maximum length of the sequence
        that can be uploaded to the device
        """
    async def get_slm_width(self, slm_label: str) -> int:
        """Returns the width (in "pixels") of the SLM"""
    async def get_stage_sequence_max_length(self, stage_label: str) -> int:
        """Gets the maximum length of a stage's position sequence."""
    async def get_state(self, state_device_label: str) -> int:
        """Returns the current state (position) on the specific device."""
    async def get_state_from_label(self, state_device_label: str, state_label: str) -> int:
        """Obtain the state for a given label."""
    async def get_state_label(self, state_device_label: str) -> str:
        """Returns the current state as the label (string)."""
    async def get_state_labels(self, state_device_label: str) -> tuple[str, ...]:
        """Return labels for all states"""
    async def get_stderr_log_level(self) -> int:
        """Return the current stderr log level."""
    async def get_system_state(self) -> dict[tuple[str, str], str]:
        """Returns the entire system state, i.e.

        A dict that maps (device, property) to the value.
        """
    async def get_system_state_cache(self) -> dict[tuple[str, str], str]:
        """Returns the entire system state, i.e.

        A dict that maps (device, property) to the value.
        """
    async def get_tagged_image(self, camera_channel_index: int = 0) -> TaggedImage:
        """The image of the last ``snap_image()`` with its tags, as Micro-Manager's Java core gives it."""
    async def get_timeout_ms(self) -> int:
        """Get the timeout for all wait commands.

        (Default is 5000 ms)
        """
    async def get_version_info(self) -> str:
        """Displays core version."""
    @overload
    async def get_x_position(self) -> float:
        """Obtains the current position of the X axis of the XY stage in microns."""
    @overload
    async def get_x_position(self, xy_stage_label: str) -> float: ...
    @overload
    async def get_xy_position(self) -> tuple[float, float]:
        """Obtains the current position of the XY stage in microns.

        x and y in µm.
        """
    @overload
    async def get_xy_position(self, xy_stage_label: str) -> tuple[float, float]: ...
    async def get_xy_stage_device(self) -> str:
        """Returns the label of the currently selected XYStage device.

        Returns empty string if no XYStage device is selected.
        """
    async def get_xy_stage_position(self, xy_stage_label: str | None = None) -> tuple[float, float]:
        """x and y in µm."""
    async def get_xy_stage_sequence_max_length(self, xy_stage_label: str) -> int:
        """Gets the maximum length of an XY stage's position sequence."""
    @overload
    async def get_y_position(self) -> float:
        """Obtains the current position of the Y axis of the XY stage in microns."""
    @overload
    async def get_y_position(self, xy_stage_label: str) -> float: ...
    async def has_device_timeout(self, label: str) -> bool:
        """Returns True if a per-device timeout has been set for the given device."""
    async def has_property(self, label: str, prop_name: str) -> bool:
        """Checks if device has a property with a specified name."""
    async def has_property_limits(self, label: str, prop_name: str) -> bool:
        """Queries device if the specific property has limits."""
    async def home(self, xy_or_z_stage_label: str) -> None:
        """Perform a hardware homing operation for an XY or focus/Z stage."""
    async def incremental_focus(self) -> None:
        """Performs incremental focus for the one-shot focusing device."""
    async def initialize_all_devices(self) -> None:
        """Calls Initialize() method for each loaded device.

        See `ParallelDeviceInitialization` feature flag for controlling the order of
        initialization.
        """
    async def initialize_circular_buffer(self) -> None:
        """Initialize circular buffer based on the current camera settings."""
    async def initialize_device(self, label: str) -> None:
        """Initializes specific device."""
    async def invert_pump_direction(self, pump_label: str, invert: bool) -> None:
        """Sets whether the pump direction needs to be inverted"""
    async def is_buffer_overflowed(self) -> bool:
        """Indicates whether the circular buffer is overflowed"""
    async def is_config_defined(self, group_name: str, config_name: str) -> bool:
        """Checks if the configuration already exists within a group.

        If either the groupName or configName are not recognized, returns False.
        """
    async def is_continuous_focus_drive(self, stage_label: str) -> bool:
        """Check if a stage has continuous focusing capability.

        (positions can be set while continuous focus runs).
        """
    async def is_continuous_focus_enabled(self) -> bool:
        """Checks if the continuous focusing hardware device is ON or OFF."""
    async def is_continuous_focus_locked(self) -> bool:
        """Returns the lock-in status of the continuous focusing device."""
    async def is_exposure_sequenceable(self, camera_label: str) -> bool:
        """Queries camera if exposure can be used in a sequence"""
    async def is_feature_enabled(self, name: str) -> bool:
        """Return whether the given Core feature is currently enabled.

        See `enableFeature()` for the available features.

        Raises RuntimeError if the feature name is not recognized.
        """
    async def is_group_defined(self, group_name: str) -> bool:
        """Checks if the group already exists."""
    async def is_multi_roi_enabled(self) -> bool:
        """Queries the camera to determine if multiple ROIs are currently set."""
    async def is_multi_roi_supported(self) -> bool:
        """Queries the camera to determine if it supports multiple ROIs."""
    async def is_pixel_size_config_defined(self, resolution_id: str) -> bool:
        """Checks if the Pixel Size Resolution already exists"""
    async def is_property_pre_init(self, label: str, prop_name: str) -> bool:
        """Tells us whether the property must be defined prior to initialization."""
    async def is_property_read_only(self, label: str, prop_name: str) -> bool:
        """Tells us whether the property can be modified."""
    async def is_property_sequenceable(self, label: str, prop_name: str) -> bool:
        """Queries device if the specified property can be used in a sequence"""
    async def is_pump_direction_inverted(self, pump_label: str) -> bool:
        """Return True if pump direction needs to be inverted"""
    @overload
    async def is_sequence_running(self) -> bool:
        """Check if the current camera is acquiring the sequence.

        Returns false when the sequence is done
        """
    @overload
    async def is_sequence_running(self, camera_label: str) -> bool: ...
    async def is_stage_linear_sequenceable(self, stage_label: str) -> bool:
        """Queries if the stage can be used in a linear sequence.

        A linear sequence is defined by a stepsize and number of slices
        """
    async def is_stage_sequenceable(self, stage_label: str) -> bool:
        """Queries stage if it can be used in a sequence"""
    async def is_stage_using_callbacks(self, stage_label: str) -> bool:
        """Queries whether the stage uses callbacks to signal position changes."""
    async def is_xy_stage_sequenceable(self, xy_stage_label: str) -> bool:
        """Queries XY stage if it can be used in a sequence"""
    async def is_xy_stage_using_callbacks(self, xy_stage_label: str) -> bool:
        """Queries whether the XY stage uses callbacks to signal position changes."""
    async def load_device(self, label: str, module_name: str, device_name: str) -> None:
        """Loads a device from the plugin library."""
    async def load_exposure_sequence(self, camera_label: str, exposure_sequence_ms: Sequence[float]) -> None:
        """Transfer a sequence of exposure times to the camera."""
    async def load_galvo_polygons(self, galvo_label: str) -> None:
        """Load a set of galvo polygons to the device"""
    async def load_property_sequence(self, label: str, prop_name: str, event_sequence: Sequence[str]) -> None:
        """Transfer a sequence of events/states/whatever to the device.

        This should only be called for device-properties that are sequenceable
        """
    async def load_slm_sequence(self, slm_label: str, image_sequence: Sequence[bytes | NDArray[np.uint8]]) -> None:
        """Load a sequence of images into the SLM"""
    async def load_stage_sequence(self, stage_label: str, position_sequence: Sequence[float]) -> None:
        """Transfer a sequence of events/states/whatever to the device.

        This should only be called for device-properties that are sequenceable
        """
    async def load_system_configuration(self, file_name: str | os.PathLike[str]) -> None:
        """Loads the system configuration from the text file conforming to the
        MM specific format.
        """
    async def load_system_state(self, file_name: str | os.PathLike[str]) -> None:
        """Loads the system configuration from the text file conforming to the
        MM specific format.
        """
    async def load_xy_stage_sequence(self, xy_stage_label: str, x_sequence: Sequence[float], y_sequence: Sequence[float]) -> None:
        """Transfer a sequence of stage positions to the xy stage.

        xSequence and ySequence must have the same length. This should only be called
        for XY stages that are sequenceable
        """
    @overload
    async def log(self, msg: str, level: int) -> None:
        """Log a message at the given level."""
    @overload
    async def log(self, msg: str, level: int, logger_name: str) -> None: ...
    @overload
    async def log_message(self, msg: str) -> None:
        """Record text message in the log file."""
    @overload
    async def log_message(self, msg: str, debug_only: bool) -> None: ...
    async def noop(self) -> None:
        """A static method that does nothing."""
    async def point_galvo_and_fire(self, galvo_label: str, x: float, y: float, pulse_time_us: float) -> None:
        """Set the Galvo to an x,y position and fire the laser for a predetermined duration."""
    async def pop_next_image(self) -> NDArray[Any]:
        """Gets and removes the next image from the circular buffer.

        Pixels as (y, x), or (y, x, 3) in the order red, green, blue.
        """
    @overload
    async def pop_next_image_md(self) -> TaggedImage:
        """Gets and removes the next image (and metadata) from the circular buffer

        Pixels and tags; MMCore's Metadata argument is not passed.
        """
    @overload
    async def pop_next_image_md(self, channel: int, slice: int) -> TaggedImage: ...
    async def pop_next_tagged_image(self, camera_channel_index: int | None = None) -> TaggedImage:
        """Take the oldest image out of the circular buffer, with its tags."""
    async def prepare_sequence_acquisition(self, camera_label: str) -> None:
        """Prepare the camera for the sequence acquisition to save the time in the

        StartSequenceAcqusition() call which is supposed to come next.
        """
    async def pressure_pump_calibrate(self, pump_label: str) -> None:
        """Calibrates the pressure pump."""
    async def pressure_pump_requires_calibration(self, pump_label: str) -> bool:
        """Return True if pump requires calibration before operation."""
    async def pressure_pump_stop(self, pump_label: str) -> None:
        """Stops the pressure pump."""
    async def pump_dispense_duration_seconds(self, pump_label: str, seconds: float) -> None:
        """Dispenses for the provided duration (in seconds) at the set flowrate."""
    async def pump_dispense_volume_ul(self, pump_label: str, micro_liter: float) -> None:
        """Dispenses the provided volume (in uL) at the set flowrate."""
    async def pump_start(self, pump_label: str) -> None:
        """Start dispensing until syringe is empty, or manually stopped.

        (whichever occurs first).
        """
    async def read_from_serial_port(self, port_label: str) -> bytes:
        """Reads the contents of the Rx buffer."""
    async def register_callback(self, cb: object) -> None:
        """Register a callback (listener class).

        Always refused: MMCore keeps one callback only. Use ``core.events()``.
        """
    async def rename_config(self, group_name: str, old_config_name: str, new_config_name: str) -> None:
        """Renames a configuration within a specified group.

        The command will fail if the configuration was not previously defined.
        """
    async def rename_config_group(self, old_group_name: str, new_group_name: str) -> None:
        """Renames a configuration group."""
    async def rename_pixel_size_config(self, old_config_name: str, new_config_name: str) -> None:
        """Renames a pixel size configuration."""
    async def reset(self) -> None:
        """Unloads all devices from the core, clears all configuration data and property
        blocks.
        """
    async def run_galvo_polygons(self, galvo_label: str) -> None:
        """Run a loop of galvo polygons"""
    async def run_galvo_sequence(self, galvo_label: str) -> None:
        """Run a sequence of galvo positions"""
    async def save_system_configuration(self, file_name: str | os.PathLike[str]) -> None:
        """Saves the current system configuration to a text file of the MM specific format."""
    async def save_system_state(self, file_name: str | os.PathLike[str]) -> None:
        """Saves the current system state to a text file of the MM specific format."""
    @overload
    async def set_adapter_origin(self, new_z_um: float) -> None:
        """Enable software translation of coordinates for the current focus/Z stage."""
    @overload
    async def set_adapter_origin(self, stage_label: str, new_z_um: float) -> None: ...
    @overload
    async def set_adapter_origin_xy(self, new_x_um: float, new_y_um: float) -> None:
        """Enable software translation of coordinates for the current XY stage.

        The current position of the stage becomes (newXUm, newYUm). It is recommended
        that setOriginXY() be used instead where available.
        """
    @overload
    async def set_adapter_origin_xy(self, xy_stage_label: str, new_x_um: float, new_y_um: float) -> None: ...
    async def set_auto_focus_device(self, focus_label: str) -> None:
        """Sets the current auto-focus device."""
    async def set_auto_focus_offset(self, offset: float) -> None:
        """Applies offset the one-shot focusing device."""
    async def set_auto_shutter(self, state: bool) -> None:
        """If this option is enabled Shutter automatically opens and closes when the
        image is acquired.
        """
    @overload
    async def set_binning(self, binning: int) -> None:
        """Sets the binning factor of the current camera."""
    @overload
    async def set_binning(self, label: str, binning: int) -> None: ...
    async def set_camera_device(self, camera_label: str) -> None:
        """Sets the current camera device."""
    async def set_channel_group(self, channel_group: str) -> None:
        """Specifies the group determining the channel selection."""
    async def set_circular_buffer_memory_footprint(self, size_mb: int) -> None:
        """Reserve memory for the circular buffer."""
    async def set_config(self, group_name: str, config_name: str) -> None:
        """Applies a configuration to a group."""
    async def set_device_adapter_search_paths(self, paths: Sequence[str]) -> None:
        """Set the device adapter search paths."""
    async def set_device_delay_ms(self, label: str, delay_ms: float) -> None:
        """Overrides the built-in value for the action delay."""
    async def set_device_timeout_ms(self, label: str, timeout_ms: int) -> None:
        """Sets a per-device timeout in milliseconds."""
    @overload
    async def set_exposure(self, exp: float) -> None:
        """Sets the exposure setting of the current camera in milliseconds."""
    @overload
    async def set_exposure(self, camera_label: str, d_exp: float) -> None: ...
    async def set_focus_device(self, focus_label: str) -> None:
        """Sets the current focus device."""
    async def set_focus_direction(self, stage_label: str, sign: int) -> None:
        """Set the focus direction of a stage."""
    async def set_galvo_device(self, galvo_label: str) -> None:
        """Sets the current galvo device."""
    async def set_galvo_illumination_state(self, galvo_label: str, on: bool) -> None:
        """Set the galvo's illumination state to on or off"""
    async def set_galvo_polygon_repetitions(self, galvo_label: str, repetitions: int) -> None:
        """Set the number of times to loop galvo polygons"""
    async def set_galvo_position(self, galvo_label: str, x: float, y: float) -> None:
        """Set the Galvo to an x,y position."""
    async def set_galvo_spot_interval(self, galvo_label: str, pulse_time_us: float) -> None:
        """Set the SpotInterval for the specified galvo device."""
    async def set_image_processor_device(self, proc_label: str) -> None:
        """Sets the current image processor device."""
    async def set_multi_roi(self, xs: Sequence[int], ys: Sequence[int], widths: Sequence[int], heights: Sequence[int]) -> None:
        """Set multiple ROIs for the current camera device.

        Will fail if the camera does not support multiple ROIs, any widths or heights
        are non-positive, or if the vectors do not all have the same length.
        """
    @overload
    async def set_origin(self) -> None:
        """Zero the current focus/Z stage's coordinates at the current position."""
    @overload
    async def set_origin(self, stage_label: str) -> None: ...
    @overload
    async def set_origin_x(self) -> None:
        """Zero the given XY stage's X coordinate at the current position."""
    @overload
    async def set_origin_x(self, xy_stage_label: str) -> None: ...
    @overload
    async def set_origin_xy(self) -> None:
        """Zero the current XY stage's coordinates at the current position."""
    @overload
    async def set_origin_xy(self, xy_stage_label: str) -> None: ...
    @overload
    async def set_origin_y(self) -> None:
        """Zero the given XY stage's Y coordinate at the current position."""
    @overload
    async def set_origin_y(self, xy_stage_label: str) -> None: ...
    async def set_parent_label(self, device_label: str, parent_hub_label: str) -> None:
        """Sets parent device label"""
    async def set_pixel_size_affine(self, resolution_id: str, affine: Sequence[float]) -> None:
        """Sets the raw affine transform for the specific pixel size configuration.

        The affine transform consists of the first two rows of a 3x3 matrix,
        the third row is always assumed to be 0.0 0.0 1.0.
        """
    async def set_pixel_size_config(self, resolution_id: str) -> None:
        """Applies a Pixel Size Configuration."""
    async def set_pixel_size_optimal_z_um(self, resolution_id: str, optimal_z: float) -> None:
        """Sets the pixel size in the Z direction in microns."""
    async def set_pixel_size_um(self, resolution_id: str, pix_size: float) -> None:
        """Sets pixel size in microns for the specified resolution sensing
        configuration preset.
        """
    async def set_pixel_sizedxdz(self, resolution_id: str, d_xd_z: float) -> None:
        """Sets the pixel size in the X direction in microns."""
    async def set_pixel_sizedydz(self, resolution_id: str, d_yd_z: float) -> None:
        """Sets the pixel size in the Y direction in microns."""
    @overload
    async def set_position(self, position: float) -> None:
        """Sets the position of the current FocusDevice in microns."""
    @overload
    async def set_position(self, stage_label: str, position: float) -> None: ...
    @overload
    async def set_primary_log_file(self, filename: str) -> None:
        """Set the primary Core log file."""
    @overload
    async def set_primary_log_file(self, filename: str, truncate: bool) -> None: ...
    async def set_primary_log_file_rotation(self, max_file_size: int, max_backup_count: int) -> None:
        """Set the primary log file rotation parameters."""
    async def set_primary_log_level(self, level: int) -> None:
        """Set the log level for the primary log file."""
    async def set_property(self, label: str, prop_name: str, prop_value: bool | float | int | str) -> None:
        """Changes the value of the device property."""
    async def set_pump_flowrate(self, pump_label: str, volume: float) -> None:
        """Set the flowrate of the pump in uL per second"""
    async def set_pump_max_volume(self, pump_label: str, volume: float) -> None:
        """Set the max volume of the pump in uL"""
    async def set_pump_pressure_k_pa(self, pump_label: str, pressure: float) -> None:
        """Sets the pressure of the pump in kPa."""
    async def set_pump_volume(self, pump_label: str, volume: float) -> None:
        """Sets the volume of fluid in the pump in uL.

        Note it does not withdraw upto this amount. It is merely to inform MM
        of the volume in a prefilled pump.
        """
    @overload
    async def set_relative_position(self, d: float) -> None:
        """Sets the relative position of the stage in microns."""
    @overload
    async def set_relative_position(self, stage_label: str, d: float) -> None: ...
    @overload
    async def set_relative_xy_position(self, dx: float, dy: float) -> None:
        """Sets the relative position of the XY stage in microns."""
    @overload
    async def set_relative_xy_position(self, xy_stage_label: str, dx: float, dy: float) -> None: ...
    @overload
    async def set_roi(self, x: int, y: int, x_size: int, y_size: int) -> None:
        """Set the hardware region of interest for the current/specified camera.

        A successful call to this method will clear any images in the sequence buffer,
        even if the ROI does not change.

        If multiple ROIs are set prior to this call, they will be replaced by the new
        single ROI.

        The coordinates are in units of binned pixels. That is, conceptually, binning is
        applied before the ROI.
        """
    @overload
    async def set_roi(self, label: str, x: int, y: int, x_size: int, y_size: int) -> None: ...
    async def set_serial_port_command(self, port_label: str, command: str, term: str) -> None:
        """Send string to the serial device and return an answer."""
    async def set_serial_properties(
        self,
        port_name: str,
        answer_timeout: str,
        baud_rate: str,
        delay_between_chars_ms: str,
        handshaking: str,
        parity: str,
        stop_bits: str,
    ) -> None:
        """Sets all com port properties in a single call."""
    async def set_shutter_device(self, shutter_label: str) -> None:
        """the current shutter device."""
    @overload
    async def set_shutter_open(self, state: bool) -> None:
        """Opens or closes the currently selected (default) shutter."""
    @overload
    async def set_shutter_open(self, shutter_label: str, state: bool) -> None: ...
    async def set_slm_device(self, slm_label: str) -> None:
        """Sets the current slm device."""
    async def set_slm_exposure(self, slm_label: str, exposure_ms: float) -> None:
        """For SLM devices with build-in light source (such as projectors),
        this will set the exposure time, but not (yet) start the illumination
        """
    async def set_slm_image(self, slm_label: str, pixels: NDArray[np.uint8]) -> None:
        """Write an image to the SLM .

        When passing a numpy array, `pixels` must be one of the following:

        - a 2D numpy array [h,w] of uint8s, representing a grayscale image to write
          to the SLM.
        - a 3D numpy array [h,w,3] of uint8s with 3 color channels [R,G,B], representing
          an imgRGB32 image to write to the SLM.

        In both cases, the dimensions of the array should match the width and height
        of the SLM.

        !!! warning

            SLM might convert grayscale to binary internally.

        ``pixels`` is (y, x), or (y, x, 3) for red, green, blue.
        """
    @overload
    async def set_slm_pixels_to(self, slm_label: str, intensity: int) -> None:
        """Set all SLM pixels to a single 8-bit intensity."""
    @overload
    async def set_slm_pixels_to(self, slm_label: str, red: int, green: int, blue: int) -> None: ...
    async def set_stage_linear_sequence(self, stage_label: str, d_z_um: float, n_slices: int) -> None:
        """Loads a linear sequence (defined by stepsize and nr. of steps) into the device."""
    async def set_state(self, state_device_label: str, state: int) -> None:
        """Sets the state (position) on the specific device."""
    async def set_state_label(self, state_device_label: str, state_label: str) -> None:
        """Sets device state using the previously assigned label (string)."""
    async def set_stderr_log_level(self, level: int) -> None:
        """Set the stderr log level."""
    async def set_system_state(self, conf: Mapping[tuple[str, str], Any]) -> None:
        """Sets all properties contained in the Configuration object.

        ``conf`` maps (device, property) to a value, as ``get_system_state()`` gives it.
        """
    async def set_timeout_ms(self, timeout_ms: int) -> None:
        """Sets the timeout for all wait commands.

        (Default is 5000 ms)
        """
    @overload
    async def set_xy_position(self, x: float, y: float) -> None:
        """Sets the position of the XY stage in microns."""
    @overload
    async def set_xy_position(self, xy_stage_label: str, x: float, y: float) -> None: ...
    async def set_xy_stage_device(self, xy_stage_label: str) -> None:
        """Sets the current XY device."""
    async def sleep(self, interval_ms: float) -> None:
        """Waits (blocks the calling thread) for specified time in milliseconds."""
    async def snap(self) -> NDArray[Any]:
        """Expose, and give the image: (y, x), or (y, x, 3) in the order red, green, blue.

        One call on the hardware thread. Of a camera with several channels, the first.
        """
    async def snap_image(self) -> None:
        """Acquires a single image with current settings."""
    async def start_continuous_sequence_acquisition(self, interval_ms: float) -> None:
        """Starts the continuous camera sequence acquisition."""
    async def start_exposure_sequence(self, camera_label: str) -> None:
        """Starts an ongoing sequence of triggered exposures in a camera.

        This should only be called for cameras where exposure time is sequenceable
        """
    async def start_property_sequence(self, label: str, prop_name: str) -> None:
        """Starts an ongoing sequence of triggered events in a property of a device.

        This should only be called for device-properties that are sequenceable
        """
    @overload
    async def start_secondary_log_file(self, filename: str, enable_debug: bool) -> int:
        """Start capturing logging output into an additional file."""
    @overload
    async def start_secondary_log_file(self, filename: str, enable_debug: bool, truncate: bool) -> int: ...
    @overload
    async def start_secondary_log_file(self, filename: str, enable_debug: bool, truncate: bool, synchronous: bool) -> int: ...
    @overload
    async def start_sequence_acquisition(self, num_images: int, unused: float, stop_on_overflow: bool) -> None:
        """MMCore's ``startSequenceAcquisition``."""
    @overload
    async def start_sequence_acquisition(self, camera_label: str, num_images: int, unused: float, stop_on_overflow: bool) -> None: ...
    async def start_slm_sequence(self, slm_label: str) -> None:
        """Starts the sequence previously uploaded to the SLM"""
    async def start_stage_sequence(self, stage_label: str) -> None:
        """Starts an ongoing sequence of triggered events in a stage.

        This should only be called for stages
        """
    async def start_xy_stage_sequence(self, xy_stage_label: str) -> None:
        """Starts an ongoing sequence of triggered events in an XY stage.

        This should only be called for stages
        """
    async def stderr_log_enabled(self) -> bool:
        """Indicates whether logging output goes to stdErr"""
    async def stop(self, xy_or_z_stage_label: str) -> None:
        """Stop the XY or focus/Z stage motors"""
    async def stop_exposure_sequence(self, camera_label: str) -> None:
        """Stops an ongoing sequence of triggered exposures in a camera.

        This should only be called for cameras where exposure time is sequenceable
        """
    async def stop_property_sequence(self, label: str, prop_name: str) -> None:
        """Stops an ongoing sequence of triggered events in a property of a device.

        This should only be called for device-properties that are sequenceable
        """
    async def stop_secondary_log_file(self, handle: int) -> None:
        """Stop capturing logging output into an additional file."""
    @overload
    async def stop_sequence_acquisition(self) -> None:
        """Stops streaming camera sequence acquisition."""
    @overload
    async def stop_sequence_acquisition(self, camera_label: str) -> None: ...
    async def stop_slm_sequence(self, slm_label: str) -> None:
        """Stops the SLM sequence if previously started"""
    async def stop_stage_sequence(self, stage_label: str) -> None:
        """Stops an ongoing sequence of triggered events in a stage.

        This should only be called for stages that are sequenceable
        """
    async def stop_xy_stage_sequence(self, xy_stage_label: str) -> None:
        """Stops an ongoing sequence of triggered events in an XY stage.

        This should only be called for stages that are sequenceable
        """
    async def supports_device_detection(self, device_label: str) -> bool:
        """Return whether or not the device supports automatic device detection (i.e."""
    async def system_busy(self) -> bool:
        """Checks the busy status of the entire system."""
    async def unload_all_devices(self) -> None:
        """Unloads all devices from the core and resets all configuration data."""
    async def unload_device(self, label: str) -> None:
        """Unloads the device from the core and adjusts all configuration data."""
    async def unload_library(self, module_name: str) -> None:
        """Forcefully unload a library."""
    async def unset_device_timeout(self, label: str) -> None:
        """Removes any per-device timeout, restoring the default."""
    async def update_core_properties(self) -> None:
        """Updates CoreProperties (currently all Core properties are devices types) with
        the loaded hardware.
        """
    async def update_system_state_cache(self) -> None:
        """Updates the state of the entire hardware."""
    async def uses_device_delay(self, label: str) -> bool:
        """Signals if the device will use the delay setting or not."""
    async def volumetric_pump_home(self, pump_label: str) -> None:
        """Homes the volumetric pump."""
    async def volumetric_pump_requires_homing(self, pump_label: str) -> bool:
        """Return True if the volumetric pump requires homing."""
    async def volumetric_pump_stop(self, pump_label: str) -> None:
        """Stops the volumetric pump."""
    async def wait_for_config(self, group: str, config_name: str) -> None:
        """Blocks until all devices included in the configuration become ready."""
    async def wait_for_device(self, label: str) -> None:
        """Waits (blocks the calling thread) until the specified device becomes non-busy."""
    async def wait_for_device_type(self, dev_type: int) -> None:
        """Blocks until all devices of the specific type become ready (not-busy)."""
    async def wait_for_system(self) -> None:
        """Blocks until all devices in the system become ready (not-busy)."""
    async def write_to_serial_port(self, port_label: str, data: bytes) -> None:
        """Sends an array of characters to the serial port and returns immediately."""
