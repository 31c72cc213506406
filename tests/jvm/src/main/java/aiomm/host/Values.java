package aiomm.host;

import java.lang.reflect.Array;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import mmcorej.org.json.JSONArray;
import mmcorej.org.json.JSONException;
import mmcorej.org.json.JSONObject;

/** Arguments and results of core calls as JSON, and back. */
final class Values {
  private Values() {}

  static JSONArray list(Object[] values) throws JSONException {
    JSONArray list = new JSONArray();
    for (Object value : values) {
      list.put(told(value));
    }
    return list;
  }

  /** What JSON can say of a value; of what it cannot, that it is there. */
  static Object told(Object value) throws JSONException {
    if (value == null) {
      return JSONObject.NULL;
    }
    if (value instanceof Natives.Vector) {
      return list(((Natives.Vector) value).items.toArray());
    }
    if (value instanceof Natives.Configuration) {
      return ((Natives.Configuration) value).getVerbose();
    }
    if (value instanceof double[] || value instanceof int[] || value instanceof byte[] && Array.getLength(value) <= 4096) {
      JSONArray list = new JSONArray();
      for (int i = 0; i < Array.getLength(value); i++) {
        list.put(value instanceof byte[] ? ((byte[]) value)[i] & 0xff : Array.get(value, i));
      }
      return list;
    }
    return value instanceof Number || value instanceof Boolean || value instanceof String ? value
        : new JSONObject().put("opaque", value.getClass().getSimpleName());
  }

  static Object plain(Object value) {
    return value == JSONObject.NULL ? null : value;
  }

  /** Arguments from JSON, of the types of others; what JSON could not say is taken from those. */
  static Object[] like(Object[] others, JSONArray given) throws JSONException {
    Object[] made = others.clone();
    for (int i = 0; i < others.length && given != null; i++) {
      Object value = plain(given.get(i));
      if (!(value instanceof JSONObject) && others[i] != null) {
        made[i] = as(others[i].getClass(), value);
      }
    }
    return made;
  }

  private static Object as(Class<?> type, Object value) throws JSONException {
    if (value instanceof Number && type != Object.class) {
      Number number = (Number) value;
      if (type == Integer.class || type == int.class) {
        return number.intValue();
      } else if (type == Long.class || type == long.class) {
        return number.longValue();
      } else if (type == Double.class || type == double.class) {
        return number.doubleValue();
      } else if (type == Short.class || type == short.class) {
        return number.shortValue();
      }
      throw new ClassCastException();
    }
    if (value instanceof JSONArray) {
      List<Object> items = new ArrayList<>();
      for (int i = 0; i < ((JSONArray) value).length(); i++) {
        Object item = ((JSONArray) value).get(i);
        items.add(item instanceof Integer ? ((Integer) item).doubleValue() : item);
      }
      return Natives.Vector.of(items);
    }
    if ((type == boolean.class || type == Boolean.class) != value instanceof Boolean && type != Object.class) {
      throw new ClassCastException();
    }
    return value;
  }

  /**
   * Call a core method with arguments from JSON.
   *
   * <p>Arrays that it fills are made here, and their contents are its result.
   */
  static Object call(Object target, String name, JSONArray given) throws Exception {
    for (Method method : target.getClass().getMethods()) {
      Class<?>[] types = method.getParameterTypes();
      if (!method.getName().equals(name) || types.length < given.length() || types.length == 0 && given.length() > 0) {
        continue;
      }
      Object[] arguments = new Object[types.length];
      try {
        for (int i = 0; i < types.length; i++) {
          if (i >= given.length()) {
            arguments[i] = Array.newInstance(types[i].getComponentType(), 1); // a NullPointerException where it is no array
          } else {
            arguments[i] = as(types[i], plain(given.get(i)));
          }
        }
      } catch (ClassCastException | NullPointerException e) {
        continue;
      }
      if (!Natives.takes(types, arguments)) {
        continue; // which overload is asked first differs from one virtual machine to the next
      }
      Object result = target == Microscope.INSTANCE ? Calls.through(name, arguments) : Natives.invoke(target, "Control", name, arguments);
      if (types.length == given.length()) {
        return told(result);
      }
      JSONArray filled = new JSONArray();
      for (int i = given.length(); i < types.length; i++) {
        filled.put(Array.get(arguments[i], 0));
      }
      return filled;
    }
    throw new Exception(name + " is not simulated with " + given);
  }
}
