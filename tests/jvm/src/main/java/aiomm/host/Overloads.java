package aiomm.host;

import java.util.Collection;
import java.util.List;

/** Methods that share a name: each says which one ran. */
public class Overloads {
  private final String made;

  public Overloads() {
    made = "()";
  }

  public Overloads(int a) {
    made = "int";
  }

  public Overloads(double a) {
    made = "double";
  }

  public Overloads(String a) {
    made = "String";
  }

  public Overloads(Animal a, String b) {
    made = "Animal, String";
  }

  /** Which constructor ran. */
  public String made() {
    return made;
  }

  public String over() {
    return "()";
  }

  public String over(int a) {
    return "int";
  }

  public String over(long a) {
    return "long";
  }

  public String over(double a) {
    return "double";
  }

  public String over(Integer a) {
    return "Integer";
  }

  public String over(Object a) {
    return "Object";
  }

  public String over(String a) {
    return "String";
  }

  public String over(boolean a) {
    return "boolean";
  }

  public String over(char a) {
    return "char";
  }

  public String over(int... a) {
    return "int[]";
  }

  public String over(String a, int b) {
    return "String, int";
  }

  public String over(String a, double b) {
    return "String, double";
  }

  public String small(byte a) {
    return "byte";
  }

  public String small(short a) {
    return "short";
  }

  public String small(float a) {
    return "float";
  }

  public String numbers(float a) {
    return "float";
  }

  public String numbers(long a) {
    return "long";
  }

  public String boxed(Long a) {
    return "Long";
  }

  public String boxed(Double a) {
    return "Double";
  }

  public String arrays(byte[] a) {
    return "byte[]";
  }

  public String arrays(short[] a) {
    return "short[]";
  }

  public String arrays(int[] a) {
    return "int[]";
  }

  public String arrays(long[] a) {
    return "long[]";
  }

  public String arrays(float[] a) {
    return "float[]";
  }

  public String arrays(double[] a) {
    return "double[]";
  }

  public String arrays(char[] a) {
    return "char[]";
  }

  public String arrays(Object a) {
    return "Object";
  }

  public String boxedOrNot(byte a) {
    return "byte";
  }

  public String boxedOrNot(Byte a) {
    return "Byte";
  }

  public String boxes(int[] a) {
    return "int[]";
  }

  public String boxes(Integer[] a) {
    return "Integer[]";
  }

  public String pet(Animal a) {
    return "Animal";
  }

  public String pet(Dog a) {
    return "Dog";
  }

  public String any(Named a) {
    return "Named";
  }

  public String any(Object a) {
    return "Object";
  }

  public String group(Collection<?> a) {
    return "Collection";
  }

  public String group(List<?> a) {
    return "List";
  }

  public static String fixed(int a) {
    return "static int";
  }

  public static String fixed(String a) {
    return "static String";
  }
}
