package aiomm.host;

/** An interface with a default method. */
public interface Named {
  String name();

  default String greeting() {
    return "I am " + name();
  }
}
