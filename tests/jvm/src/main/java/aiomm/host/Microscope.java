package aiomm.host;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import mmcorej.DeviceType;
import mmcorej.MMEventCallback;

/** The simulated microscope below mmcorej.CMMCore: stages, roles, waits, hardware sequences. A method is the core method of that name. */
public final class Microscope extends Imaging {
  public static final Microscope INSTANCE = new Microscope();
  private final Map<String, Double> focusDirections = new HashMap<>();
  private int timeoutMs = 5000;
  private String logFile = "";
  private boolean debugLog;
  private int slm;
  private int slmShown;

  private Microscope() {
    load();
  }

  /** Put the devices back as they are when the host starts. */
  void restore() throws Exception {
    stopAll();
    load();
    setCircularBufferMemoryFootprint(256);
    dropAfter(-1);
    lose(-1);
    fast = false;
    sequenceable = false;
    sequenceLimit = 100;
    moveMs = 0;
    timeoutMs = 5000;
    slmShown = 0;
  }

  @Override
  int slmShown() {
    return slmShown;
  }

  // Life and log

  public void loadSystemConfiguration(String file) throws Exception {
    if (!new java.io.File(file).isFile()) {
      throw new Exception("Configuration file \"" + file + "\" does not exist");
    }
    if (!Catalog.load(this, file)) {
      load();
    }
    tell(MMEventCallback::onSystemConfigurationLoaded);
  }

  @Override
  public void loadDevice(String label, String library, String name) throws Exception {
    super.loadDevice(label, library, name);
    settings.wanted |= library.equals("SequenceTester");
  }

  public void unloadAllDevices() throws Exception {
    stopAll();
    clear();
    clearCircularBuffer();
  }

  public void reset() throws Exception {
    restore();
  }

  public void initializeAllDevices() {}

  public String getVersionInfo() {
    return "MMCore version 10.1.1 (simulated)";
  }

  public String getAPIVersionInfo() {
    return "Device API version 70, Module API version 10";
  }

  public String getUserId() {
    return "aiomm";
  }

  public String getHostName() {
    return "localhost";
  }

  /** As in MMCore there is one place: the next callback takes that of the one before, null leaves none. */
  public void registerCallback(MMEventCallback listener) {
    callback = listener;
  }

  public void logMessage(String text) {
    System.out.println("log: " + text);
  }

  public void logMessage(String text, boolean debugOnly) {
    logMessage(text);
  }

  public void setPrimaryLogFile(String file) {
    logFile = file;
  }

  public String getPrimaryLogFile() {
    return logFile;
  }

  public void enableDebugLog(boolean on) {
    debugLog = on;
  }

  public boolean debugLogEnabled() {
    return debugLog;
  }

  public void enableStderrLog(boolean on) {}

  public boolean stderrLogEnabled() {
    return true;
  }

  public String getCoreErrorText(int code) {
    return "Error " + code;
  }

  // Roles

  private void setRole(DeviceType type, String label) throws Exception {
    if (!label.isEmpty() && find(label).type != type) {
      throw new Exception("Device \"" + label + "\" is not a " + type);
    }
    store(devices.get("Core"), ROLES.get(type), label);
  }

  public String getCameraDevice() {
    return roleLabel(DeviceType.CameraDevice);
  }

  public void setCameraDevice(String label) throws Exception {
    setRole(DeviceType.CameraDevice, label);
  }

  public String getShutterDevice() {
    return roleLabel(DeviceType.ShutterDevice);
  }

  public void setShutterDevice(String label) throws Exception {
    setRole(DeviceType.ShutterDevice, label);
  }

  public String getFocusDevice() {
    return roleLabel(DeviceType.StageDevice);
  }

  public void setFocusDevice(String label) throws Exception {
    setRole(DeviceType.StageDevice, label);
  }

  public String getXYStageDevice() {
    return roleLabel(DeviceType.XYStageDevice);
  }

  public void setXYStageDevice(String label) throws Exception {
    setRole(DeviceType.XYStageDevice, label);
  }

  public String getAutoFocusDevice() {
    return roleLabel(DeviceType.AutoFocusDevice);
  }

  public String getImageProcessorDevice() {
    return roleLabel(DeviceType.ImageProcessorDevice);
  }

  public String getSLMDevice() {
    return roleLabel(DeviceType.SLMDevice);
  }

  public String getGalvoDevice() {
    return roleLabel(DeviceType.GalvoDevice);
  }

  // Waits

  public boolean deviceBusy(String label) throws Exception {
    return find(label).busy();
  }

  public boolean systemBusy() {
    return devices.values().stream().anyMatch(Device::busy);
  }

  public boolean deviceTypeBusy(int type) {
    return devices.values().stream().anyMatch(d -> d.type.swigValue() == type && d.busy());
  }

  public void waitForDevice(String label) throws Exception {
    Device device = find(label);
    awaitModule(device);
    long end = System.nanoTime() + timeoutMs * 1000000L;
    while (device.busy() || (Boolean) Calls.through("deviceBusy", new Object[] {label})) {
      if (System.nanoTime() > end) {
        throw new Exception("wait timed out after " + timeoutMs + "ms: device \"" + label + "\" is still busy");
      }
      Thread.sleep(1);
    }
  }

  public void waitForDeviceType(int type) throws Exception {
    for (Device device : devices.values()) {
      if (type == DeviceType.AnyType.swigValue() || device.type.swigValue() == type) {
        waitForDevice(device.label);
      }
    }
  }

  public void waitForSystem() throws Exception {
    waitForDeviceType(DeviceType.AnyType.swigValue());
  }

  public void waitForConfig(String group, String preset) throws Exception {
    for (Natives.Setting setting : getConfigData(group, preset).settings) {
      waitForDevice(setting.device);
    }
  }

  public void waitForImageSynchro() {}

  public void sleep(double ms) throws InterruptedException {
    Thread.sleep((long) ms);
  }

  public void setTimeoutMs(int ms) {
    timeoutMs = ms;
  }

  public int getTimeoutMs() {
    return timeoutMs;
  }

  public double getDeviceDelayMs(String label) throws Exception {
    return find(label).delayMs;
  }

  public void setDeviceDelayMs(String label, double ms) throws Exception {
    find(label).delayMs = ms;
  }

  public boolean usesDeviceDelay(String label) throws Exception {
    return find(label).delayMs > 0;
  }

  // Stages

  private Device stage(String label) throws Exception {
    Device device = find(label);
    if (device.type != DeviceType.StageDevice) {
      throw new Exception("Device \"" + label + "\" is not a focus stage");
    }
    return device;
  }

  private Device xyStage(String label) throws Exception {
    Device device = find(label);
    if (device.type != DeviceType.XYStageDevice) {
      throw new Exception("Device \"" + label + "\" is not an XY stage");
    }
    return device;
  }

  public double getPosition(String label) throws Exception {
    return Double.parseDouble(stage(label).text("Position"));
  }

  public double getPosition() throws Exception {
    return getPosition(getFocusDevice());
  }

  public void setPosition(String label, double um) throws Exception {
    stage(label);
    setProperty(label, "Position", um);
  }

  public void setPosition(double um) throws Exception {
    setPosition(getFocusDevice(), um);
  }

  public void setRelativePosition(String label, double um) throws Exception {
    setPosition(label, getPosition(label) + um);
  }

  public void setRelativePosition(double um) throws Exception {
    setRelativePosition(getFocusDevice(), um);
  }

  public void setOrigin(String label) throws Exception {
    store(stage(label), "Position", "0.0000");
  }

  public void setOrigin() throws Exception {
    setOrigin(getFocusDevice());
  }

  @Override
  void changed(Device device, String property) {
    if (property.equals("Position") || property.equals("State") || property.equals("Exposure")) {
      settings.note(device);
    }
    if (device.type == DeviceType.StageDevice) {
      double um = Double.parseDouble(device.text("Position"));
      tell(listener -> listener.onStagePositionChanged(device.label, um));
    } else if (device.type == DeviceType.CameraDevice && property.equals("Exposure")) {
      double ms = Double.parseDouble(device.text("Exposure"));
      tell(listener -> listener.onExposureChanged(device.label, ms));
    }
  }

  public int getFocusDirection(String label) {
    return focusDirections.getOrDefault(label, 0.0).intValue();
  }

  public void setFocusDirection(String label, int sign) {
    focusDirections.put(label, (double) sign);
  }

  public void setXYPosition(String label, double x, double y) throws Exception {
    Device device = xyStage(label);
    moving(device);
    device.x = x;
    device.y = y;
    settings.note(device);
    tell(listener -> listener.onXYStagePositionChanged(label, x, y));
  }

  public void setXYPosition(double x, double y) throws Exception {
    setXYPosition(getXYStageDevice(), x, y);
  }

  public void setRelativeXYPosition(String label, double dx, double dy) throws Exception {
    Device device = xyStage(label);
    setXYPosition(label, device.x + dx, device.y + dy);
  }

  public void setRelativeXYPosition(double dx, double dy) throws Exception {
    setRelativeXYPosition(getXYStageDevice(), dx, dy);
  }

  public void getXYPosition(String label, double[] x, double[] y) throws Exception {
    Device device = xyStage(label);
    x[0] = device.x;
    y[0] = device.y;
  }

  public void getXYPosition(double[] x, double[] y) throws Exception {
    getXYPosition(getXYStageDevice(), x, y);
  }

  public double getXPosition(String label) throws Exception {
    return xyStage(label).x;
  }

  public double getXPosition() throws Exception {
    return getXPosition(getXYStageDevice());
  }

  public double getYPosition(String label) throws Exception {
    return xyStage(label).y;
  }

  public double getYPosition() throws Exception {
    return getYPosition(getXYStageDevice());
  }

  public void setOriginXY() throws Exception {
    setXYPosition(0, 0);
  }

  public void stop(String label) throws Exception {
    find(label).busyUntil = 0;
  }

  public void home(String label) throws Exception {
    if (find(label).type == DeviceType.XYStageDevice) {
      setXYPosition(label, 0, 0);
    } else {
      setPosition(label, 0);
    }
  }

  // Hardware sequences

  private void start(Device device, String name) throws Exception {
    Device.Sequence sequence = device.sequences.get(name);
    if (sequence == null) {
      throw new Exception("No sequence was loaded for \"" + device.label + "\"");
    }
    sequence.start();
  }

  private void stop(Device device, String name) {
    if (device.sequences.containsKey(name)) {
      device.sequences.get(name).running = false;
    }
  }

  /** How long a hardware sequence may be, 0 where there can be none. The name is a property's, or XY. */
  private int length(Device device, String name) throws Exception {
    if (device.lengths.containsKey(name)) {
      return device.lengths.get(name);
    }
    if (device.properties.containsKey("TriggerSequenceMaxLength")) {
      boolean triggered = !device.text("TriggerSourceDevice").isEmpty();
      boolean steps = device.type == DeviceType.StageDevice || device.type == DeviceType.StateDevice && name.equals("State");
      return triggered && steps ? (int) Double.parseDouble(device.text("TriggerSequenceMaxLength")) : 0;
    }
    if (device.properties.containsKey("UseSequences") && name.equals("Position")) {
      return device.text("UseSequences").equals("Yes") ? 1024 : 0;
    }
    Device.Property property = device.properties.get(name);
    boolean able = device.adapter.equals("Simulated") && (property == null || property.sequenceable || name.equals("Exposure"));
    return sequenceable && able ? sequenceLimit : 0;
  }

  /** Give a device a hardware sequence of up to so many values, whatever it says of itself. */
  void lengthen(String label, String name, int limit) throws Exception {
    find(label).lengths.put(name, limit);
  }

  private void keep(Device device, String name, List<Object> values) throws Exception {
    int limit = length(device, name);
    if (limit == 0) {
      throw new Exception("Device \"" + device.label + "\" takes no hardware sequences");
    }
    if (values.size() > limit) {
      throw new Exception("A sequence of " + values.size() + " is too long for \"" + device.label + "\": at most " + limit);
    }
    device.sequences.put(name, new Device.Sequence(values));
  }

  public boolean isPropertySequenceable(String label, String property) throws Exception {
    return getPropertySequenceMaxLength(label, property) > 0;
  }

  public int getPropertySequenceMaxLength(String label, String property) throws Exception {
    find(label, property);
    return length(find(label), property);
  }

  public void loadPropertySequence(String label, String property, Natives.Vector values) throws Exception {
    for (String value : values.<String>copy()) {
      find(label, property).checked(label, value);
    }
    keep(find(label), property, values.copy());
  }

  public void startPropertySequence(String label, String property) throws Exception {
    start(find(label), property);
  }

  public void stopPropertySequence(String label, String property) throws Exception {
    stop(find(label), property);
  }

  public boolean isStageSequenceable(String label) throws Exception {
    return getStageSequenceMaxLength(label) > 0;
  }

  public boolean isStageLinearSequenceable(String label) {
    return false;
  }

  public int getStageSequenceMaxLength(String label) throws Exception {
    return length(stage(label), "Position");
  }

  public void loadStageSequence(String label, Natives.Vector values) throws Exception {
    keep(stage(label), "Position", values.copy());
  }

  public void startStageSequence(String label) throws Exception {
    start(stage(label), "Position");
  }

  public void stopStageSequence(String label) throws Exception {
    stop(stage(label), "Position");
  }

  public boolean isXYStageSequenceable(String label) throws Exception {
    return getXYStageSequenceMaxLength(label) > 0;
  }

  public int getXYStageSequenceMaxLength(String label) throws Exception {
    return length(xyStage(label), "XY");
  }

  public void loadXYStageSequence(String label, Natives.Vector x, Natives.Vector y) throws Exception {
    List<Object> points = new ArrayList<>();
    for (int i = 0; i < x.size(); i++) {
      points.add(new double[] {(double) x.get(i), (double) y.get(i)});
    }
    keep(xyStage(label), "XY", points);
  }

  public void startXYStageSequence(String label) throws Exception {
    start(xyStage(label), "XY");
  }

  public void stopXYStageSequence(String label) throws Exception {
    stop(xyStage(label), "XY");
  }

  public boolean isExposureSequenceable(String camera) throws Exception {
    return getExposureSequenceMaxLength(camera) > 0;
  }

  public int getExposureSequenceMaxLength(String camera) throws Exception {
    return find(camera).type == DeviceType.CameraDevice ? length(find(camera), "Exposure") : 0;
  }

  public void loadExposureSequence(String camera, Natives.Vector values) throws Exception {
    keep(find(camera), "Exposure", values.copy());
  }

  public void startExposureSequence(String camera) throws Exception {
    start(find(camera), "Exposure");
  }

  public void stopExposureSequence(String camera) throws Exception {
    stop(find(camera), "Exposure");
  }

  // SLM: 64 x 48 pixels of one byte; what is shown is known by the sum of its pixels

  public long getSLMWidth(String label) throws Exception {
    find(label);
    return 64;
  }

  public long getSLMHeight(String label) throws Exception {
    find(label);
    return 48;
  }

  public long getSLMBytesPerPixel(String label) throws Exception {
    find(label);
    return 1;
  }

  public int getSLMSequenceMaxLength(String label) throws Exception {
    return 0;
  }

  public long getSLMNumberOfComponents(String label) throws Exception {
    find(label);
    return 1;
  }

  public void setSLMImage(String label, byte[] pixels) throws Exception {
    find(label);
    if (pixels.length != 64 * 48) {
      throw new Exception("The SLM has 64 x 48 pixels, not " + pixels.length);
    }
    slm = 0;
    for (byte pixel : pixels) {
      slm += pixel & 0xff;
    }
  }

  public void setSLMPixelsTo(String label, short intensity) throws Exception {
    find(label);
    slm = 64 * 48 * intensity;
  }

  public void displaySLMImage(String label) throws Exception {
    find(label);
    slmShown = slm;
  }
}
