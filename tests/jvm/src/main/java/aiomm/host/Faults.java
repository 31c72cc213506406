package aiomm.host;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import mmcorej.org.json.JSONObject;
import org.micromanager.pyjavaz.ZMQServer;

/** Calls that throw, take long, block, or end the JVM; and a count that proves how often one ran. */
public class Faults {
  private static final AtomicInteger COUNT = new AtomicInteger();
  private static final AtomicInteger WAITING = new AtomicInteger();
  private static volatile CountDownLatch latch = new CountDownLatch(1);

  public Faults() {}

  public Faults(String message) {
    throw new IllegalStateException(message);
  }

  /** Counts, and throws what code of the server's own threw when it was called from here. */
  public Faults(int counts) throws Exception {
    COUNT.addAndGet(counts);
    throwFromServer();
  }

  /** Likewise. */
  public void countAndThrowFromServer() throws Exception {
    COUNT.incrementAndGet();
    throwFromServer();
  }

  private void throwFromServer() throws Exception {
    Method method = ZMQServer.class.getDeclaredMethod("getField", Object.class, JSONObject.class);
    method.setAccessible(true);
    try {
      method.invoke(ZMQServer.getMasterServer(), this, new JSONObject());
    } catch (InvocationTargetException thrown) {
      throw (Exception) thrown.getCause();
    }
  }

  /** How often this was called since the host started, this call included. */
  public int count() {
    return COUNT.incrementAndGet();
  }

  /** The same number, without counting. */
  public int counted() {
    return COUNT.get();
  }

  /** Count, then take that long. */
  public int countAndSleep(int ms) throws InterruptedException {
    int now = COUNT.incrementAndGet();
    Thread.sleep(ms);
    return now;
  }

  public int sleepMs(int ms) throws InterruptedException {
    Thread.sleep(ms);
    return ms;
  }

  /** Block until release() is called, through another port; returns how many blocked when it came. */
  public int block() throws InterruptedException {
    int waiting = WAITING.incrementAndGet();
    try {
      latch.await();
    } finally {
      WAITING.decrementAndGet();
    }
    return waiting;
  }

  /** Block as block() does, then return an object. */
  public Animal blockForObject() throws InterruptedException {
    block();
    return new Dog();
  }

  /** Block as block() does, then return this many bytes. */
  public byte[] blockForBytes(int bytes) throws InterruptedException {
    block();
    return new byte[bytes];
  }

  /** How many calls are blocked now. */
  public int blocked() {
    return WAITING.get();
  }

  /** End all calls that are blocked; later ones block again. */
  public void release() {
    CountDownLatch old = latch;
    latch = new CountDownLatch(1);
    old.countDown();
  }

  public void checked(String message) throws java.io.IOException {
    throw new java.io.IOException(message);
  }

  public void unchecked(String message) {
    throw new IllegalArgumentException(message);
  }

  public void withCause() {
    throw new IllegalStateException("outer", new ArithmeticException("inner"));
  }

  public void noMessage() {
    throw new NullPointerException();
  }

  public void error(String message) {
    throw new AssertionError(message);
  }

  /** An exception that says of itself what it likes, not its class and message. */
  public void ownWords(String words) {
    throw new IllegalStateException() {
      @Override
      public String toString() {
        return words;
      }
    };
  }

  public int overflowStack() {
    return overflowStack() + 1;
  }

  /** An exception that is returned, not thrown. */
  public Exception returned(String message) {
    return new IllegalArgumentException(message);
  }

  /** End the JVM in the middle of the call. */
  public void halt(int code) {
    Runtime.getRuntime().halt(code);
  }
}
