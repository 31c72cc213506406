package aiomm.host;

import java.lang.reflect.Field;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.micromanager.pyjavaz.ZMQServer;

/** What the server holds. */
public class Probe {
  @SuppressWarnings("unchecked")
  private static Map<Integer, Object> ports() throws ReflectiveOperationException {
    Field field = Class.forName("org.micromanager.pyjavaz.ZMQSocketWrapper").getDeclaredField("portSocketMap_");
    field.setAccessible(true);
    return (Map<Integer, Object>) field.get(null);
  }

  private static Map<?, ?> held(Object server) throws ReflectiveOperationException {
    Field field = ZMQServer.class.getDeclaredField("externalObjects_");
    field.setAccessible(true);
    return (Map<?, ?>) field.get(server);
  }

  /** How many handles the servers of all ports hold. The call itself adds none; the probe is one. */
  public int objectCount() throws ReflectiveOperationException {
    int count = 0;
    for (Object socket : ports().values()) {
      count += socket instanceof ZMQServer ? held(socket).size() : 0;
    }
    return count;
  }

  /** The classes of what is held, sorted, one a line. */
  public String objectClasses() throws ReflectiveOperationException {
    java.util.List<String> names = new java.util.ArrayList<>();
    for (Object socket : ports().values()) {
      if (socket instanceof ZMQServer) {
        held(socket).values().forEach(object -> names.add(object.getClass().getName()));
      }
    }
    return names.stream().sorted().collect(Collectors.joining("\n"));
  }

  /** The ports of all sockets of the server, sorted, with blanks between: commands and streams. */
  public String openPorts() throws ReflectiveOperationException {
    return new TreeSet<>(ports().keySet()).stream().map(String::valueOf).collect(Collectors.joining(" "));
  }

  /** The ports that take commands. */
  public String commandPorts() throws ReflectiveOperationException {
    return new java.util.TreeMap<>(ports()).entrySet().stream().filter(e -> e.getValue() instanceof ZMQServer)
        .map(e -> String.valueOf(e.getKey())).collect(Collectors.joining(" "));
  }

  public void gc() {
    System.gc();
    System.runFinalization();
  }

  /** The names of all threads that live, sorted, one a line. */
  public String threadNames() {
    return Thread.getAllStackTraces().keySet().stream().map(Thread::getName).sorted().collect(Collectors.joining("\n"));
  }

  /** How many callbacks the core has: none or one. */
  public int listeners() {
    return Microscope.INSTANCE.callback == null ? 0 : 1;
  }

  public long pid() {
    return ProcessHandle.current().pid();
  }
}
