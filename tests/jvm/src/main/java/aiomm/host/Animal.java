package aiomm.host;

/** The upper class of a hierarchy, for overloads. */
public class Animal implements Named {
  @Override
  public String name() {
    return "animal";
  }
}
