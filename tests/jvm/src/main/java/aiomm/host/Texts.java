package aiomm.host;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import mmcorej.TaggedImage;
import mmcorej.org.json.JSONException;
import mmcorej.org.json.JSONObject;

/** Gives one text in every way in which Java can give one. */
public class Texts {
  public static String shared = "";
  private static volatile CountDownLatch gate = new CountDownLatch(1);
  private static volatile boolean waiting;
  public String field;
  public final Object any;
  public final char letter;
  private final String text;
  private int asked;

  public Texts(String text) {
    this.text = text;
    field = text;
    any = text;
    letter = text.isEmpty() ? ' ' : text.charAt(0);
  }

  public int asked() {
    return asked;
  }

  // Questions

  public String getText() {
    asked++;
    return text;
  }

  public Object getObject() {
    return text;
  }

  public CharSequence getSequence() {
    return text;
  }

  public char getLetter() {
    return letter;
  }

  public Character getBoxed() {
    return letter;
  }

  @Override
  public String toString() {
    return text;
  }

  public String name() {
    return text;
  }

  public String getWith(int number) {
    return text + number;
  }

  public String getWith(String more) {
    return text + more;
  }

  public String getWith(byte[] data, String[] more, Object nothing) {
    return text + data.length + String.join("", more) + nothing;
  }

  public String getAll(String... more) {
    return text + String.join("", more);
  }

  public static String getStatic(String more) {
    return more;
  }

  /** Another text each time. */
  public String getChanging() {
    return text + ++asked;
  }

  /** Asked again, it fails. */
  public String getOnce() {
    if (asked++ > 0) {
      throw new IllegalStateException("asked again");
    }
    return text;
  }

  /** Asked again, it waits until it is let go on. */
  public String getSlowly() throws InterruptedException {
    if (asked++ > 0) {
      waiting = true;
      gate.await();
      waiting = false;
    }
    return text;
  }

  public static boolean isWaiting() {
    return waiting;
  }

  public static void goOn() {
    gate.countDown();
    gate = new CountDownLatch(1);
  }

  // Methods with an effect

  public String take() {
    asked++;
    return text;
  }

  public String getAndClear() {
    asked++;
    return text;
  }

  public String getNext() {
    asked++;
    return text;
  }

  public String issue() {
    asked++;
    return text;
  }

  // Holders of several

  public List<String> list() {
    return new ArrayList<>(Arrays.asList("a", text, null, text + "?"));
  }

  public List<String> hiddenList() {
    return List.of("a", text);
  }

  public String[] array() {
    return new String[] {"a", text, null};
  }

  public Map<String, Object> map() {
    Map<String, Object> made = new LinkedHashMap<>();
    made.put(text, text);
    made.put("number", 1);
    return made;
  }

  public Iterable<String> iterable() {
    return new Once(text);
  }

  public mmcorej.StrVector vector() {
    mmcorej.StrVector made = new mmcorej.StrVector();
    made.add("a");
    made.add(text);
    return made;
  }

  public JSONObject getJson() throws JSONException {
    return new JSONObject().put("label", text).put("number", 1).put("in", new JSONObject().put(text, "a"));
  }

  public JSONObject takeJson() throws JSONException {
    asked++;
    return getJson();
  }

  public TaggedImage tagged() throws JSONException {
    return new TaggedImage(new short[] {1, 2}, getJson().put("Width", 2).put("Height", 1));
  }

  public Named named() {
    return new Secret(text);
  }

  public void fail() {
    throw new IllegalStateException(text);
  }

  /** An Iterable that is not a Collection. */
  public static final class Once implements Iterable<String> {
    private final String text;

    Once(String text) {
      this.text = text;
    }

    @Override
    public java.util.Iterator<String> iterator() {
      return Arrays.asList("a", text).iterator();
    }
  }

  private static final class Secret implements Named {
    private final String text;

    Secret(String text) {
      this.text = text;
    }

    @Override
    public String name() {
      return text;
    }
  }
}
