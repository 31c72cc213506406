package aiomm.host;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashSet;
import java.util.Set;
import mmcorej.org.json.JSONArray;
import mmcorej.org.json.JSONObject;

/**
 * The way of tests to the microscope beside Micro-Manager's server: a line of JSON asks, a line answers.
 *
 * <p>{"core": method, "args": [...]} calls the core, {"control": method, "args": [...]} Control; {"record": true}, {"forget": true},
 * {"calls": true} and {"bend": [methods], "port": p} are for Calls. The answer is {"value": v} or {"error": text}.
 */
final class Door {
  private static ServerSocket door;

  private Door() {}

  static synchronized int port() throws IOException {
    if (door == null) {
      door = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
      Thread keeper = new Thread(Door::keep, "test door");
      keeper.setDaemon(true);
      keeper.start();
    }
    return door.getLocalPort();
  }

  private static void keep() {
    while (true) {
      try {
        Socket socket = door.accept();
        Thread guest = new Thread(() -> serve(socket), "test guest");
        guest.setDaemon(true);
        guest.start();
      } catch (IOException e) {
        return;
      }
    }
  }

  private static void serve(Socket socket) {
    try (Socket open = socket;
        BufferedReader in = new BufferedReader(new InputStreamReader(open.getInputStream(), StandardCharsets.UTF_8));
        Writer out = new OutputStreamWriter(open.getOutputStream(), StandardCharsets.UTF_8)) {
      open.setTcpNoDelay(true);
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        JSONObject answer = new JSONObject();
        try {
          answer.put("value", answer(new JSONObject(line)));
        } catch (Throwable error) {
          answer.put("error", String.valueOf(error.getMessage()));
        }
        Calls.say(out, answer);
      }
    } catch (Exception e) {
      // the guest has gone
    }
  }

  private static Object answer(JSONObject asked) throws Exception {
    if (asked.has("core")) {
      return Values.call(Microscope.INSTANCE, asked.getString("core"), asked.getJSONArray("args"));
    } else if (asked.has("control")) {
      return Values.call(new Control(), asked.getString("control"), asked.getJSONArray("args"));
    } else if (asked.has("record")) {
      Calls.record(asked.getBoolean("record"));
    } else if (asked.has("forget")) {
      Calls.forget();
    } else if (asked.has("calls")) {
      return Calls.ended();
    } else if (asked.has("bend")) {
      JSONArray methods = asked.getJSONArray("bend");
      Set<String> names = new HashSet<>();
      for (int i = 0; i < methods.length(); i++) {
        names.add(methods.getString(i));
      }
      Calls.bend(asked.getInt("port"), names);
    } else {
      throw new Exception("nothing that can be answered: " + asked);
    }
    return JSONObject.NULL;
  }
}
