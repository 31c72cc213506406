package aiomm.host;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import mmcorej.DeviceType;

/** The devices that tests load by name, as DemoCamera, Utilities and SequenceTester have them, and configuration files that name them. */
final class Catalog {
  private Catalog() {}

  /** A new device of an adapter, or an error that names it. */
  static Device make(String label, String library, String name) throws Exception {
    Device device = new Device(label, type(library, name));
    device.adapter = library;
    device.name = name;
    device.add("Name", name).readOnly();
    switch (device.type.toString()) {
      case "CameraDevice":
        camera(device);
        break;
      case "StageDevice":
        device.add("Position", 0.0);
        device.add("UseSequences", "No").allowed("No", "Yes");
        break;
      case "StateDevice":
        states(device);
        break;
      case "ShutterDevice":
        device.add("State", 0).allowed("0", "1");
        device.add("State Device", "");
        break;
      case "XYStageDevice":
        device.add("Velocity", 10.0);
        break;
      default:
        break;
    }
    if (library.equals("SequenceTester")) {
      device.add("TriggerSourceDevice", "");
      device.add("TriggerSourcePort", "");
      device.add("TriggerSequenceMaxLength", 0);
    }
    return device;
  }

  private static DeviceType type(String library, String name) throws Exception {
    String plain = library.equals("SequenceTester") ? name.replaceAll("-\\d+$", "") : name;
    switch (plain) {
      case "DHub":
      case "THub":
        return DeviceType.HubDevice;
      case "DCam":
      case "TCamera":
      case "Multi Camera":
        return DeviceType.CameraDevice;
      case "DStage":
      case "TZStage":
        return DeviceType.StageDevice;
      case "DXYStage":
      case "TXYStage":
        return DeviceType.XYStageDevice;
      case "DShutter":
      case "TShutter":
      case "State Device Shutter":
        return DeviceType.ShutterDevice;
      case "DAutoFocus":
        return DeviceType.AutoFocusDevice;
      case "DWheel":
      case "DObjective":
      case "DLightPath":
      case "DStateDevice":
      case "TSwitcher":
        return DeviceType.StateDevice;
      default:
        throw new Exception("Adapter \"" + library + "\" has no device \"" + name + "\"");
    }
  }

  private static void camera(Device device) {
    if (device.name.equals("Multi Camera")) {
      for (int i = 1; i <= 4; i++) {
        device.add("Physical Camera " + i, "Undefined");
      }
      return;
    }
    boolean tester = device.adapter.equals("SequenceTester");
    device.add("Binning", 1).allowed(tester ? new String[] {"1"} : new String[] {"1", "2", "4", "8"});
    device.add("PixelType", "8bit").allowed("8bit", "16bit", "32bit", "32bitRGB");
    device.add("BitDepth", tester ? 8 : 16).allowed("8", "10", "11", "12", "14", "16", "32");
    device.add("Exposure", 10.0).limits(0, tester ? 1000 : 10000);
    if (tester) {
      device.add("ImageMode", "HumanReadable").allowed("HumanReadable", "MachineReadable");
      device.add("ImageWidth", 256).limits(32, 4096);
      device.add("ImageHeight", 256).limits(32, 4096);
      return;
    }
    device.add("Gain", 0).limits(-5, 8);
    device.add("Offset", 0);
    device.add("OnCameraCCDXSize", 512);
    device.add("OnCameraCCDYSize", 512);
    device.add("CCDTemperature", 0.0).limits(-100, 10);
    device.add("ScanMode", 1).allowed("1", "2", "3");
    device.add("CameraID", "V1.0").readOnly();
    device.add("CameraName", "DemoCamera-MultiMode").readOnly();
    device.add("MaximumExposureMs", 10000.0).preInit();
  }

  private static void states(Device device) {
    device.add("State", 0);
    if (device.name.startsWith("TSwitcher")) {
      device.properties.get("State").limits(0, 16);
      return;
    }
    int count = device.name.equals("DLightPath") ? 3 : device.name.equals("DObjective") ? 6 : 10;
    List<String> labels = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      labels.add("State-" + i);
    }
    device.properties.get("State").limits(0, count - 1);
    device.add("Label", labels.get(0)).allowed = labels;
    device.add("Number of positions", count);
  }

  /** Build what a configuration file describes; false if it describes no devices. */
  static boolean load(Microscope core, String file) throws Exception {
    List<String[]> lines = new ArrayList<>();
    try {
      for (String line : Files.readAllLines(Path.of(file))) {
        if (!line.isBlank() && !line.startsWith("#")) {
          lines.add(line.split(","));
        }
      }
    } catch (IOException e) {
      throw new Exception("Configuration file \"" + file + "\" cannot be read: " + e.getMessage());
    }
    if (lines.stream().noneMatch(line -> line[0].equals("Device"))) {
      return false;
    }
    core.unloadAllDevices();
    for (String[] line : lines) {
      apply(core, line[0], Arrays.copyOfRange(line, 1, line.length));
    }
    core.takeRoles();
    if (core.isConfigDefined("System", "Startup")) {
      core.setConfig("System", "Startup");
    }
    return true;
  }

  private static void apply(Microscope core, String kind, String[] f) throws Exception {
    switch (kind) {
      case "Device":
        core.loadDevice(f[0], f[1], f[2]);
        break;
      case "Property":
        core.setProperty(f[0], f[1], f.length > 2 ? f[2] : "");
        break;
      case "Parent":
        core.setParentLabel(f[0], f[1]);
        break;
      case "Label":
        core.defineStateLabel(f[0], Integer.parseInt(f[1]), f[2]);
        break;
      case "ConfigGroup":
        core.defineConfig(f[0], f[1], f[2], f[3], f.length > 4 ? f[4] : "");
        break;
      case "ConfigPixelSize":
        core.definePixelSizeConfig(f[0], f[1], f[2], f[3]);
        break;
      case "PixelSize_um":
        core.setPixelSizeUm(f[0], Double.parseDouble(f[1]));
        break;
      default:
        break;
    }
  }
}
