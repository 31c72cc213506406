package aiomm.host;

/** Names that are awkward for a client: Python's keywords, its own attributes, two names that are one in snake case. */
public class Odd {
  public int getX() {
    return 1;
  }

  public int get_x() {
    return 2;
  }

  public String in() {
    return "in";
  }

  public String from() {
    return "from";
  }

  public String is() {
    return "is";
  }

  public String lambda(int a) {
    return "lambda " + a;
  }

  public String await() {
    return "await";
  }

  public String None() {
    return "None";
  }

  public String close() {
    return "close";
  }

  public String setField(String name) {
    return "setField " + name;
  }

  public String _leading() {
    return "leading";
  }

  public String with$dollar(int a) {
    return "dollar " + a;
  }

  public String with$dollar(Object a) {
    return "dollar of " + a;
  }

  public String getURLOfHTTPServer2() {
    return "url";
  }

  public String XYPosition() {
    return "xy";
  }

  public String getÄtzung() {
    return "Ätzung";
  }

  private String secret() {
    return "secret";
  }

  protected String half() {
    return "half";
  }

  @Override
  public String toString() {
    return "odd @ µ 中";
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Odd;
  }

  @Override
  public int hashCode() {
    return 1;
  }

  /** A static nested class: aiomm.host.Odd$Nested. */
  public static class Nested {
    public static String where() {
      return "nested";
    }

    public String here() {
      return "here";
    }
  }
}
