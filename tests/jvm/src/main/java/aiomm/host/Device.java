package aiomm.host;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import mmcorej.DeviceType;

/** A simulated device: properties, a position where it has one, and what a hardware sequence would make of them. */
final class Device {
  final String label;
  final DeviceType type;
  final Map<String, Property> properties = new LinkedHashMap<>();
  final Map<String, Sequence> sequences = new LinkedHashMap<>();
  /** How many values some sequences may have, where that is this device's own affair. */
  final Map<String, Integer> lengths = new LinkedHashMap<>();
  String adapter = "Simulated";
  String name;
  String parent = "";
  double x;
  double y;
  double delayMs;
  long busyUntil;

  Device(String label, DeviceType type) {
    this.label = label;
    this.type = type;
    name = "Simulated" + type.toString().replace("Device", "");
  }

  Property add(String name, Object value) {
    Property property = new Property(name, value);
    properties.put(name, property);
    return property;
  }

  /** The property's value as text. */
  String text(String name) {
    return properties.get(name).value;
  }

  boolean busy() {
    return System.nanoTime() < busyUntil;
  }

  /** A property with its rules. */
  static final class Property {
    final String name;
    final int kind; // 1 String, 2 Float, 3 Integer, as in PropertyType
    String value;
    boolean readOnly;
    boolean preInit;
    boolean sequenceable;
    List<String> allowed = List.of();
    double lower = Double.NaN;
    double upper = Double.NaN;

    Property(String name, Object value) {
      this.name = name;
      kind = value instanceof Integer ? 3 : value instanceof Number ? 2 : 1;
      this.value = text(value);
    }

    Property readOnly() {
      readOnly = true;
      return this;
    }

    Property preInit() {
      preInit = true;
      return this;
    }

    Property sequenceable() {
      sequenceable = true;
      return this;
    }

    Property allowed(String... values) {
      allowed = List.of(values);
      return this;
    }

    Property limits(double low, double high) {
      lower = low;
      upper = high;
      return this;
    }

    String text(Object given) {
      if (given instanceof Boolean) {
        return (boolean) given ? "1" : "0";
      }
      return kind == 2 && !(given instanceof String) ? String.format(java.util.Locale.ROOT, "%.4f", ((Number) given).doubleValue())
          : String.valueOf(given);
    }

    /** The text that the device would store, or an error that names the reason. */
    String checked(String device, Object given) throws Exception {
      String where = "property " + device + "-" + name;
      String text = text(given);
      if (readOnly) {
        throw new Exception("Cannot set " + where + ": it is read-only");
      }
      if (!allowed.isEmpty() && !allowed.contains(text)) {
        throw new Exception("Cannot set " + where + " to \"" + text + "\": allowed are " + allowed);
      }
      if (kind != 1) {
        double number;
        try {
          number = Double.parseDouble(text);
        } catch (NumberFormatException e) {
          throw new Exception("Cannot set " + where + " to \"" + text + "\": not a number");
        }
        if (number < lower || number > upper) {
          throw new Exception("Cannot set " + where + " to " + text + ": outside " + lower + " to " + upper);
        }
        text = text(kind == 3 ? (Object) (int) number : (Object) number);
      }
      return text;
    }
  }

  /** Values that a trigger steps through. */
  static final class Sequence {
    final List<Object> values;
    boolean running;
    private int next;

    Sequence(List<Object> values) {
      this.values = new ArrayList<>(values);
    }

    void start() {
      running = true;
      next = 0;
    }

    Object step() {
      return values.get(next++ % values.size());
    }
  }
}
