package aiomm.host;

import java.util.ArrayList;
import java.util.List;

/** Public fields of every kind, with the values that they begin with. */
public class Fields {
  public static final String CONSTANT = "constant";
  public static int shared = 1;
  public final int fixed = 42;
  public boolean aBoolean = true;
  public byte aByte = -1;
  public short aShort = -300;
  public char aChar = 'µ';
  public int anInt = -70000;
  public long aLong = 1L << 53 | 1;
  public float aFloat = 0.5f;
  public double aDouble = 0.1;
  public Integer anInteger = 7;
  public Byte byteBox = 1;
  public Short shortBox = 1;
  public Long longBox = 1L;
  public Float floatBox = 1f;
  public Double doubleBox = 1.0;
  public Character charBox = 'a';
  public Boolean booleanBox = true;
  public Number number = 1;
  public char[] chars = {'a'};
  public long[] longs = {1};
  public String aString = "text";
  public String nothing;
  public Object anObject = "object";
  public int[] ints = {1, -2, 3};
  public double[] doubles = {0.5, -0.5};
  public String[] strings = {"a", "b"};
  public List<String> list = new ArrayList<>(List.of("x", "y"));
  public Animal animal = new Dog();
  public Color color = Color.GREEN;
  private int hidden = 5;
  protected int half = 6;

  /** The field with this name as Java sees it now. */
  public String show(String name) throws Exception {
    Object value = getClass().getDeclaredField(name).get(this);
    return value == null ? "null" : value.getClass().getSimpleName() + " " + value;
  }
}
