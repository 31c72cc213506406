package aiomm.host;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import mmcorej.DeviceType;
import mmcorej.org.json.JSONArray;
import mmcorej.org.json.JSONObject;

/**
 * What SequenceTester's images say: every setting in force, those at this camera's image before, and each change in between.
 *
 * <p>The record has the parts of the real adapter's, as JSON where that has msgpack.
 */
final class Settings {
  private static final double UM_PER_STEP = 0.1;
  private final List<JSONArray> history = new ArrayList<>();
  private final Map<String, Integer> told = new HashMap<>();
  private final Map<String, Object> before = new HashMap<>();
  private final Map<String, Integer> serials = new HashMap<>();
  private int packets;
  /** Whether a camera will ask: nothing is noted otherwise. */
  volatile boolean wanted;

  synchronized void clear() {
    wanted = false;
    history.clear();
    told.clear();
    before.clear();
    serials.clear();
    packets = 0;
  }

  /** A setting was set, to another value or to the same. */
  synchronized void note(Device device) {
    if (wanted) {
      of(device).forEach((key, value) -> history.add(pair(device.label, key, value).put(0)));
    }
  }

  /** The bytes of an image of this camera. */
  synchronized byte[] image(Iterable<Device> devices, Device camera, boolean inSequence, int frame, int bytes) throws Exception {
    JSONArray now = new JSONArray();
    for (Device device : devices) {
      of(device).forEach((key, value) -> now.put(pair(device.label, key, value)));
    }
    JSONArray changes = new JSONArray();
    for (JSONArray change : history.subList(told.getOrDefault(camera.label, 0), history.size())) {
      changes.put(change);
    }
    told.put(camera.label, history.size());
    int serial = serials.merge(camera.label, 1, Integer::sum) - 1;
    JSONArray about = new JSONArray().put(camera.label).put(serial).put(inSequence).put(serial).put(frame);
    JSONArray start = (JSONArray) before.getOrDefault(camera.label, new JSONArray());
    before.put(camera.label, now);
    JSONArray record = new JSONArray().put(packets++).put(about).put(0).put(0).put(start).put(now).put(changes);
    byte[] text = record.toString().getBytes("UTF-8");
    if (text.length > bytes) {
      throw new Exception("An image of " + bytes + " bytes cannot hold its record of " + text.length);
    }
    return java.util.Arrays.copyOf(text, bytes);
  }

  private static JSONArray pair(String device, String key, Object value) {
    return new JSONArray().put(new JSONArray().put(device).put(key)).put(new JSONArray().put(0).put(value == null ? JSONObject.NULL : value));
  }

  private static Map<String, Object> of(Device device) {
    Map<String, Object> found = new LinkedHashMap<>();
    try {
      if (device.type == DeviceType.StageDevice) {
        found.put("ZPositionUm", Double.parseDouble(device.text("Position")));
      } else if (device.type == DeviceType.XYStageDevice) {
        found.put("XPositionSteps", Math.round(device.x / UM_PER_STEP));
        found.put("YPositionSteps", Math.round(device.y / UM_PER_STEP));
      } else if (device.type == DeviceType.StateDevice) {
        found.put("Position", (int) Double.parseDouble(device.text("State")));
      } else if (device.type == DeviceType.ShutterDevice) {
        found.put("ShutterState", device.text("State").equals("1"));
      } else if (device.type == DeviceType.CameraDevice && device.properties.containsKey("Exposure")) {
        found.put("Exposure", Double.parseDouble(device.text("Exposure")));
      }
    } catch (NumberFormatException e) {
      throw new IllegalStateException(e);
    }
    return found;
  }
}
