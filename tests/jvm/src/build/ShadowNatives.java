import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Writes a mmcorej.MMCoreJJNI whose methods are not native: each hands its arguments to aiomm.host.Natives.
 *
 * <p>The real one loads a C++ library that is on no package index. With this one before it on the class path,
 * mmcorej.CMMCore, its vectors, configurations and enums run unchanged over a simulated microscope.
 */
public final class ShadowNatives {
  public static void main(String[] args) throws Exception {
    Class<?> original = Class.forName("mmcorej.MMCoreJJNI", false, ShadowNatives.class.getClassLoader());
    StringBuilder out = new StringBuilder("package mmcorej;\n\nimport aiomm.host.Natives;\n\npublic class MMCoreJJNI {\n");
    for (Method method : original.getDeclaredMethods()) {
      if (Modifier.isNative(method.getModifiers()) && Modifier.isPublic(method.getModifiers())) {
        write(out, method);
      }
    }
    Path file = Path.of(args[0], "mmcorej", "MMCoreJJNI.java");
    Files.createDirectories(file.getParent());
    Files.writeString(file, out.append("}\n"));
  }

  private static void write(StringBuilder out, Method method) {
    Class<?>[] types = method.getParameterTypes();
    List<String> declared = new ArrayList<>();
    List<String> given = new ArrayList<>();
    for (int i = 0; i < types.length; i++) {
      declared.add(types[i].getCanonicalName() + " a" + i);
      boolean wrapper = types[i].getName().startsWith("mmcorej.");
      boolean pointer = types[i] == long.class && i + 1 < types.length && types[i + 1].getName().startsWith("mmcorej.");
      if (pointer) {
        given.add("Natives.pointed(a" + i + ", a" + (i + 1) + ")");
      } else if (!wrapper) {
        given.add("a" + i);
      } else if (i == 0 || types[i - 1] != long.class) {
        given.add("a" + i);
      }
    }
    String call = "Natives.call(\"" + method.getName() + "\", new Object[] {" + String.join(", ", given) + "})";
    Class<?> result = method.getReturnType();
    String body = result == void.class ? call : "return " + cast(result, call);
    out.append("  public static ").append(result.getCanonicalName()).append(' ').append(method.getName())
        .append('(').append(String.join(", ", declared)).append(") {\n    ").append(body).append(";\n  }\n\n");
  }

  private static String cast(Class<?> type, String call) {
    if (type == long.class) {
      return "Natives.number(" + call + ")";
    }
    if (type == int.class || type == double.class || type == float.class || type == short.class) {
      return "((Number) " + call + ")." + type.getName() + "Value()";
    }
    if (type == boolean.class || type == char.class) {
      return "(" + type.getName() + ") " + call;
    }
    return "(" + type.getCanonicalName() + ") " + call;
  }
}
