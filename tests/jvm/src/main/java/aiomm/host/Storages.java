package aiomm.host;

import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.util.HashMap;
import java.util.LinkedList;
import mmcorej.TaggedImage;
import mmcorej.org.json.JSONArray;
import mmcorej.org.json.JSONObject;
import org.micromanager.ndtiffstorage.EssentialImageMetadata;
import org.micromanager.ndtiffstorage.IndexEntryData;
import org.micromanager.ndtiffstorage.NDTiffStorage;

/** One NDTiffStorage, new or opened from disk. Axes and metadata are JSON; pixels are bytes, two a pixel in little-endian order. */
public final class Storages {
  private NDTiffStorage storage;

  /** Make a dataset in a new folder of dir, and return the folder. */
  public String create(String dir, String name, String summary, int overlapX, int overlapY, boolean tiled, int levels)
      throws Exception {
    storage = new NDTiffStorage(
        dir, name, new JSONObject(summary), overlapX, overlapY, tiled, levels, 50, null, true);
    if (levels > 0) {
      storage.increaseMaxResolutionLevel(levels);
    }
    return storage.getDiskLocation();
  }

  /** Write an image, and its levels if the storage is tiled; return when they are in the files. RGB is 4 bytes a pixel: B, G, R, 0. */
  public void put(String axes, String metadata, byte[] pixels, boolean wide, boolean rgb, int depth, int height, int width)
      throws Exception {
    Object array = pixels;
    if (wide) {
      short[] shorts = new short[pixels.length / 2];
      ByteBuffer.wrap(pixels).order(ByteOrder.LITTLE_ENDIAN).asShortBuffer().get(shorts);
      array = shorts;
    }
    HashMap<String, Object> at = IndexEntryData.deserializeAxes(axes);
    JSONObject tags = new JSONObject(metadata);
    if (at.containsKey(NDTiffStorage.ROW_AXIS)) {
      storage.putImageMultiRes(array, tags, at, rgb, depth, height, width).get();
    } else {
      storage.putImage(array, tags, at, rgb, depth, height, width).get();
    }
    storage.checkForWritingException();
  }

  /** Have this many levels, from now on and of what is there. */
  public void deepen(int levels) {
    storage.increaseMaxResolutionLevel(levels);
  }

  /** Go on writing at this place of the current file, as if it was full up to there. */
  public void skip(long position) throws Exception {
    Object files = field(field(storage, "fullResStorage_"), "fileSet_");
    Object writer = ((LinkedList<?>) field(files, "tiffWriters_")).getLast();
    ((FileChannel) field(writer, "fileChannel_")).position(position);
  }

  public void settings(String json) throws Exception {
    storage.setDisplaySettings(new JSONObject(json));
  }

  public void finish() throws Exception {
    storage.finishedWriting();
    storage.closeAndWait();
  }

  /** Open a dataset from disk. */
  public void load(String path) throws Exception {
    storage = new NDTiffStorage(path);
  }

  /** Open a dataset from disk, to add levels to it. */
  public void extend(String path) throws Exception {
    storage = new NDTiffStorage(path, 50, null);
  }

  public void shut() throws Exception {
    storage.closeAndWait();
  }

  /** What there is: the axes of all images, summary metadata, display settings, the number of levels, the mosaic's bounds. */
  public String contents() throws Exception {
    JSONArray axes = new JSONArray();
    for (HashMap<String, Object> one : storage.getAxesSet()) {
      axes.put(new JSONObject(one));
    }
    JSONArray bounds = new JSONArray();
    for (int bound : storage.getImageBounds()) {
      bounds.put(bound);
    }
    JSONObject all = new JSONObject();
    all.put("axes", axes);
    all.put("summary", storage.getSummaryMetadata());
    all.put("settings", storage.getDisplaySettings());
    all.put("levels", storage.getNumResLevels());
    all.put("bounds", bounds);
    return ascii(all);
  }

  /** Metadata, size and type of an image; an empty string if there is none. */
  public String about(String axes, int level) throws Exception {
    HashMap<String, Object> at = IndexEntryData.deserializeAxes(axes);
    if (!storage.hasImage(at, level)) {
      return "";
    }
    EssentialImageMetadata essential = storage.getEssentialImageMetadata(at, level);
    JSONObject all = new JSONObject();
    all.put("metadata", storage.getImage(at, level).tags);
    all.put("height", essential.height);
    all.put("width", essential.width);
    all.put("depth", essential.bitDepth);
    all.put("rgb", essential.rgb);
    return ascii(all);
  }

  public byte[] pixels(String axes, int level) {
    return bytes(storage.getImage(IndexEntryData.deserializeAxes(axes), level));
  }

  /** Part of the mosaic of a level, from the pixel (x, y) on. */
  public byte[] view(String axes, int level, int x, int y, int width, int height) {
    return bytes(storage.getDisplayImage(IndexEntryData.deserializeAxes(axes), level, x, y, width, height));
  }

  /** The server sends text as Latin-1: whatever is not ASCII is escaped. */
  private static String ascii(JSONObject json) {
    StringBuilder text = new StringBuilder();
    for (char c : json.toString().toCharArray()) {
      text.append(c < 128 ? String.valueOf(c) : String.format("\\u%04x", (int) c));
    }
    return text.toString();
  }

  private static byte[] bytes(TaggedImage image) {
    if (image.pix instanceof byte[]) {
      return (byte[]) image.pix;
    }
    short[] shorts = (short[]) image.pix;
    ByteBuffer buffer = ByteBuffer.allocate(2 * shorts.length).order(ByteOrder.LITTLE_ENDIAN);
    buffer.asShortBuffer().put(shorts);
    return buffer.array();
  }

  private static Object field(Object owner, String name) throws Exception {
    Field field = owner.getClass().getDeclaredField(name);
    field.setAccessible(true);
    return field.get(owner);
  }
}
