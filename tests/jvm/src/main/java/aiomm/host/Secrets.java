package aiomm.host;

/** Methods that are not public beside public ones of the same name: each says which one ran. */
public class Secrets {
  /** How many ran. */
  public int count = 0;

  public String plain(long a) {
    return ran("public long");
  }

  private String plain(int a) {
    return ran("private int");
  }

  public String made(Iterable<?> a) {
    return ran("public Iterable");
  }

  protected String made(java.util.List<?> a) {
    return ran("protected List");
  }

  public String equal(CharSequence a) {
    return ran("public CharSequence");
  }

  String equal(Comparable<?> a) {
    return ran("package's Comparable");
  }

  public String none(int... a) {
    return ran("public int[]");
  }

  private String none() {
    return ran("private ()");
  }

  private String alone(int a) {
    return ran("private int");
  }

  private String first(int a) {
    return ran("private int");
  }

  public String first(int a, int b) {
    return ran("public int, int");
  }

  /** Throws in the server's own words, as if there was no such method. */
  public String throwing(int a) {
    ran("public int");
    throw new RuntimeException("No Matching method found with argument types");
  }

  private String throwing(String a) {
    return ran("private String");
  }

  /** Throws what the server says itself where there is no such method, with the server's stack, as if it had not run. */
  public String forging(long a) {
    ran("public long");
    RuntimeException error = new RuntimeException("No Matching method found with argument types");
    error.setStackTrace(
        new StackTraceElement[] {
          new StackTraceElement("org.micromanager.pyjavaz.ZMQServer", "runMethod", "ZMQServer.java", 425),
          new StackTraceElement("java.lang.Thread", "run", "Thread.java", 840)
        });
    throw error;
  }

  public String forging(Object a) {
    return ran("public Object");
  }

  private String ran(String which) {
    count += 1;
    return which;
  }
}
