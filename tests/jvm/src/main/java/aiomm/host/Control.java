package aiomm.host;

import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.regex.Pattern;
import org.micromanager.acqj.internal.Engine;

/** How the simulated microscope behaves, and what it was told. All of these speak of the one microscope. */
public final class Control {
  private static final Microscope MICROSCOPE = Microscope.INSTANCE;
  private static final Pattern CHANGING = Pattern.compile(
      "(set|start|stop|load|unload|snap|clear|prepare|define|delete|rename|reset|home|initialize|display|full|incremental|point|run).*");
  private static final Map<String, Boolean> CHANGES = new ConcurrentHashMap<>();
  private static final List<String> JOURNAL = Collections.synchronizedList(new ArrayList<>());
  private static final Map<String, Integer> CALLS = new ConcurrentHashMap<>();
  private static final Map<String, String> FAILING = new ConcurrentHashMap<>();
  private static final Map<String, Integer> FAILURES = new ConcurrentHashMap<>();
  private static final Map<String, CountDownLatch> HELD = new ConcurrentHashMap<>();

  /** Put everything back as it is when the host starts: devices, settings, faults, listeners, the journal. */
  public void restore() throws Exception {
    HELD.values().forEach(CountDownLatch::countDown);
    HELD.clear();
    FAILING.clear();
    FAILURES.clear();
    MICROSCOPE.callback = null;
    MICROSCOPE.restore();
    Calls.reset();
    JOURNAL.clear();
    CALLS.clear();
  }

  /** Exposures take no time. */
  public void fast(boolean on) {
    MICROSCOPE.fast = on;
  }

  /** Stages, the LED, Gain and the exposure take hardware sequences of up to this many values; 0, as at the start: none. */
  public void sequenceable(int limit) {
    MICROSCOPE.sequenceable = limit > 0;
    MICROSCOPE.sequenceLimit = limit;
  }

  /** Devices are busy for this long (ms) after each change. */
  public void moveMs(double ms) {
    MICROSCOPE.moveMs = ms;
  }

  /** Sequences end early, after this many images, as with a camera that misses triggers; -1: never. */
  public void dropAfter(int images) {
    MICROSCOPE.dropAfter(images);
  }

  /** The next sequence that comes to the frame with this number (from 0) loses it before it is in the buffer; -1: none. */
  public void lose(int frame) {
    MICROSCOPE.lose(frame);
  }

  /** How many images were taken since the host started. */
  public long imagesTaken() {
    return MICROSCOPE.imagesTaken();
  }

  /** The next calls (-1: all) of this core method throw an Exception with this message. */
  public void fail(String method, String message, int times) {
    FAILURES.put(method, times);
    FAILING.put(method, message);
  }

  /** Calls of this core method wait until release(method). */
  public void hold(String method) {
    HELD.putIfAbsent(method, new CountDownLatch(1));
  }

  public void release(String method) {
    CountDownLatch latch = HELD.remove(method);
    if (latch != null) {
      latch.countDown();
    }
  }

  /** The state-changing core calls, one a line: name and arguments, with blanks between. */
  public String journal() {
    synchronized (JOURNAL) {
      return String.join("\n", JOURNAL);
    }
  }

  public void clearJournal() {
    JOURNAL.clear();
  }

  /** How often this core method was called, refused and held calls included. */
  public int calls(String method) {
    return CALLS.getOrDefault(method, 0);
  }

  /** Give a device a hardware sequence of up to so many values; the name is a property's, or XY. */
  public void lengthen(String label, String name, int limit) throws Exception {
    MICROSCOPE.lengthen(label, name, limit);
  }

  /** Whether Micro-Manager's one engine has nothing to do, or will within this time (ms). */
  public boolean engineIdle(int ms) throws Exception {
    for (String name : new String[] {"eventGeneratorExecutor_", "acqExecutor_"}) {
      Field field = Engine.class.getDeclaredField(name);
      field.setAccessible(true);
      Future<?> nothing = ((ExecutorService) field.get(null)).submit(() -> {});
      try {
        nothing.get(ms, TimeUnit.MILLISECONDS);
      } catch (TimeoutException e) {
        return false;
      }
    }
    return true;
  }

  /** The type of a device, as DeviceType names it. */
  public String typeOf(String label) throws Exception {
    return MICROSCOPE.find(label).type.toString();
  }

  /** Where a test's own process watches and bends core calls; see Door. */
  public int door() throws Exception {
    return Door.port();
  }

  /** Fire the core's event that all properties changed. */
  public void tellPropertiesChanged() {
    MICROSCOPE.tell(mmcorej.MMEventCallback::onPropertiesChanged);
  }

  /** A core method is about to run. */
  static void called(String name, Object[] arguments) {
    CALLS.merge(name, 1, Integer::sum);
    if (CHANGES.computeIfAbsent(name, each -> CHANGING.matcher(each).matches())) {
      StringBuilder line = new StringBuilder(name);
      for (Object argument : arguments) {
        line.append(' ').append(argument instanceof Natives.Vector ? ((Natives.Vector) argument).items : argument);
      }
      JOURNAL.add(line.toString());
    }
    CountDownLatch latch = HELD.get(name);
    if (latch != null) {
      try {
        latch.await();
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
    String message = FAILING.get(name);
    if (message != null) {
      if (FAILURES.merge(name, -1, (left, one) -> left < 0 ? left : left - 1) == 0) {
        FAILING.remove(name);
      }
      throw Natives.<RuntimeException>unchecked(new Exception(message));
    }
  }
}
