package aiomm.host;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * One image with what was in force when it was taken.
 *
 * <p>Its first eight pixels say so: counter, z (0.1 µm), x, y (µm), exposure (0.1 ms), number of the LED's color, Gain, shutter open; each
 * modulo what fits, with 32768 (128 for 8 bits and RGB) added to z, x, y and Gain. 32-bit float images have the numbers themselves, z in µm and
 * exposure in ms. Its tags Image-Counter, Image-Z, Image-X, ... say so too.
 */
final class Frame {
  static final String[] TRUTH = {"Counter", "Z", "X", "Y", "Exposure", "Channel", "Gain", "Intensity", "Shutter", "Camera", "SLM"};
  /** The truth about the image that this thread took out last: the core asks for the state after it took the pixels. */
  static final ThreadLocal<Map<String, String>> LAST = ThreadLocal.withInitial(Map::of);

  private static short[] ramp = {};
  private static int rampWidth;

  final Object pixels;
  final Map<String, String> truth;
  final long bytes;

  Frame(Object pixels, long bytes, Map<String, String> truth) {
    this.pixels = pixels;
    this.bytes = bytes;
    this.truth = truth;
  }

  static Frame take(String pixelType, int width, int height, Map<String, String> truth, int channel) {
    double[] marks = {number(truth, "Counter"), number(truth, "Z"), number(truth, "X"), number(truth, "Y"), number(truth, "Exposure"), channel,
      number(truth, "Gain"), number(truth, "Shutter")};
    int n = width * height;
    int marked = Math.min(marks.length, n);
    switch (pixelType) {
      case "8bit": {
        byte[] pixels = new byte[n];
        for (int i = 0; i < n; i++) {
          pixels[i] = (byte) (i % width);
        }
        for (int i = 0; i < marked; i++) {
          pixels[i] = (byte) scaled(marks, i, 128);
        }
        return new Frame(pixels, n, truth);
      }
      case "32bit": {
        float[] pixels = new float[n];
        for (int i = 0; i < n; i++) {
          pixels[i] = i < marked ? (float) marks[i] : i % width;
        }
        return new Frame(pixels, 4L * n, truth);
      }
      case "32bitRGB": { // blue, green, red, 0
        byte[] pixels = new byte[4 * n];
        for (int i = 0; i < n; i++) {
          pixels[4 * i] = (byte) (i % width);
          pixels[4 * i + 1] = (byte) (i / width);
          pixels[4 * i + 2] = i < marked ? (byte) scaled(marks, i, 128) : 100;
        }
        return new Frame(pixels, 4L * n, truth);
      }
      default: {
        short[] pixels = ramp(width, n);
        for (int i = 0; i < marked; i++) {
          pixels[i] = (short) scaled(marks, i, 32768);
        }
        return new Frame(pixels, 2L * n, truth);
      }
    }
  }

  /** The pixels that say nothing, made once for each size: a copy takes a tenth of the time. */
  private static synchronized short[] ramp(int width, int n) {
    if (ramp.length != n || rampWidth != width) {
      ramp = new short[n];
      rampWidth = width;
      for (int i = 0; i < n; i++) {
        ramp[i] = (short) (i % width);
      }
    }
    return ramp.clone();
  }

  private static double number(Map<String, String> truth, String name) {
    return Double.parseDouble(truth.get(name));
  }

  private static long scaled(double[] marks, int i, int zero) {
    long value = Math.round(i == 1 || i == 4 ? marks[i] * 10 : marks[i]);
    return i >= 1 && i <= 3 || i == 6 ? value + zero : value;
  }

  Map<String, String> tags() {
    Map<String, String> tags = new LinkedHashMap<>();
    tags.put("Camera", truth.get("Camera"));
    tags.put("ElapsedTime-ms", String.valueOf(System.nanoTime() / 1000000.0));
    tags.put("ImageNumber", truth.getOrDefault("Frame", truth.get("Counter")));
    tags.put("Exposure-ms", truth.get("Exposure"));
    return tags;
  }
}
