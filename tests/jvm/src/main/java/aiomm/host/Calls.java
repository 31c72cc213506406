package aiomm.host;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import mmcorej.org.json.JSONArray;
import mmcorej.org.json.JSONObject;

/** Every core call goes through here: it is written down while a test wants that, and a test's process may say what becomes of it. */
final class Calls {
  private static final int MOST = 200000;
  private static List<Call> record = new ArrayList<>();
  private static volatile boolean recording;
  private static volatile Set<String> bent = Set.of();
  private static volatile int port;

  private Calls() {}

  private static final class Call {
    final String name;
    final Object[] arguments;
    final String thread = Thread.currentThread().getName();
    final long start = System.nanoTime();
    volatile long end;
    volatile String error;

    Call(String name, Object[] arguments) {
      this.name = name;
      this.arguments = arguments;
    }
  }

  static void reset() {
    recording = false;
    bent = Set.of();
    forget();
  }

  static void record(boolean on) {
    recording = on;
  }

  static synchronized void forget() {
    record = new ArrayList<>();
  }

  /** Calls of these methods are put to the process that listens on this port. */
  static void bend(int listener, Set<String> methods) {
    port = listener;
    bent = methods;
  }

  private static synchronized Call begin(String name, Object[] arguments) {
    Call call = new Call(name, arguments);
    if (record.size() < MOST) {
      record.add(call);
    }
    return call;
  }

  private static synchronized void drop(Call call) {
    record.remove(call);
  }

  /** The calls that have ended, in the order of their beginning. */
  static JSONArray ended() throws Exception {
    List<Call> all;
    synchronized (Calls.class) {
      all = new ArrayList<>(record);
    }
    JSONArray told = new JSONArray();
    for (Call call : all) {
      if (call.end != 0) {
        told.put(new JSONArray().put(call.name).put(Values.list(call.arguments)).put(call.thread).put(call.start / 1e9).put(call.end / 1e9)
            .put(call.error == null ? JSONObject.NULL : call.error));
      }
    }
    return told;
  }

  static Object through(String name, Object[] arguments) {
    Call call = recording ? begin(name, arguments) : null;
    try {
      Control.called(name, arguments);
      return bent.contains(name) ? ask(name, arguments) : Natives.invoke(Microscope.INSTANCE, "CMMCore", name, arguments);
    } catch (Throwable error) {
      if (call != null) {
        call.error = String.valueOf(error.getMessage());
        if (call.error.equals(Imaging.NO_IMAGE)) { // the engine asks again and again
          drop(call);
        }
      }
      throw Natives.<RuntimeException>unchecked(error);
    } finally {
      if (call != null) {
        call.end = System.nanoTime();
      }
    }
  }

  /** Ask what becomes of a call; the answer may have the call itself made, with other arguments, as often as it likes. */
  private static Object ask(String name, Object[] arguments) throws Exception {
    if (name.startsWith("popNext")) {
      Microscope.INSTANCE.awaitImage(); // how often the engine finds nothing is chance: no test can count that
    }
    try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
        BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8));
        Writer out = new OutputStreamWriter(socket.getOutputStream(), StandardCharsets.UTF_8)) {
      socket.setTcpNoDelay(true);
      say(out, new JSONObject().put("method", name).put("args", Values.list(arguments)));
      Object last = null;
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        JSONObject answer = new JSONObject(line);
        if (answer.has("raise")) {
          throw new Exception(answer.getString("raise"));
        } else if (answer.has("return")) {
          return Values.plain(answer.get("return"));
        } else if (answer.has("last")) {
          return last;
        }
        try {
          last = Natives.invoke(Microscope.INSTANCE, "CMMCore", name, Values.like(arguments, answer.optJSONArray("original")));
          say(out, new JSONObject().put("value", Values.told(last)));
        } catch (Throwable error) {
          say(out, new JSONObject().put("error", String.valueOf(error.getMessage())));
        }
      }
      throw new IOException("the test that bends " + name + " is gone");
    }
  }

  static void say(Writer out, JSONObject message) throws IOException {
    out.write(message.toString() + "\n");
    out.flush();
  }
}
