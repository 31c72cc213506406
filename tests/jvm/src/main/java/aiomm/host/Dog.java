package aiomm.host;

/** The lower class of a hierarchy, for overloads. */
public class Dog extends Animal {
  @Override
  public String name() {
    return "dog";
  }

  public String bark() {
    return "wuff";
  }
}
