package aiomm.host;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import mmcorej.DeviceType;

/** The part of the simulated core that takes images: cameras, shutter, the circular buffer, sequences. */
abstract class Imaging extends Devices {
  private final Map<String, int[]> rois = new ConcurrentHashMap<>();
  private final Map<String, Thread> running = new ConcurrentHashMap<>();
  private final Deque<Frame> buffer = new ArrayDeque<>();
  private final Object bufferLock = new Object();
  private Frame last;
  private volatile Frame snapped;
  private long buffered;
  private volatile boolean overflowed;
  private long bufferMb = 256;
  private long counter;
  private volatile int dropAfter = Integer.MAX_VALUE;
  volatile boolean fast;

  @Override
  void load() {
    super.load();
    rois.clear();
    snapped = null;
  }

  private Device camera() throws Exception {
    return role(DeviceType.CameraDevice);
  }

  private static int integer(Device device, String property) {
    return (int) Double.parseDouble(device.text(property));
  }

  private int[] roi(Device camera) {
    int binning = integer(camera, "Binning");
    return rois.getOrDefault(camera.label,
        new int[] {0, 0, Math.max(1, integer(camera, "OnCameraCCDXSize") / binning), Math.max(1, integer(camera, "OnCameraCCDYSize") / binning)});
  }

  /** The number of images taken since the host started. */
  synchronized long imagesTaken() {
    return counter;
  }

  /** Sequences end early after this many images, as with a camera that loses triggers; -1: never. */
  void dropAfter(int images) {
    dropAfter = images < 0 ? Integer.MAX_VALUE : images;
  }

  private synchronized Frame take(Device camera, boolean shutterOpen) throws Exception {
    Map<String, String> truth = new LinkedHashMap<>();
    Device xy = devices.get("XY");
    Device led = devices.get("LED");
    truth.put("Counter", String.valueOf(counter++));
    truth.put("Z", devices.get("Z").text("Position"));
    truth.put("X", String.valueOf(xy.x));
    truth.put("Y", String.valueOf(xy.y));
    truth.put("Exposure", camera.text("Exposure"));
    truth.put("Channel", led.text("Color"));
    truth.put("Gain", camera.text("Gain"));
    truth.put("Intensity", led.text("Intensity"));
    truth.put("Shutter", shutterOpen ? "1" : "0");
    truth.put("Camera", camera.label);
    truth.put("SLM", String.valueOf(slmShown()));
    int[] roi = roi(camera);
    int channel = led.properties.get("Color").allowed.indexOf(led.text("Color"));
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
    double ms = Double.parseDouble(camera.text("Exposure"));
    if (!fast && ms > 0) {
      Thread.sleep((long) ms, (int) (ms % 1 * 1e6));
    }
  }

  public void snapImage() throws Exception {
    Device camera = camera();
    if (isSequenceRunning(camera.label)) {
      throw new Exception("Camera \"" + camera.label + "\" is busy: a sequence runs");
    }
    boolean closes = automatic(true);
    boolean open = open();
    expose(camera);
    snapped = take(camera, open);
    if (closes) {
      automatic(false);
    }
  }

  public Object getImage() throws Exception {
    Frame frame = snapped;
    if (frame == null) {
      throw new Exception("There is no image: call snapImage first");
    }
    Frame.LAST.set(frame.truth);
    return frame.pixels;
  }

  public Object getImage(long channel) throws Exception {
    return getImage();
  }

  public long getImageWidth() throws Exception {
    return roi(camera())[2];
  }

  public long getImageHeight() throws Exception {
    return roi(camera())[3];
  }

  public long getBytesPerPixel() throws Exception {
    String type = camera().text("PixelType");
    return type.equals("8bit") ? 1 : type.equals("16bit") ? 2 : 4;
  }

  public long getImageBitDepth() throws Exception {
    String type = camera().text("PixelType");
    return type.equals("16bit") ? integer(camera(), "BitDepth") : type.equals("32bit") ? 32 : 8;
  }

  public long getNumberOfComponents() throws Exception {
    return camera().text("PixelType").equals("32bitRGB") ? 4 : 1;
  }

  public long getNumberOfCameraChannels() {
    return 1;
  }

  public String getCameraChannelName(long channel) {
    return "";
  }

  public int getImageBufferSize() throws Exception {
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
    if (x < 0 || y < 0 || width < 1 || height < 1 || x + width > integer(device, "OnCameraCCDXSize")
        || y + height > integer(device, "OnCameraCCDYSize")) {
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
    return getExposure(camera().label);
  }

  public double getExposure(String camera) throws Exception {
    return Double.parseDouble(find(camera).text("Exposure"));
  }

  public void setExposure(double ms) throws Exception {
    setExposure(camera().label, ms);
  }

  public void setExposure(String camera, double ms) throws Exception {
    setProperty(camera, "Exposure", ms);
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
    return open();
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

  public synchronized void startSequenceAcquisition(String label, int images, double intervalMs, boolean stopOnOverflow) throws Exception {
    Device camera = find(label);
    if (isSequenceRunning(label)) {
      throw new Exception("Camera \"" + label + "\" is busy: a sequence runs");
    }
    boolean closes = automatic(true);
    Thread thread = new Thread(() -> sequence(camera, Math.min(images, dropAfter), stopOnOverflow, closes), "camera " + label);
    thread.setDaemon(true);
    running.put(label, thread);
    thread.start();
  }

  private void sequence(Device camera, int images, boolean stopOnOverflow, boolean closes) {
    try {
      for (int i = 0; i < images && !Thread.currentThread().isInterrupted(); i++) {
        trigger();
        expose(camera);
        if (!keep(take(camera, open())) && stopOnOverflow) {
          break;
        }
        if (fast) {
          Thread.sleep(0, 100000);
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
  private void trigger() throws Exception {
    for (Device device : devices.values()) {
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

  public boolean isSequenceRunning() throws Exception {
    return isSequenceRunning(camera().label);
  }

  public boolean isSequenceRunning(String camera) {
    Thread thread = running.get(camera);
    return thread != null && thread.isAlive();
  }

  public Object popNextImage() throws Exception {
    return popNextImageMD(null);
  }

  public Object popNextImageMD(Natives.Metadata tags) throws Exception {
    synchronized (bufferLock) {
      if (buffer.isEmpty()) {
        bufferLock.wait(1); // the engine asks again and again
      }
      if (buffer.isEmpty()) {
        throw new Exception("Circular buffer is empty.");
      }
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
        throw new Exception("Circular buffer is empty.");
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

  private static Object out(Frame frame, Natives.Metadata tags) {
    if (tags != null) {
      tags.tags.putAll(frame.tags());
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
