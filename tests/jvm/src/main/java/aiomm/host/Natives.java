package aiomm.host;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What stands below mmcorej instead of its native library: pointers are handles of Java objects, and
 * Class_method(pointer, arguments) calls that method of the object.
 */
public final class Natives {
  private static final Map<Long, Object> OBJECTS = new ConcurrentHashMap<>();
  private static final AtomicLong NEXT = new AtomicLong(1);
  private static final Map<String, Integer> CONSTANTS =
      Map.of("MM_CODE_ERR_get", 1, "DEVICE_ERR_get", 1, "Unimplemented_get", -2, "Misconfigured_get", -1, "CanCommunicate_get", 1);

  // Looked up once: a real core's call through JNI costs about a microsecond, and what is measured over this one is to be the engine.
  private static final Map<String, Name> NAMES = new ConcurrentHashMap<>();
  private static final ClassValue<Map<String, List<Overload>>> METHODS = new ClassValue<>() {
    @Override
    protected Map<String, List<Overload>> computeValue(Class<?> type) {
      Map<String, List<Overload>> methods = new HashMap<>();
      for (Method method : type.getMethods()) {
        if (method.getDeclaringClass() != Object.class) {
          methods.computeIfAbsent(method.getName(), name -> new ArrayList<>()).add(new Overload(method));
        }
      }
      return methods;
    }
  };

  private Natives() {}

  /** The name of a native function: Class_method. */
  private static final class Name {
    final String plain;
    final String type;
    final String method;

    Name(String function) {
      plain = function.replaceFirst("__SWIG_\\d+$", "");
      int split = plain.indexOf('_', plain.startsWith("pair_ss") ? 7 : 0);
      type = plain.substring(0, Math.max(split, 0));
      method = plain.substring(split + 1);
    }
  }

  /** One public method. */
  private static final class Overload {
    final Method method;
    private final Class<?>[] types;
    private final Class<?>[] boxes;

    Overload(Method method) {
      method.setAccessible(true);
      this.method = method;
      types = method.getParameterTypes();
      boxes = boxed(types);
    }

    boolean takes(Object[] arguments) {
      return take(boxes, types, arguments);
    }
  }

  /** The object behind a pointer; listeners stay what they are. */
  public static Object pointed(long pointer, Object wrapper) {
    if (wrapper instanceof mmcorej.MMEventCallback) {
      return wrapper;
    }
    return OBJECTS.get(pointer);
  }

  public static long number(Object result) {
    if (result instanceof Number) {
      return ((Number) result).longValue();
    }
    if (result == null) {
      return 0;
    }
    long pointer = NEXT.getAndIncrement();
    OBJECTS.put(pointer, result);
    return pointer;
  }

  public static Object call(String function, Object[] arguments) {
    Name name = NAMES.get(function);
    if (name == null) {
      name = NAMES.computeIfAbsent(function, Name::new);
    }
    String plain = name.plain;
    if (plain.startsWith("new_")) {
      return make(plain.substring(4), arguments);
    }
    if (plain.startsWith("delete_")) {
      return OBJECTS.remove(arguments[0]);
    }
    if (plain.endsWith("_SWIGUpcast")) {
      return arguments[0];
    }
    if (plain.startsWith("MMEventCallback_")) {
      return null; // what a listener does not override does nothing
    }
    if (plain.equals("PropertySetting_generateKey")) {
      return arguments[0] + "-" + arguments[1];
    }
    if (plain.endsWith("_get") && arguments.length == 0) {
      return constant(plain);
    }
    if (arguments.length == 0 || arguments[0] == null || arguments[0] instanceof String) {
      throw missing(name.type, name.method);
    }
    if (arguments[0] instanceof Microscope) {
      return Calls.through(name.method, tail(arguments));
    }
    return invoke(arguments[0], name.type, name.method, tail(arguments));
  }

  /** Call the public method with this name that takes these arguments. */
  static Object invoke(Object target, String type, String name, Object[] arguments) {
    for (Overload overload : METHODS.get(target.getClass()).getOrDefault(name, List.of())) {
      if (overload.takes(arguments)) {
        try {
          return overload.method.invoke(target, arguments);
        } catch (InvocationTargetException e) {
          throw Natives.<RuntimeException>unchecked(e.getCause());
        } catch (IllegalAccessException e) {
          throw new IllegalStateException(e);
        }
      }
    }
    throw missing(type, name);
  }

  @SuppressWarnings("unchecked")
  static <E extends Throwable> E unchecked(Throwable error) throws E {
    throw (E) error;
  }

  private static UnsupportedOperationException missing(String type, String name) {
    return new UnsupportedOperationException(type + "." + name + " is not simulated");
  }

  private static Object[] tail(Object[] arguments) {
    return java.util.Arrays.copyOfRange(arguments, 1, arguments.length);
  }

  /** Whether a method with these types can be called with these arguments. */
  static boolean takes(Class<?>[] types, Object[] arguments) {
    return take(boxed(types), types, arguments);
  }

  private static boolean take(Class<?>[] boxes, Class<?>[] types, Object[] arguments) {
    if (types.length != arguments.length) {
      return false;
    }
    for (int i = 0; i < types.length; i++) {
      if (arguments[i] == null ? types[i].isPrimitive() : !boxes[i].isInstance(arguments[i])) {
        return false;
      }
    }
    return true;
  }

  private static Class<?>[] boxed(Class<?>[] types) {
    return java.lang.invoke.MethodType.methodType(void.class, types).wrap().parameterArray();
  }

  private static Object constant(String name) {
    if (name.startsWith("g_")) {
      return name.substring(name.indexOf('_', 2) + 1, name.length() - 4);
    }
    return CONSTANTS.getOrDefault(name, 0);
  }

  private static Object make(String type, Object[] arguments) {
    if (type.endsWith("Vector")) {
      return new Vector();
    }
    switch (type) {
      case "CMMCore":
        return Microscope.INSTANCE;
      case "Configuration":
        return new Configuration();
      case "PropertySetting":
        return arguments.length == 0 ? new Setting("", "", "", false)
            : new Setting((String) arguments[0], (String) arguments[1], (String) arguments[2], arguments.length > 3 && (boolean) arguments[3]);
      case "Metadata":
        Metadata made = new Metadata();
        if (arguments.length == 1) {
          made.tags.putAll(((Metadata) arguments[0]).tags);
        }
        return made;
      case "MMEventCallback":
      case "StrMap":
        return new StrMap();
      default:
        throw missing(type, "constructor");
    }
  }

  /** Any of the core's vectors. */
  public static final class Vector {
    final List<Object> items = new ArrayList<>();

    Vector(Object... items) {
      this.items.addAll(List.of(items));
    }

    static Vector of(Iterable<?> items) {
      Vector vector = new Vector();
      items.forEach(vector.items::add);
      return vector;
    }

    @SuppressWarnings("unchecked")
    <T> List<T> copy() {
      return new ArrayList<>((List<T>) items);
    }

    public long size() {
      return items.size();
    }

    public long capacity() {
      return items.size();
    }

    public void reserve(long n) {}

    public boolean isEmpty() {
      return items.isEmpty();
    }

    public void clear() {
      items.clear();
    }

    public void add(Object item) {
      items.add(item);
    }

    public Object get(int index) {
      return items.get(index);
    }

    public void set(int index, Object item) {
      items.set(index, item);
    }
  }

  /** StrMap. */
  public static final class StrMap {
    private final Map<String, String> items = new HashMap<>();

    public long size() {
      return items.size();
    }

    public boolean empty() {
      return items.isEmpty();
    }

    public void clear() {
      items.clear();
    }

    public String get(String key) {
      return items.get(key);
    }

    public void set(String key, String value) {
      items.put(key, value);
    }

    public void del(String key) {
      items.remove(key);
    }

    public boolean has_key(String key) {
      return items.containsKey(key);
    }
  }

  /** PropertySetting. */
  public static final class Setting {
    final String device;
    final String property;
    final String value;
    final boolean readOnly;

    Setting(String device, String property, String value, boolean readOnly) {
      this.device = device;
      this.property = property;
      this.value = value;
      this.readOnly = readOnly;
    }

    public String getDeviceLabel() {
      return device;
    }

    public String getPropertyName() {
      return property;
    }

    public String getPropertyValue() {
      return value;
    }

    public boolean getReadOnly() {
      return readOnly;
    }

    public String getKey() {
      return device + "-" + property;
    }

    public String getVerbose() {
      return device + ":" + property + "=" + value;
    }

    public boolean isEqualTo(Setting other) {
      return getVerbose().equals(other.getVerbose());
    }
  }

  /** Configuration: settings in the order in which they were added. */
  public static final class Configuration {
    final List<Setting> settings = new ArrayList<>();

    public void addSetting(Setting setting) {
      settings.removeIf(s -> s.getKey().equals(setting.getKey()));
      settings.add(setting);
    }

    public void deleteSetting(String device, String property) {
      settings.removeIf(s -> s.device.equals(device) && s.property.equals(property));
    }

    public boolean isPropertyIncluded(String device, String property) {
      return settings.stream().anyMatch(s -> s.device.equals(device) && s.property.equals(property));
    }

    public boolean isSettingIncluded(Setting setting) {
      return settings.stream().anyMatch(setting::isEqualTo);
    }

    public boolean isConfigurationIncluded(Configuration other) {
      return other.settings.stream().allMatch(this::isSettingIncluded);
    }

    public Setting getSetting(long index) throws Exception {
      if (index < 0 || index >= settings.size()) {
        throw new Exception("No setting at index " + index);
      }
      return settings.get((int) index);
    }

    public Setting getSetting(String device, String property) throws Exception {
      for (Setting setting : settings) {
        if (setting.device.equals(device) && setting.property.equals(property)) {
          return setting;
        }
      }
      throw new Exception("No setting for " + device + "-" + property);
    }

    public long size() {
      return settings.size();
    }

    public String getVerbose() {
      StringBuilder text = new StringBuilder("<html>");
      settings.forEach(s -> text.append(s.getVerbose()).append("<br>"));
      return text.append("</html>").toString();
    }
  }

  /** Metadata, with single tags only. */
  public static final class Metadata {
    final Map<String, String> tags = new java.util.LinkedHashMap<>();

    public void Clear() {
      tags.clear();
    }

    public Vector GetKeys() {
      return Vector.of(tags.keySet());
    }

    public boolean HasTag(String key) {
      return tags.containsKey(key);
    }

    public Tag GetSingleTag(String key) throws Exception {
      if (!tags.containsKey(key)) {
        throw new Exception("No tag " + key);
      }
      return new Tag(key, tags.get(key));
    }

    public void RemoveTag(String key) {
      tags.remove(key);
    }
  }

  /** MetadataSingleTag. */
  public static final class Tag {
    private final String name;
    private final String value;

    Tag(String name, String value) {
      this.name = name;
      this.value = value;
    }

    public String GetName() {
      return name;
    }

    public String GetDevice() {
      return "";
    }

    public String GetQualifiedName() {
      return name;
    }

    public String GetValue() {
      return value;
    }

    public boolean IsReadOnly() {
      return true;
    }
  }
}
