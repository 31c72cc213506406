package aiomm.host;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import mmcorej.DeviceType;
import mmcorej.MMEventCallback;

/** The part of the simulated core that knows devices, properties, roles, config groups and who listens. */
abstract class Devices {
  final Map<String, Device> devices = new LinkedHashMap<>();
  final Map<String, Map<String, Natives.Configuration>> groups = new LinkedHashMap<>();
  final Map<String, Natives.Configuration> pixelSizes = new LinkedHashMap<>();
  final Map<String, Double> pixelSizeUm = new LinkedHashMap<>();
  /** Which property of Core names the device that has a role. */
  static final Map<DeviceType, String> ROLES = Map.of(DeviceType.CameraDevice, "Camera", DeviceType.ShutterDevice, "Shutter",
      DeviceType.StageDevice, "Focus", DeviceType.XYStageDevice, "XYStage", DeviceType.AutoFocusDevice, "AutoFocus",
      DeviceType.ImageProcessorDevice, "ImageProcessor", DeviceType.SLMDevice, "SLM", DeviceType.GalvoDevice, "Galvo");
  volatile MMEventCallback callback;
  private final ExecutorService notifier = Executors.newSingleThreadExecutor(task -> {
    Thread thread = new Thread(task, "simulated core callbacks");
    thread.setDaemon(true);
    return thread;
  });
  int sequenceLimit = 100;
  volatile boolean sequenceable;
  volatile double moveMs;

  /** Nothing but Core is left. */
  void clear() {
    devices.clear();
    groups.clear();
    pixelSizes.clear();
    pixelSizeUm.clear();
    Device core = device("Core", DeviceType.CoreDevice);
    core.add("AutoShutter", 1).allowed("0", "1");
    core.add("Initialize", 1).allowed("0", "1");
    core.add("TimeoutMs", 5000);
    ROLES.values().forEach(role -> core.add(role, ""));
    core.add("ChannelGroup", "");
  }

  void load() {
    clear();
    Device core = devices.remove("Core"); // it comes last
    for (String camera : new String[] {"Camera", "Camera 2"}) {
      Device made = device(camera, DeviceType.CameraDevice);
      made.add("Binning", 1).allowed("1", "2", "4", "8");
      made.add("PixelType", "16bit").allowed("8bit", "16bit", "32bit", "32bitRGB");
      made.add("BitDepth", 16).allowed("8", "10", "12", "14", "16", "32");
      made.add("Exposure", 10.0).limits(0, 60000);
      made.add("Gain", 0).limits(-5, 8).sequenceable();
      made.add("Offset", 0.0);
      made.add("OnCameraCCDXSize", 512).limits(1, 2048);
      made.add("OnCameraCCDYSize", 512).limits(1, 2048);
      made.add("CCDTemperature", -20.5).readOnly();
      made.add("ScanMode", 1).allowed("1", "2", "3");
      made.add("CameraID", "V1.0").readOnly();
      made.add("MaximumExposureMs", 60000.0).preInit();
    }
    device("Z", DeviceType.StageDevice).add("Position", 0.0).limits(-1000, 1000).sequenceable();
    device("Z 2", DeviceType.StageDevice).add("Position", 0.0).limits(-1000, 1000).sequenceable();
    device("XY", DeviceType.XYStageDevice).add("Velocity", 10.0).limits(0.1, 100);
    device("Shutter", DeviceType.ShutterDevice).add("State", 0).allowed("0", "1");
    state("Filter", "Empty", "DAPI", "FITC", "Cy5", "Rhodamine");
    state("Objective", "10X", "20X", "40X");
    Device led = device("LED", DeviceType.GenericDevice);
    led.add("Color", "none").allowed("none", "DAPI", "FITC", "Cy5", "Rhodamine").sequenceable();
    led.add("Intensity", 0.0).limits(0, 100).sequenceable();
    led.add("Level", 1).limits(0, 10);
    led.add("Note", "");
    device("SLM", DeviceType.SLMDevice).add("Inversion", "Off").allowed("Off", "On");
    Device truth = device("Image", DeviceType.GenericDevice);
    for (String name : Frame.TRUTH) {
      truth.add(name, "").readOnly();
    }
    devices.put("Core", core);
    core.properties.get("Camera").value = "Camera";
    core.properties.get("Shutter").value = "Shutter";
    core.properties.get("Focus").value = "Z";
    core.properties.get("XYStage").value = "XY";
    core.properties.get("SLM").value = "SLM";
    core.properties.get("ChannelGroup").value = "Channel";
    for (String channel : new String[] {"DAPI", "FITC", "Cy5", "Rhodamine"}) {
      preset("Channel", channel, "LED", "Color", channel);
    }
    preset("Slow Channel", "DAPI", "Filter", "Label", "DAPI");
    preset("Slow Channel", "FITC", "Filter", "Label", "FITC");
    preset("Camera", "LowRes", "Camera", "Binning", "2");
    preset("Camera", "HighRes", "Camera", "Binning", "1");
    preset("System", "Startup", "Camera", "BitDepth", "16");
    double um = 1;
    for (String objective : new String[] {"10X", "20X", "40X"}) {
      preset("Objective", objective, "Objective", "Label", objective);
      Natives.Configuration size = new Natives.Configuration();
      size.addSetting(new Natives.Setting("Objective", "Label", objective, false));
      pixelSizes.put("Res" + objective, size);
      pixelSizeUm.put("Res" + objective, um);
      um /= 2;
    }
  }

  private Device device(String label, DeviceType type) {
    Device device = new Device(label, type);
    devices.put(label, device);
    return device;
  }

  private void state(String label, String... labels) {
    Device device = device(label, DeviceType.StateDevice);
    device.add("State", 0).limits(0, labels.length - 1);
    device.add("Label", labels[0]).allowed(labels);
  }

  private void preset(String group, String name, String device, String property, String value) {
    groups.computeIfAbsent(group, g -> new LinkedHashMap<>()).computeIfAbsent(name, n -> new Natives.Configuration())
        .addSetting(new Natives.Setting(device, property, value, false));
  }

  Device find(String label) throws Exception {
    Device device = devices.get(label);
    if (device == null) {
      throw new Exception("No device with label \"" + label + "\"");
    }
    return device;
  }

  Device.Property find(String label, String property) throws Exception {
    Device.Property found = find(label).properties.get(property);
    if (found == null) {
      throw new Exception("Device \"" + label + "\" has no property \"" + property + "\"");
    }
    return found;
  }

  Device role(DeviceType type) throws Exception {
    return find(roleLabel(type));
  }

  String roleLabel(DeviceType type) {
    return devices.get("Core").text(ROLES.get(type));
  }

  void tell(Consumer<MMEventCallback> event) {
    MMEventCallback listener = callback;
    if (listener != null) {
      notifier.execute(() -> event.accept(listener));
    }
  }

  /** Called when a property has a new value, so that what hangs on it follows. */
  void changed(Device device, String property) {}

  void store(Device device, String property, String value) {
    Device before = device.type == DeviceType.CoreDevice && property.equals("Shutter") ? devices.get(device.text(property)) : null;
    boolean wasOpen = before != null && !before.label.equals(value) && before.text("State").equals("1");
    if (wasOpen) { // as MMCore: it closes the shutter that it had, and opens the one that it gets
      store(before, "State", "0");
    }
    device.properties.get(property).value = value;
    if (wasOpen && !value.isEmpty()) {
      store(devices.get(value), "State", "1");
    }
    if (device.type == DeviceType.StateDevice && device.properties.containsKey("Label")
        && (property.equals("State") || property.equals("Label"))) {
      List<String> labels = device.properties.get("Label").allowed;
      if (property.equals("State")) {
        device.properties.get("Label").value = labels.get((int) Double.parseDouble(value));
      } else {
        device.properties.get("State").value = String.valueOf(labels.indexOf(value));
      }
    }
    changed(device, property);
    tell(listener -> listener.onPropertyChanged(device.label, property, value));
    groups.forEach((group, presets) -> {
      if (presets.values().stream().anyMatch(p -> p.isPropertyIncluded(device.label, property))) {
        String now = current(presets);
        tell(listener -> listener.onConfigGroupChanged(group, now));
      }
    });
    if (device.label.equals("Objective")) {
      double um = pixelSizeUm.getOrDefault(current(pixelSizes), 0.0);
      tell(listener -> listener.onPixelSizeChanged(um));
    }
  }

  void moving(Device device) {
    device.busyUntil = System.nanoTime() + (long) ((moveMs + device.delayMs) * 1e6);
  }

  String current(Map<String, Natives.Configuration> presets) {
    Natives.Configuration now = state();
    return presets.entrySet().stream().filter(e -> now.isConfigurationIncluded(e.getValue())).map(Map.Entry::getKey).findFirst().orElse("");
  }

  /** What the properties are, those of the image that was last taken out included. */
  Natives.Configuration state() {
    Natives.Configuration state = new Natives.Configuration();
    Map<String, String> truth = Frame.LAST.get();
    for (Device device : devices.values()) {
      for (Device.Property property : device.properties.values()) {
        String value = device.label.equals("Image") ? truth.getOrDefault(property.name, "") : property.value;
        state.settings.add(new Natives.Setting(device.label, property.name, value, property.readOnly));
      }
    }
    return state;
  }

  // Devices and properties

  public Natives.Vector getLoadedDevices() {
    return Natives.Vector.of(devices.keySet());
  }

  public Natives.Vector getLoadedDevicesOfType(int type) {
    return Natives.Vector.of(devices.values().stream().filter(d -> type == DeviceType.AnyType.swigValue() || d.type.swigValue() == type)
        .map(d -> d.label).collect(Collectors.toList()));
  }

  public int getDeviceType(String label) throws Exception {
    return find(label).type.swigValue();
  }

  public String getDeviceLibrary(String label) throws Exception {
    return find(label).type == DeviceType.CoreDevice ? "" : find(label).adapter;
  }

  public String getDeviceName(String label) throws Exception {
    return find(label).name;
  }

  public String getDeviceDescription(String label) throws Exception {
    return "Simulated " + find(label).label + " (µm)";
  }

  public String getParentLabel(String label) throws Exception {
    return find(label).parent;
  }

  public void setParentLabel(String label, String parent) throws Exception {
    find(label).parent = parent;
  }

  public void loadDevice(String label, String library, String name) throws Exception {
    if (devices.containsKey(label)) {
      throw new Exception("The label \"" + label + "\" is in use");
    }
    devices.put(label, Catalog.make(label, library, name));
  }

  public void initializeDevice(String label) throws Exception {
    find(label);
  }

  public void setDeviceAdapterSearchPaths(Natives.Vector paths) {}

  /** Devices become what Core uses where nothing has been chosen, as when a configuration is loaded. */
  void takeRoles() {
    Device core = devices.get("Core");
    for (Device device : devices.values()) {
      String role = ROLES.get(device.type);
      if (role != null && core.text(role).isEmpty()) {
        core.properties.get(role).value = device.label;
      }
    }
  }

  public void defineStateLabel(String label, int state, String name) throws Exception {
    Device device = find(label);
    Device.Property labels = find(label, "Label");
    labels.allowed = new ArrayList<>(labels.allowed);
    labels.allowed.set(state, name);
    labels.value = labels.allowed.get((int) Double.parseDouble(device.text("State")));
  }

  public void definePixelSizeConfig(String id, String device, String property, String value) {
    pixelSizes.computeIfAbsent(id, i -> new Natives.Configuration()).addSetting(new Natives.Setting(device, property, value, false));
  }

  public void setPixelSizeUm(String id, double um) {
    pixelSizeUm.put(id, um);
  }

  public Natives.Vector getDevicePropertyNames(String label) throws Exception {
    return Natives.Vector.of(find(label).properties.keySet());
  }

  public boolean hasProperty(String label, String property) throws Exception {
    return find(label).properties.containsKey(property);
  }

  public String getProperty(String label, String property) throws Exception {
    Device.Property found = find(label, property);
    return label.equals("Image") ? Frame.LAST.get().getOrDefault(property, "") : found.value;
  }

  public String getPropertyFromCache(String label, String property) throws Exception {
    return getProperty(label, property);
  }

  public void setProperty(String label, String property, Object value) throws Exception {
    Device device = find(label);
    String text = find(label, property).checked(label, value);
    moving(device);
    store(device, property, text);
  }

  public Natives.Vector getAllowedPropertyValues(String label, String property) throws Exception {
    return Natives.Vector.of(find(label, property).allowed);
  }

  public boolean isPropertyReadOnly(String label, String property) throws Exception {
    return find(label, property).readOnly;
  }

  public boolean isPropertyPreInit(String label, String property) throws Exception {
    return find(label, property).preInit;
  }

  public boolean hasPropertyLimits(String label, String property) throws Exception {
    return !Double.isNaN(find(label, property).lower);
  }

  public double getPropertyLowerLimit(String label, String property) throws Exception {
    return hasPropertyLimits(label, property) ? find(label, property).lower : 0;
  }

  public double getPropertyUpperLimit(String label, String property) throws Exception {
    return hasPropertyLimits(label, property) ? find(label, property).upper : 0;
  }

  public int getPropertyType(String label, String property) throws Exception {
    return find(label, property).kind;
  }

  public void setState(String label, int state) throws Exception {
    setProperty(label, "State", state);
  }

  public int getState(String label) throws Exception {
    return Integer.parseInt(getProperty(label, "State"));
  }

  public int getNumberOfStates(String label) throws Exception {
    return find(label, "Label").allowed.size();
  }

  public void setStateLabel(String label, String name) throws Exception {
    setProperty(label, "Label", name);
  }

  public String getStateLabel(String label) throws Exception {
    return getProperty(label, "Label");
  }

  public Natives.Vector getStateLabels(String label) throws Exception {
    return Natives.Vector.of(find(label, "Label").allowed);
  }

  public int getStateFromLabel(String label, String name) throws Exception {
    return find(label, "Label").allowed.indexOf(name);
  }

  // Config groups

  private Map<String, Natives.Configuration> group(String name) throws Exception {
    Map<String, Natives.Configuration> presets = groups.get(name);
    if (presets == null) {
      throw new Exception("Config group \"" + name + "\" does not exist");
    }
    return presets;
  }

  public Natives.Vector getAvailableConfigGroups() {
    return Natives.Vector.of(groups.keySet());
  }

  public Natives.Vector getAvailableConfigs(String group) {
    return Natives.Vector.of(groups.getOrDefault(group, Map.of()).keySet());
  }

  public boolean isGroupDefined(String group) {
    return groups.containsKey(group);
  }

  public boolean isConfigDefined(String group, String preset) {
    return groups.containsKey(group) && groups.get(group).containsKey(preset);
  }

  public void defineConfigGroup(String group) {
    groups.putIfAbsent(group, new LinkedHashMap<>());
  }

  public void defineConfig(String group, String preset) {
    groups.computeIfAbsent(group, g -> new LinkedHashMap<>()).putIfAbsent(preset, new Natives.Configuration());
  }

  public void defineConfig(String group, String preset, String device, String property, String value) {
    preset(group, preset, device, property, value);
  }

  public void deleteConfigGroup(String group) throws Exception {
    group(group);
    groups.remove(group);
  }

  public void deleteConfig(String group, String preset) throws Exception {
    getConfigData(group, preset);
    groups.get(group).remove(preset);
  }

  public Natives.Configuration getConfigData(String group, String preset) throws Exception {
    Natives.Configuration data = group(group).get(preset);
    if (data == null) {
      throw new Exception("Config group \"" + group + "\" has no preset \"" + preset + "\"");
    }
    return data;
  }

  public void setConfig(String group, String preset) throws Exception {
    for (Natives.Setting setting : new ArrayList<>(getConfigData(group, preset).settings)) {
      setProperty(setting.device, setting.property, setting.value);
    }
  }

  public String getCurrentConfig(String group) throws Exception {
    return group.isEmpty() ? "" : current(group(group));
  }

  public String getCurrentConfigFromCache(String group) throws Exception {
    return getCurrentConfig(group);
  }

  public Natives.Configuration getConfigState(String group, String preset) throws Exception {
    return now(List.of(getConfigData(group, preset)));
  }

  public Natives.Configuration getConfigGroupState(String group) throws Exception {
    return now(group(group).values());
  }

  public Natives.Configuration getConfigGroupStateFromCache(String group) throws Exception {
    return getConfigGroupState(group);
  }

  private Natives.Configuration now(Iterable<Natives.Configuration> presets) throws Exception {
    Natives.Configuration now = new Natives.Configuration();
    for (Natives.Configuration preset : presets) {
      for (Natives.Setting s : preset.settings) {
        now.addSetting(new Natives.Setting(s.device, s.property, getProperty(s.device, s.property), false));
      }
    }
    return now;
  }

  public Natives.Configuration getSystemState() {
    return state();
  }

  public Natives.Configuration getSystemStateCache() {
    return state();
  }

  public void updateSystemStateCache() {}

  public void setSystemState(Natives.Configuration state) throws Exception {
    for (Natives.Setting setting : state.settings) {
      if (!find(setting.device, setting.property).readOnly) {
        setProperty(setting.device, setting.property, setting.value);
      }
    }
  }

  public String getChannelGroup() {
    return devices.get("Core").text("ChannelGroup");
  }

  public void setChannelGroup(String group) throws Exception {
    if (!group.isEmpty()) {
      group(group);
    }
    store(devices.get("Core"), "ChannelGroup", group);
    tell(listener -> listener.onChannelGroupChanged(group));
  }

  // Pixel size

  public Natives.Vector getAvailablePixelSizeConfigs() {
    return Natives.Vector.of(pixelSizes.keySet());
  }

  public String getCurrentPixelSizeConfig() {
    return current(pixelSizes);
  }

  public String getCurrentPixelSizeConfig(boolean cached) {
    return current(pixelSizes);
  }

  public double getPixelSizeUm() {
    Device camera = devices.get(roleLabel(DeviceType.CameraDevice));
    double binning = camera != null && camera.properties.containsKey("Binning") ? Double.parseDouble(camera.text("Binning")) : 1;
    return pixelSizeUm.getOrDefault(current(pixelSizes), 0.0) * binning;
  }

  public double getPixelSizeUm(boolean cached) {
    return getPixelSizeUm();
  }

  public double getPixelSizeUmByID(String id) throws Exception {
    if (!pixelSizeUm.containsKey(id)) {
      throw new Exception("No pixel size config \"" + id + "\"");
    }
    return pixelSizeUm.get(id);
  }

  public Natives.Vector getPixelSizeAffine() {
    double um = getPixelSizeUm();
    return Natives.Vector.of(List.of(um, 0.0, 0.0, 0.0, um, 0.0));
  }

  public Natives.Vector getPixelSizeAffine(boolean cached) {
    return getPixelSizeAffine();
  }

  public double getMagnificationFactor() {
    return 1;
  }
}
