package aiomm.host;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import mmcorej.DeviceType;

/** The part of the simulated core that takes images: cameras, shutter, the circular buffer, sequences. */
abstract class Imaging extends Devices {
  static final String NO_IMAGE = "Circular buffer is empty.";
  private final Map<String, int[]> rois = new ConcurrentHashMap<>();
  private final Map<String, Thread> running = new ConcurrentHashMap<>();
  private final Deque<Frame> buffer = new ArrayDeque<>();
  private final Object bufferLock = new Object();
  private Frame last;
  private volatile Frame[] snapped;
  private final ReentrantLock module = new ReentrantLock(); // of the cameras' adapter, as MMCore's: one exposure at a time, shutter and all
  final Settings settings = new Settings();
  private long buffered;
  private volatile boolean overflowed;
  private long bufferMb = 256;
  private long counter;
  private volatile int dropAfter = Integer.MAX_VALUE;
  private volatile int losing = -1;
  volatile boolean fast;

  @Override
  void clear() {
    super.clear();
    rois.clear();
    snapped = null;
    settings.clear();
  }

  private Device camera() throws Exception {
    return role(DeviceType.CameraDevice);
  }

  /** Whether the core has no camera: as MMCore, it says so of images by zeros, and fails where it is to do something with one. */
  private boolean noCamera() {
    return roleLabel(DeviceType.CameraDevice).isEmpty();
  }

  private static int integer(Device device, String property) {
    return (int) Double.parseDouble(device.text(property));
  }

  /** The cameras behind one: those of a Multi Camera, or it alone. */
  private List<Device> behind(Device camera) {
    List<Device> found = new ArrayList<>();
    for (int i = 1; i <= 4 && camera.properties.containsKey("Physical Camera " + i); i++) {
      Device physical = devices.get(camera.text("Physical Camera " + i));
      if (physical != null) {
        found.add(physical);
      }
    }
    return found.isEmpty() ? List.of(camera) : found;
  }

  private Device first() throws Exception {
    return behind(camera()).get(0);
  }

  private static int chip(Device camera, String axis) {
    return integer(camera, camera.properties.containsKey("ImageMode") ? axis.equals("X") ? "ImageWidth" : "ImageHeight"
        : "OnCameraCCD" + axis + "Size");
  }

  private int[] roi(Device camera) {
    Device chip = behind(camera).get(0);
    int binning = integer(chip, "Binning");
    return rois.getOrDefault(camera.label,
        new int[] {0, 0, Math.max(1, chip(chip, "X") / binning), Math.max(1, chip(chip, "Y") / binning)});
  }

  /** The number of images taken since the host started. */
  synchronized long imagesTaken() {
    return counter;
  }

  /** Sequences end early after this many images, as with a camera that loses triggers; -1: never. */
  void dropAfter(int images) {
    dropAfter = images < 0 ? Integer.MAX_VALUE : images;
  }

  /** The next sequence that comes to the frame with this number loses it: it is taken, and nobody gets it; -1: none. */
  void lose(int frame) {
    losing = frame;
  }

  private synchronized Frame take(Device camera, boolean shutterOpen, int frame) throws Exception {
    Map<String, String> truth = new LinkedHashMap<>();
    Device z = devices.get(roleLabel(DeviceType.StageDevice));
    Device xy = devices.get(roleLabel(DeviceType.XYStageDevice));
    Device led = devices.get("LED");
    Device.Property color = led == null ? null : led.properties.get("Color");
    truth.put("Counter", String.valueOf(counter++));
    truth.put("Z", z == null ? "0" : z.text("Position"));
    truth.put("X", String.valueOf(xy == null ? 0 : xy.x));
    truth.put("Y", String.valueOf(xy == null ? 0 : xy.y));
    truth.put("Exposure", camera.text("Exposure"));
    truth.put("Channel", color == null ? "" : color.value);
    truth.put("Gain", camera.properties.containsKey("Gain") ? camera.text("Gain") : "0");
    truth.put("Intensity", color == null ? "0" : led.text("Intensity"));
    truth.put("Shutter", shutterOpen ? "1" : "0");
    truth.put("Camera", camera.label);
    truth.put("SLM", String.valueOf(slmShown()));
    truth.put("Frame", String.valueOf(Math.max(frame, 0)));
    int[] roi = roi(camera);
    if (camera.properties.containsKey("ImageMode") && camera.text("ImageMode").equals("MachineReadable")) {
      byte[] pixels = settings.image(devices.values(), camera, frame >= 0, Math.max(frame, 0), roi[2] * roi[3]);
      return new Frame(pixels, pixels.length, truth);
    }
    int channel = color == null ? 0 : color.allowed.indexOf(color.value);
    return Frame.take(camera.text("PixelType"), roi[2], roi[3], truth, channel);
  }

  abstract int slmShown();

  private boolean automatic(boolean open) {
    if (!getAutoShutter() || roleLabel(DeviceType.ShutterDevice).isEmpty()) {
      return false;
    }
    Device shutter = devices.get(roleLabel(DeviceType.ShutterDevice));
    store(shutter, "State", open ? "1" : "0");
    return true;
  }

  private boolean open() {
    Device shutter = devices.get(roleLabel(DeviceType.ShutterDevice));
    return shutter != null && shutter.text("State").equals("1");
  }

  private void expose(Device camera) throws InterruptedException {
    double ms = 0;
    for (Device each : behind(camera)) {
      ms = Math.max(ms, Double.parseDouble(each.text("Exposure")));
    }
    if (!fast && ms > 0) {
      Thread.sleep((long) ms, (int) (ms % 1 * 1e6));
    }
  }

  public void snapImage() throws Exception {
    Device camera = camera();
    if (isSequenceRunning(camera.label)) {
      throw new Exception("Camera \"" + camera.label + "\" is busy: a sequence runs");
    }
    module.lock();
    try {
      boolean closes = automatic(true);
      boolean open = open();
      expose(camera);
      List<Frame> frames = new ArrayList<>();
      for (Device each : behind(camera)) {
        frames.add(take(each, open, -1));
      }
      snapped = frames.toArray(new Frame[0]);
      if (closes) {
        automatic(false);
      }
    } finally {
      module.unlock();
    }
  }

  /** Return when no exposure is under way, if it is a camera. */
  void awaitModule(Device device) {
    if (device.type == DeviceType.CameraDevice) {
      module.lock();
      module.unlock();
    }
  }

  public Object getImage() throws Exception {
    return getImage(0);
  }

  public Object getImage(long channel) throws Exception {
    Frame[] frames = snapped;
    if (frames == null) {
      throw new Exception("There is no image: call snapImage first");
    }
    if (channel >= frames.length) {
      throw new Exception("There are only " + frames.length + " camera channels");
    }
    Frame.LAST.set(frames[(int) channel].truth);
    return frames[(int) channel].pixels;
  }

  public long getImageWidth() throws Exception {
    if (noCamera()) {
      return 0;
    }
    return roi(camera())[2];
  }

  public long getImageHeight() throws Exception {
    if (noCamera()) {
      return 0;
    }
    return roi(camera())[3];
  }

  public long getBytesPerPixel() throws Exception {
    if (noCamera()) {
      return 0;
    }
    String type = first().text("PixelType");
    return type.equals("8bit") ? 1 : type.equals("16bit") ? 2 : 4;
  }

  public long getImageBitDepth() throws Exception {
    if (noCamera()) {
      return 0;
    }
    String type = first().text("PixelType");
    return type.equals("16bit") ? integer(first(), "BitDepth") : type.equals("32bit") ? 32 : 8;
  }

  public long getNumberOfComponents() throws Exception {
    if (noCamera()) {
      return 0;
    }
    return first().text("PixelType").equals("32bitRGB") ? 4 : 1;
  }

  public long getNumberOfCameraChannels() throws Exception {
    return noCamera() ? 0 : behind(camera()).size();
  }

  public String getCameraChannelName(long channel) throws Exception {
    if (noCamera()) {
      return "";
    }
    List<Device> cameras = behind(camera());
    return cameras.size() == 1 ? "" : cameras.get((int) channel).label;
  }

  public int getImageBufferSize() throws Exception {
    if (noCamera()) {
      return 0;
    }
    return (int) (getImageWidth() * getImageHeight() * getBytesPerPixel());
  }

  public void getROI(int[] x, int[] y, int[] width, int[] height) throws Exception {
    getROI(camera().label, x, y, width, height);
  }

  public void getROI(String camera, int[] x, int[] y, int[] width, int[] height) throws Exception {
    int[] roi = roi(find(camera));
    x[0] = roi[0];
    y[0] = roi[1];
    width[0] = roi[2];
    height[0] = roi[3];
  }

  public void setROI(int x, int y, int width, int height) throws Exception {
    setROI(camera().label, x, y, width, height);
  }

  public void setROI(String camera, int x, int y, int width, int height) throws Exception {
    Device device = find(camera);
    if (x < 0 || y < 0 || width < 1 || height < 1 || x + width > chip(device, "X")
        || y + height > chip(device, "Y")) {
      throw new Exception("ROI " + x + ", " + y + ", " + width + " x " + height + " is not on the chip");
    }
    rois.put(camera, new int[] {x, y, width, height});
  }

  public void clearROI() throws Exception {
    rois.remove(camera().label);
  }

  public boolean isMultiROISupported() {
    return false;
  }

  public double getExposure() throws Exception {
    if (noCamera()) {
      return 0;
    }
    return getExposure(camera().label);
  }

  public double getExposure(String camera) throws Exception {
    return Double.parseDouble(behind(find(camera)).get(0).text("Exposure"));
  }

  public void setExposure(double ms) throws Exception {
    setExposure(camera().label, ms);
  }

  public void setExposure(String camera, double ms) throws Exception {
    for (Device each : behind(find(camera))) {
      setProperty(each.label, "Exposure", ms);
    }
  }

  // Shutter

  public void setAutoShutter(boolean on) throws Exception {
    setProperty("Core", "AutoShutter", on);
  }

  public boolean getAutoShutter() {
    return devices.get("Core").text("AutoShutter").equals("1");
  }

  public void setShutterOpen(boolean open) throws Exception {
    setShutterOpen(role(DeviceType.ShutterDevice).label, open);
  }

  public void setShutterOpen(String shutter, boolean open) throws Exception {
    setProperty(shutter, "State", open);
  }

  public boolean getShutterOpen() {
    return roleLabel(DeviceType.ShutterDevice).isEmpty() || open(); // without a shutter nothing is in the way
  }

  public boolean getShutterOpen(String shutter) throws Exception {
    return find(shutter).text("State").equals("1");
  }

  // Sequences of images

  public void prepareSequenceAcquisition(String camera) throws Exception {
    find(camera);
  }

  public void startSequenceAcquisition(int images, double intervalMs, boolean stopOnOverflow) throws Exception {
    clearCircularBuffer();
    startSequenceAcquisition(camera().label, images, intervalMs, stopOnOverflow);
  }

  public void startContinuousSequenceAcquisition(double intervalMs) throws Exception {
    clearCircularBuffer();
    startSequenceAcquisition(camera().label, Integer.MAX_VALUE, intervalMs, false);
  }

  public void startSequenceAcquisition(String label, int images, double intervalMs, boolean stopOnOverflow) throws Exception {
    Device camera = find(label);
    module.lock();
    try {
      if (isSequenceRunning(label)) {
        throw new Exception("Camera \"" + label + "\" is busy: a sequence runs");
      }
      boolean closes = automatic(true);
      Thread thread = new Thread(() -> sequence(camera, Math.min(images, dropAfter), stopOnOverflow, closes), "camera " + label);
      thread.setDaemon(true);
      running.put(label, thread);
      thread.start();
    } finally {
      module.unlock();
    }
  }

  private void sequence(Device camera, int images, boolean stopOnOverflow, boolean closes) {
    try {
      for (int i = 0; i < images && !Thread.currentThread().isInterrupted(); i++) {
        trigger(camera);
        expose(camera);
        boolean kept = true;
        boolean lost = i == losing;
        for (Device each : behind(camera)) {
          Frame frame = take(each, open(), i);
          kept &= lost || keep(frame);
        }
        if (lost) {
          losing = -1;
        }
        if (!kept && stopOnOverflow) {
          break;
        }
        if (fast) {
          LockSupport.parkNanos(100_000); // sleeping takes a millisecond at least
        }
      }
    } catch (InterruptedException e) {
      // stopped
    } catch (Exception e) {
      e.printStackTrace();
    } finally {
      if (closes) {
        automatic(false);
      }
    }
  }

  /** A camera's trigger moves every hardware sequence that runs to its next value. */
  private void trigger(Device camera) throws Exception {
    List<Device> cameras = behind(camera);
    for (Device device : devices.values()) {
      Device source = device.properties.containsKey("TriggerSourceDevice") ? devices.get(device.text("TriggerSourceDevice")) : null;
      if (source != null && !cameras.contains(source)) {
        continue;
      }
      for (Map.Entry<String, Device.Sequence> entry : device.sequences.entrySet()) {
        if (entry.getValue().running) {
          apply(device, entry.getKey(), entry.getValue().step());
        }
      }
    }
  }

  void apply(Device device, String name, Object value) throws Exception {
    if (value instanceof double[]) {
      device.x = ((double[]) value)[0];
      device.y = ((double[]) value)[1];
    } else {
      Device.Property property = device.properties.get(name);
      property.value = property.text(value);
    }
    settings.note(device);
  }

  private boolean keep(Frame frame) {
    synchronized (bufferLock) {
      if (buffered + frame.bytes > bufferMb << 20) {
        overflowed = true;
        return false;
      }
      buffer.addLast(frame);
      buffered += frame.bytes;
      last = frame;
      bufferLock.notifyAll();
      return true;
    }
  }

  public void stopSequenceAcquisition() throws Exception {
    stopSequenceAcquisition(camera().label);
  }

  public void stopSequenceAcquisition(String camera) throws Exception {
    find(camera);
    Thread thread = running.remove(camera);
    if (thread != null) {
      thread.interrupt();
      thread.join();
    }
  }

  void stopAll() throws Exception {
    for (String camera : new ArrayList<>(running.keySet())) {
      Thread thread = running.remove(camera);
      thread.interrupt();
      thread.join();
    }
  }

  public boolean isSequenceRunning() throws Exception {
    return !noCamera() && isSequenceRunning(camera().label);
  }

  public boolean isSequenceRunning(String camera) {
    Thread thread = running.get(camera);
    return thread != null && thread.isAlive();
  }

  public Object popNextImage() throws Exception {
    return popNextImageMD(null);
  }

  /** Return when there is an image to take out, or throw. */
  void awaitImage() throws Exception {
    synchronized (bufferLock) {
      if (buffer.isEmpty()) {
        bufferLock.wait(1); // the engine asks again and again
      }
      if (buffer.isEmpty()) {
        throw new Exception(NO_IMAGE);
      }
    }
  }

  public Object popNextImageMD(Natives.Metadata tags) throws Exception {
    synchronized (bufferLock) {
      awaitImage();
      Frame frame = buffer.removeFirst();
      buffered -= frame.bytes;
      return out(frame, tags);
    }
  }

  public Object popNextImageMD(long channel, long slice, Natives.Metadata tags) throws Exception {
    return popNextImageMD(tags);
  }

  public Object getLastImage() throws Exception {
    return getLastImageMD(null);
  }

  public Object getLastImageMD(Natives.Metadata tags) throws Exception {
    synchronized (bufferLock) {
      if (last == null) {
        throw new Exception(NO_IMAGE);
      }
      return out(last, tags);
    }
  }

  public Object getLastImageMD(long channel, long slice, Natives.Metadata tags) throws Exception {
    return getLastImageMD(tags);
  }

  public Object getNBeforeLastImageMD(long n, Natives.Metadata tags) throws Exception {
    synchronized (bufferLock) {
      Frame[] frames = buffer.toArray(new Frame[0]);
      if (n < 0 || n >= frames.length) {
        throw new Exception("There are only " + frames.length + " images in the circular buffer");
      }
      return out(frames[frames.length - 1 - (int) n], tags);
    }
  }

  private Object out(Frame frame, Natives.Metadata tags) throws Exception {
    if (tags != null) {
      tags.tags.putAll(frame.tags());
      List<Device> cameras = behind(camera());
      if (cameras.size() > 1) {
        int index = cameras.indexOf(devices.get(frame.truth.get("Camera")));
        tags.tags.put("Multi Camera-CameraChannelIndex", String.valueOf(index));
      }
    }
    Frame.LAST.set(frame.truth);
    return frame.pixels;
  }

  public int getRemainingImageCount() {
    synchronized (bufferLock) {
      return buffer.size();
    }
  }

  public int getBufferTotalCapacity() throws Exception {
    return (int) ((bufferMb << 20) / Math.max(1, getImageBufferSize()));
  }

  public int getBufferFreeCapacity() throws Exception {
    return getBufferTotalCapacity() - getRemainingImageCount();
  }

  public boolean isBufferOverflowed() {
    return overflowed;
  }

  public void setCircularBufferMemoryFootprint(long megabytes) throws Exception {
    if (megabytes < 1) {
      throw new Exception("The circular buffer needs at least 1 MB");
    }
    clearCircularBuffer();
    bufferMb = megabytes;
  }

  public long getCircularBufferMemoryFootprint() {
    return bufferMb;
  }

  public void initializeCircularBuffer() {
    clearCircularBuffer();
  }

  public void clearCircularBuffer() {
    synchronized (bufferLock) {
      buffer.clear();
      buffered = 0;
      last = null;
      overflowed = false;
    }
  }
}
