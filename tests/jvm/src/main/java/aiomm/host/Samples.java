package aiomm.host;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import mmcorej.TaggedImage;
import mmcorej.org.json.JSONArray;
import mmcorej.org.json.JSONException;
import mmcorej.org.json.JSONObject;

/** Every type of argument and result. An "echo" gives back what it got; a "show" says in words what it got. */
public class Samples {
  public String stateName(Thread.State state) {
    return state.name();
  }

  public static final int ANSWER = 42;
  public static String label = "label";

  // Primitives and boxes

  public boolean echoBoolean(boolean a) {
    return a;
  }

  public byte echoByte(byte a) {
    return a;
  }

  public short echoShort(short a) {
    return a;
  }

  public char echoChar(char a) {
    return a;
  }

  public int echoInt(int a) {
    return a;
  }

  public long echoLong(long a) {
    return a;
  }

  public float echoFloat(float a) {
    return a;
  }

  public double echoDouble(double a) {
    return a;
  }

  public Boolean echoBoxedBoolean(Boolean a) {
    return a;
  }

  public Byte echoBoxedByte(Byte a) {
    return a;
  }

  public Short echoBoxedShort(Short a) {
    return a;
  }

  public Character echoBoxedChar(Character a) {
    return a;
  }

  public Integer echoBoxedInt(Integer a) {
    return a;
  }

  public Long echoBoxedLong(Long a) {
    return a;
  }

  public Float echoBoxedFloat(Float a) {
    return a;
  }

  public Double echoBoxedDouble(Double a) {
    return a;
  }

  public double nan() {
    return Double.NaN;
  }

  public double infinity() {
    return Double.POSITIVE_INFINITY;
  }

  public float floatNan() {
    return Float.NaN;
  }

  public double minusZero() {
    return -0.0;
  }

  public double ten() {
    return 10.0;
  }

  // Text

  public String echoString(String a) {
    return a;
  }

  public int lengthOf(String a) {
    return a == null ? -1 : a.length();
  }

  /** The UTF-16 units of the text, with blanks between. */
  public String unitsOf(String a) {
    StringBuilder units = new StringBuilder();
    for (char unit : a.toCharArray()) {
      units.append(units.length() == 0 ? "" : " ").append((int) unit);
    }
    return units.toString();
  }

  public String latin() {
    return "µm ± é";
  }

  public String chinese() {
    return "中文";
  }

  public String mail() {
    return "me@lab.org";
  }

  public String quotes() {
    return "a \"b\" \\ c </d> \n\t\u0001";
  }

  public String looksLikePixels() {
    return "[B@1234abcd";
  }

  // Arrays

  public byte[] echoBytes(byte[] a) {
    return a;
  }

  public short[] echoShorts(short[] a) {
    return a;
  }

  public char[] echoChars(char[] a) {
    return a;
  }

  public int[] echoInts(int[] a) {
    return a;
  }

  public long[] echoLongs(long[] a) {
    return a;
  }

  public float[] echoFloats(float[] a) {
    return a;
  }

  public double[] echoDoubles(double[] a) {
    return a;
  }

  public boolean[] echoBooleans(boolean[] a) {
    return a;
  }

  public String[] echoStrings(String[] a) {
    return a;
  }

  /** What Java got, in words: its class and its items. */
  public String showBytes(byte[] a) {
    return Arrays.toString(a);
  }

  public String showShorts(short[] a) {
    return Arrays.toString(a);
  }

  public String showChars(char[] a) {
    return Arrays.toString(a);
  }

  public String showInts(int[] a) {
    return Arrays.toString(a);
  }

  public String showLongs(long[] a) {
    return Arrays.toString(a);
  }

  public String showFloats(float[] a) {
    return Arrays.toString(a);
  }

  public String showDoubles(double[] a) {
    return Arrays.toString(a);
  }

  public byte[] bytes() {
    return new byte[] {1, -1, 127, -128};
  }

  public short[] shorts() {
    return new short[] {1, -1, Short.MAX_VALUE, Short.MIN_VALUE};
  }

  public char[] chars() {
    return new char[] {'a', 'µ', '中'};
  }

  public int[] ints() {
    return new int[] {1, -1, Integer.MAX_VALUE, Integer.MIN_VALUE};
  }

  public long[] longs() {
    return new long[] {1, -1, Long.MAX_VALUE, Long.MIN_VALUE};
  }

  public float[] floats() {
    return new float[] {0.5f, -0.5f, Float.NaN, Float.POSITIVE_INFINITY};
  }

  public double[] doubles() {
    return new double[] {0.1, -0.1, Double.NaN, Double.NEGATIVE_INFINITY};
  }

  public boolean[] booleans() {
    return new boolean[] {true, false, true};
  }

  public String[] strings() {
    return new String[] {"a", "µ", "x@y", null};
  }

  public int[][] table() {
    return new int[][] {{1, 2}, {3}};
  }

  public Object[] mixed() {
    return new Object[] {1, 0.5, "x", null};
  }

  public byte[] emptyBytes() {
    return new byte[0];
  }

  /** That many bytes, each its index modulo 256. */
  public byte[] manyBytes(int n) {
    byte[] made = new byte[n];
    for (int i = 0; i < n; i++) {
      made[i] = (byte) i;
    }
    return made;
  }

  /** A string and an array in one call. */
  public String tagBytes(String tag, byte[] a) {
    return tag + " " + a.length;
  }

  // Collections

  public List<String> list() {
    return new ArrayList<>(List.of("a", "b", "c"));
  }

  public List<Object> mixedList() {
    return new ArrayList<>(Arrays.asList(1, 0.5, "x", null, true, new Dog()));
  }

  public List<String> emptyList() {
    return new ArrayList<>();
  }

  public List<Integer> immutableList() {
    return List.of(1, 2, 3);
  }

  public Map<String, Integer> map() {
    return new LinkedHashMap<>(Map.of("a", 1));
  }

  public Set<String> set() {
    return new LinkedHashSet<>(List.of("a", "b"));
  }

  public Collection<String> collection() {
    return new ArrayDeque<>(List.of("a", "b"));
  }

  public Iterator<String> iterator() {
    return List.of("a", "b").iterator();
  }

  /** An Iterable that is not a Collection. */
  public Iterable<String> iterable() {
    return new Countdown();
  }

  /** An Iterable that throws at its third item. */
  public Iterable<String> brokenIterable() {
    return new BrokenCountdown();
  }

  /** An Iterable that never ends. */
  public Iterable<Integer> endless() {
    return new Endless();
  }

  public int sizeOf(Collection<?> a) {
    return a.size();
  }

  public String first(List<?> a) {
    return String.valueOf(a.get(0));
  }

  public String showMap(Map<?, ?> a) {
    return String.valueOf(a);
  }

  // Objects

  public Object echoObject(Object a) {
    return a;
  }

  /** The class and text of what arrives for an Object. */
  public String showObject(Object a) {
    return a == null ? "null" : a.getClass().getName() + " " + a;
  }

  public String nothing() {
    return null;
  }

  public void noResult() {}

  public String showAnimal(Animal a) {
    return a == null ? "null" : a.name();
  }

  public Animal animal() {
    return new Dog();
  }

  public Object hiddenClass() {
    return new Hidden();
  }

  public Color color() {
    return Color.GREEN;
  }

  public String showColor(Color a) {
    return a.name();
  }

  public Class<?> aClass() {
    return Dog.class;
  }

  public JSONObject json() throws JSONException {
    return new JSONObject("{\"a\": 1, \"b\": [1, 2.5, \"µ\"], \"c\": {\"d\": null}, \"mail\": \"x@y\"}");
  }

  public JSONArray jsonArray() throws JSONException {
    return new JSONArray("[1, \"x\"]");
  }

  public String showJson(JSONObject a) {
    return a.toString();
  }

  public TaggedImage tagged() throws JSONException {
    return new TaggedImage(new short[] {1, -1, 3, 4}, new JSONObject("{\"Width\": 2, \"Height\": 2, \"PixelType\": \"GRAY16\", \"mail\": \"x@y\"}"));
  }

  public mmcorej.StrVector strVector() {
    mmcorej.StrVector made = new mmcorej.StrVector();
    made.add("a");
    made.add("µ");
    return made;
  }

  public String showStrVector(mmcorej.StrVector a) {
    return String.join(" ", a.toArray());
  }

  public String sum(int a, double b, String c, boolean d) {
    return a + " " + b + " " + c + " " + d;
  }

  public static int twice(int a) {
    return 2 * a;
  }

  public static List<String> words(String text) {
    return new ArrayList<>(List.of(text.split(" ")));
  }

  public static Map<String, Object> settings() {
    return new HashMap<>();
  }

  /** Counts down: an Iterable of a class of its own. */
  public static final class Countdown implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return List.of("3", "2", "1").iterator();
    }
  }

  /** Throws at its third item. */
  public static final class BrokenCountdown implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return new Breaking();
    }
  }

  /** The iterator of BrokenCountdown. */
  public static final class Breaking implements Iterator<String> {
    private int left = 2;

    @Override
    public boolean hasNext() {
      return true;
    }

    @Override
    public String next() {
      if (left-- == 0) {
        throw new IllegalStateException("the iterator broke");
      }
      return "ok";
    }
  }

  /** Never ends. */
  public static final class Endless implements Iterable<Integer> {
    @Override
    public Iterator<Integer> iterator() {
      return java.util.stream.Stream.iterate(0, i -> i + 1).iterator();
    }
  }

  private static final class Hidden implements Named {
    @Override
    public String name() {
      return "hidden";
    }
  }
}
