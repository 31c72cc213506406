package aiomm.host;

import java.util.Arrays;

/** Arrays of arrays, and variable arguments: each says what it got. */
public class Nested {
  public String ints(int[][] a) {
    return Arrays.deepToString(a);
  }

  public String doubles(double[][] a) {
    return Arrays.deepToString(a);
  }

  public String cube(short[][][] a) {
    return Arrays.deepToString(a);
  }

  public String flat(int[] a) {
    return Arrays.toString(a);
  }

  public String bytes(byte[] a) {
    return Arrays.toString(a);
  }

  public String doublesFlat(double[] a) {
    return Arrays.toString(a);
  }

  public String manyInts(int... a) {
    return Arrays.toString(a);
  }

  public String manyDoubles(String name, double... a) {
    return name + Arrays.toString(a);
  }

  public String manyBoxes(Integer... a) {
    return Arrays.toString(a);
  }

  public String manyObjects(Object... a) {
    return Arrays.toString(a);
  }

  public String one(double a) {
    return "" + a;
  }
}
